/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client side of the bus. Every call waits for its answer; nothing here runs a loop.
 */

#include <stdarg.h>
#include <stdio.h>

#include "ctl-client.h"

#define CALL_TIMEOUT_USEC (120 * USEC_PER_SEC) /* long enough for a person to answer polkit's question */

/* Is the service there on @bus? */
static bool name_is_owned(sd_bus *bus) {
        return sd_bus_get_name_creds(bus, VNETD_BUS_NAME, 0, NULL) >= 0;
}

/* What people call the bus of one kind: by its address when the environment puts another in its place. */
static void name_bus(Ctl *c, const char *kind, const char *variable) {
        const char *address = variable ? getenv(variable) : NULL;

        if (address && *address)
                (void) snprintf(c->bus_label, sizeof(c->bus_label), "the bus at %s", address);
        else
                (void) snprintf(c->bus_label, sizeof(c->bus_label), "the %s bus", kind);
}

static int open_system(Ctl *c) {
        name_bus(c, "system", "DBUS_SYSTEM_BUS_ADDRESS");
        return sd_bus_open_system(&c->bus);
}

static int open_user(Ctl *c) {
        name_bus(c, "user", NULL); /* every session has an address of its own: nothing to remark */
        return sd_bus_open_user(&c->bus);
}

static int open_address(const char *address, sd_bus **ret) {
        sd_bus *bus;
        int r;

        r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, address);
        if (r >= 0)
                r = sd_bus_set_bus_client(bus, true);
        if (r >= 0)
                r = sd_bus_negotiate_fds(bus, true);
        if (r >= 0)
                r = sd_bus_start(bus);
        if (r < 0) {
                (void) sd_bus_unref(bus);
                return r;
        }
        *ret = bus;
        return 0;
}

/* Without an option: the system's vnetd for root and wherever there is one, else the user's own. */
static int open_default(Ctl *c) {
        int r;

        r = open_system(c);
        if (geteuid() == 0 || (r >= 0 && name_is_owned(c->bus)))
                return r;
        c->bus = sd_bus_flush_close_unref(c->bus);
        return open_user(c);
}

int client_connect(Ctl *c) {
        const char *address = opt_value(c, OPT_BUS_ADDRESS);
        int r;

        if (address) {
                (void) snprintf(c->bus_label, sizeof(c->bus_label), "the bus at %s", address);
                r = open_address(address, &c->bus);
        } else if (opt_set(c, OPT_SYSTEM))
                r = open_system(c);
        else if (opt_set(c, OPT_USER))
                r = open_user(c);
        else
                r = open_default(c);
        if (r == -ENOMEDIUM)
                return fail("Failed to connect to %s: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR says where it is", c->bus_label);
        if (r < 0)
                return fail_errno(r, "Failed to connect to %s", c->bus_label);
        /* The agent of the user's session may ask. */
        (void) sd_bus_set_allow_interactive_authorization(c->bus, !opt_set(c, OPT_NO_ASK_PASSWORD));
        (void) sd_bus_set_method_call_timeout(c->bus, CALL_TIMEOUT_USEC);
        return 0;
}

void client_disconnect(Ctl *c) {
        c->bus = sd_bus_flush_close_unref(c->bus);
}

int client_failed(const Ctl *c, const char *what, const sd_bus_error *error, int r) {
        static const char no_such[] = "org.vnetd1.NoSuch";

        if (sd_bus_error_has_names(error, SD_BUS_ERROR_SERVICE_UNKNOWN, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return fail("Failed to %s: vnetd is not running on %s", what, c->bus_label);
        if (!sd_bus_error_is_set(error) || !error->message)
                return fail_errno(r, "Failed to %s", what);
        (void) fail("Failed to %s: %s", what, error->message);
        if (strncmp(error->name, no_such, strlen(no_such)) == 0 ||
            streq(error->name, SD_BUS_ERROR_UNKNOWN_OBJECT))
                return CTL_NO_OBJECT;
        return CTL_FAILED;
}

int client_new_call(Ctl *c, const char *path, const char *interface, const char *method,
                    sd_bus_message **ret) {
        int r = sd_bus_message_new_method_call(c->bus, ret, VNETD_BUS_NAME, path, interface, method);

        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

int client_call(Ctl *c, sd_bus_message *m, const char *what, sd_bus_message **ret) {
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call(c->bus, m, /* usec= */ 0, &error, ret);
        return r < 0 ? client_failed(c, what, &error, r) : 0;
}

int client_call_value(Ctl *c, const char *path, const char *interface, const char *method, const char *what,
                      Value **ret, const char *types, ...) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        va_list ap;
        int r;

        r = client_new_call(c, path, interface, method, &m);
        if (r != 0)
                return r;
        va_start(ap, types);
        r = sd_bus_message_appendv(m, types, ap);
        va_end(ap);
        if (r < 0)
                return fail_errno(r, "Failed to %s", what);
        r = client_call(c, m, what, &reply);
        if (r != 0 || !ret)
                return r;
        r = value_read(reply, ret);
        return r < 0 ? fail_errno(r, "Failed to %s: cannot read the reply", what) : 0;
}

int client_get_objects(Ctl *c, Value **ret) {
        return client_call_value(c, VNETD_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects",
                                 "ask vnetd what there is", ret, "");
}

int client_get_properties(Ctl *c, const char *path, const char *interface, const char *what, Value **ret) {
        return client_call_value(c, path, "org.freedesktop.DBus.Properties", "GetAll", what, ret, "s",
                                 interface);
}

static int find(Ctl *c, const char *method, const char *noun, const char *name, char **ret) {
        _cleanup_(value_freep) Value *path = NULL;
        char what[128];
        int r;

        (void) snprintf(what, sizeof(what), "find %s '%.64s'", noun, name);
        r = client_call_value(c, VNETD_ROOT, VNETD_MANAGER, method, what, &path, "s", name);
        if (r != 0)
                return r;
        *ret = strdup(value_string(path));
        return *ret ? 0 : fail_errno(ENOMEM, "Failed to %s", what);
}

int client_find_network(Ctl *c, const char *name, char **ret) {
        return find(c, "GetNetwork", "network", name, ret);
}

int client_find_device(Ctl *c, const char *name, char **ret) {
        return find(c, "GetDevice", "device", name, ret);
}

int options_open(sd_bus_message *m) {
        return sd_bus_message_open_container(m, 'a', "{sv}");
}

int options_close(sd_bus_message *m) {
        return sd_bus_message_close_container(m);
}

int option_string(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

int option_u32(sd_bus_message *m, const char *key, uint32_t value) {
        return sd_bus_message_append(m, "{sv}", key, "u", value);
}

int option_bool(sd_bus_message *m, const char *key, bool value) {
        return sd_bus_message_append(m, "{sv}", key, "b", value);
}

int option_fd(sd_bus_message *m, const char *key, int fd) {
        return sd_bus_message_append(m, "{sv}", key, "h", fd);
}

int option_fds(sd_bus_message *m, const char *key, const int *fds, unsigned n) {
        int r;

        if (n == 0)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "ah");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "h");
        for (unsigned i = 0; r >= 0 && i < n; i++)
                r = sd_bus_message_append_basic(m, 'h', &fds[i]);
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

int option_strv(sd_bus_message *m, const char *key, const char *const *values, size_t n) {
        int r;

        if (!values)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "s");
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = sd_bus_message_append_basic(m, 's', values[i]);
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}
