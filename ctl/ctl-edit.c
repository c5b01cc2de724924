/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The commands that make and remove networks, devices and forwards. What the daemon judges better
 * (addresses, names, limits) is passed on as typed; only what D-Bus needs as a number is parsed here.
 */

#include <limits.h>
#include <stdio.h>

#include "basic/parse.h"
#include "ctl-client.h"
#include "ctl-edit.h"
#include "ctl-show.h"

#define WHAT_MAX 160
#define NAMED(what, verb, name) ((void) snprintf((what), sizeof(what), verb " '%.100s'", (name)))

/* Appends the number given with option @o as @key ("64K" is one); nothing when it was not given. */
static int append_number(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        const char *text = opt_value(c, o);
        uint64_t n;
        int r;

        if (!text)
                return 0;
        r = parse_size(text, &n);
        if (r < 0 || n > UINT32_MAX)
                return fail_usage("Invalid value '%s' for --%s: not a number below 4G", text,
                                  opt_table[o].name);
        r = option_u32(m, key, (uint32_t) n);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

static int append_string(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        int r = option_string(m, key, opt_value(c, o));

        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

/* --OPTION=KEY=VALUE ... as a{ss}. */
static int append_pairs(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        int r;

        if (!opt_set(c, o))
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (unsigned i = 0; r >= 0 && i < c->n_values[o]; i++) {
                const char *text = c->values[o][i], *equals = strchr(text, '=');
                _cleanup_free_ char *left = NULL;

                if (!equals)
                        return fail_usage("Invalid value '%s' for --%s: use %s", text, opt_table[o].name,
                                          opt_table[o].metavar);
                left = strndup(text, (size_t) (equals - text));
                r = left ? sd_bus_message_append(m, "{ss}", left, equals + 1) : -ENOMEM;
        }
        for (unsigned i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

static int append_list(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        int r = option_strv(m, key, opt_set(c, o) ? c->values[o] : NULL, c->n_values[o]);

        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

static int append_bool(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        const char *text = opt_value(c, o);
        int r;

        if (!text)
                return 0;
        if (!streq(text, "yes") && !streq(text, "no"))
                return fail_usage("Invalid value '%s' for --%s: yes or no", text, opt_table[o].name);
        r = option_bool(m, key, streq(text, "yes"));
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

/* Names with commas between, or "none". */
static int append_names(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        _cleanup_free_ char *list = NULL;
        const char *names[16];
        size_t n = 0;
        char *save;
        int r;

        if (!opt_set(c, o))
                return 0;
        list = strdup(opt_value(c, o));
        if (!list)
                return fail_errno(ENOMEM, "Failed to make a D-Bus message");
        if (streq(list, "none"))
                *list = '\0';
        for (char *p = strtok_r(list, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
                if (n == ELEMENTSOF(names))
                        return fail_usage("Too many %s in '%s'", opt_table[o].name, opt_value(c, o));
                names[n++] = p;
        }
        r = option_strv(m, key, names, n);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

int verb_network_create(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL;
        char what[WHAT_MAX];
        int r;

        NAMED(what, "create network", argv[0]);
        r = client_new_call(c, VNETD_ROOT, VNETD_MANAGER, "CreateNetwork", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", argv[0]);
        if (r >= 0)
                r = options_open(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        if ((r = append_list(c, m, OPT_DNS, "DnsServers")) != 0 ||
            (r = append_list(c, m, OPT_POLICY, "Policy")) != 0 ||
            (r = append_list(c, m, OPT_GATEWAY_ADDRESS, "GatewayAddresses")) != 0 ||
            (r = append_names(c, m, OPT_REFLECT, "Reflect")) != 0 ||
            (r = append_pairs(c, m, OPT_NAT, "Nat")) != 0 ||
            (r = append_pairs(c, m, OPT_DNS_ROUTE, "DnsRoutes")) != 0 ||
            (r = append_pairs(c, m, OPT_DHCP, "Dhcp")) != 0 ||
            (r = append_pairs(c, m, OPT_OUTBOUND, "Outbound")) != 0 ||
            (r = append_number(c, m, OPT_LEASE_TIME, "LeaseTime")) != 0 ||
            (r = append_bool(c, m, OPT_HOST_LOOPBACK, "HostLoopback")) != 0 ||
            (r = append_string(c, m, OPT_SUBNET, "Subnet")) != 0 ||
            (r = append_string(c, m, OPT_SUBNET6, "Subnet6")) != 0 ||
            (r = append_string(c, m, OPT_NAT64, "Nat64")) != 0 ||
            (r = append_string(c, m, OPT_DOMAIN, "Domain")) != 0 ||
            (r = append_number(c, m, OPT_MTU, "Mtu")) != 0 ||
            (r = append_pairs(c, m, OPT_STATIC_LEASE, "StaticLeases")) != 0)
                return r;
        r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        return client_call(c, m, what, NULL);
}

/* Removes one after the other, until one cannot be. */
static int remove_each(Ctl *c, int n, char **names, const char *noun, int (*find)(Ctl *c, const char *name, char **ret),
                       const char *interface) {
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;
                char what[WHAT_MAX];
                int r;

                (void) snprintf(what, sizeof(what), "remove %s '%.100s'", noun, names[i]);
                r = find(c, names[i], &path);
                if (r == 0)
                        r = client_call_value(c, path, interface, "Remove", what, NULL, "");
                if (r != 0)
                        return r;
        }
        return CTL_OK;
}

int verb_network_remove(Ctl *c, int argc, char **argv) {
        return remove_each(c, argc, argv, "network", client_find_network, VNETD_NETWORK);
}

/* The daemon has a working directory of its own: paths leave here absolute; a pid stays what it is. */
static int append_netns(Ctl *c, sd_bus_message *m) {
        const char *netns = opt_value(c, OPT_NETNS);
        char path[PATH_MAX];
        int r;

        if (!netns)
                return 0;
        if (netns[strspn(netns, "0123456789")] != '\0') {
                if (!realpath(netns, path)) {
                        (void) fail_errno(errno, "Failed to find the network namespace '%s'", netns);
                        return CTL_NO_OBJECT;
                }
                netns = path;
        }
        r = option_string(m, "Namespace", netns);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

/* An address of a socket, its path made absolute: the daemon has a working directory of its own. */
static int append_address(Ctl *c, sd_bus_message *m, Opt o, const char *key) {
        static const char *const schemes[] = { "unix://", "unixgram://", "unixpacket://", "unix:" };
        const char *text = opt_value(c, o), *path = text;
        _cleanup_free_ char *absolute = NULL;
        char cwd[PATH_MAX];
        int r;

        if (!text)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(schemes) && path == text; i++)
                if (strncmp(text, schemes[i], strlen(schemes[i])) == 0)
                        path += strlen(schemes[i]);
        /* "tcp:", and what is mistyped: not to become the name of a file, but refused by who knows all there are */
        if (path[0] == '/' || (path == text && text[strcspn(text, ":/")] == ':'))
                return append_string(c, m, o, key);
        if (!getcwd(cwd, sizeof(cwd)) || asprintf(&absolute, "%.*s%s/%s", (int) (path - text), text, cwd, path) < 0)
                return fail_errno(errno, "Failed to find the working directory");
        r = option_string(m, key, absolute);
        return r < 0 ? fail_errno(r, "Failed to make a D-Bus message") : 0;
}

int append_device_options(Ctl *c, sd_bus_message *m) {
        static const struct {
                Opt opt;
                const char *key;
        } strings[] = { { OPT_NAME, "Name" },
                        { OPT_NETWORK, "Network" },
                        { OPT_MAC, "Mac" } },
          numbers[] = { { OPT_MTU, "Mtu" }, { OPT_OWNER, "Owner" }, { OPT_QUEUES, "Queues" } },
          flags[] = { { OPT_PERSISTENT, "Persistent" }, { OPT_ISOLATED, "Isolated" }, { OPT_GUARDED, "Guarded" },
                    { OPT_PARALLEL, "Parallel" } };
        int r;

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if ((r = append_string(c, m, strings[i].opt, strings[i].key)) != 0)
                        return r;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                if ((r = append_number(c, m, numbers[i].opt, numbers[i].key)) != 0)
                        return r;
        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                if (opt_set(c, flags[i].opt) && (r = option_bool(m, flags[i].key, true)) < 0)
                        return fail_errno(r, "Failed to make a D-Bus message");
        if ((r = append_address(c, m, OPT_LISTEN, "Listen")) != 0 || (r = append_address(c, m, OPT_CONNECT, "Connect")) != 0)
                return r;
        r = append_netns(c, m);
        return r != 0 ? r : append_names(c, m, OPT_OFFLOADS, "Offloads");
}

int verb_device_create(Ctl *c, int argc, char **argv) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_(value_freep) Value *properties = NULL;
        const char *kind = argv[0], *path;
        char what[WHAT_MAX];
        int r;

        if (opt_set(c, OPT_VHOST)) {
                if (!streq(kind, "tap"))
                        return fail_usage("Option '--vhost' goes with a device of kind 'tap' only, not '%s'",
                                          kind);
                kind = "vhost-net";
        }
        NAMED(what, "create a device of kind", kind);
        r = client_new_call(c, VNETD_ROOT, VNETD_MANAGER, "CreateDevice", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", kind);
        if (r >= 0)
                r = options_open(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = append_device_options(c, m);
        if (r != 0)
                return r;
        r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, what, &reply);
        if (r != 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return fail_errno(r, "Failed to %s: cannot read the reply", what);
        r = client_get_properties(c, path, VNETD_DEVICE, "read the new device's name",
                                  &properties);
        if (r != 0)
                return r;
        /* the end of a socket pair that a machine would have is ours, and ends with us */
        if (!opt_set(c, OPT_LISTEN) && !opt_set(c, OPT_CONNECT) && *value_get_string(properties, "Ifname") == '\0')
                return fail_usage("A device of kind '%s' needs --listen=ADDRESS or --connect=ADDRESS", kind);
        puts(value_get_string(properties, "Name"));
        return CTL_OK;
}

int verb_device_remove(Ctl *c, int argc, char **argv) {
        return remove_each(c, argc, argv, "device", client_find_device, VNETD_DEVICE);
}

/* "6443/udp" into "6443" and "udp"; without a slash it is TCP; a path is a Unix socket's. @ret_local owned by
 * the caller. */
static int split_protocol(const char *text, char **ret_local, const char **ret_protocol) {
        const char *slash = text[0] == '/' ? NULL : strrchr(text, '/');
        char *local;

        if (slash && !streq(slash, "/tcp") && !streq(slash, "/udp"))
                return fail_usage("Invalid protocol in '%s': use /tcp or /udp", text);
        if (*text == '\0')
                return fail_usage("Invalid port '%s': use [ADDR:]PORT[/udp]", text);
        local = slash ? strndup(text, (size_t) (slash - text)) : strdup(text);
        if (!local)
                return fail_errno(ENOMEM, "Failed to read '%s'", text);
        *ret_local = local;
        *ret_protocol = text[0] == '/' ? "unix" : slash ? slash + 1 : "tcp";
        return 0;
}

int expose(Ctl *c, const char *network_path, const char *text, const char *remote, char **ret_path) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        _cleanup_free_ char *local = NULL;
        const char *protocol, *path;
        char what[WHAT_MAX];
        int r;

        r = split_protocol(text, &local, &protocol);
        if (r != 0)
                return r;
        NAMED(what, "expose", text);
        r = client_new_call(c, network_path, VNETD_NETWORK, "Expose", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "sss", protocol, local, remote);
        if (r >= 0)
                r = options_open(m);
        if (r >= 0)
                r = option_string(m, "SourceAddress", opt_value(c, OPT_SOURCE));
        if (r >= 0 && opt_set(c, OPT_NO_BYPASS))
                r = option_bool(m, "Bypass", false);
        if (r >= 0)
                r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, what, &reply);
        if (r != 0 || !ret_path)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r < 0)
                return fail_errno(r, "Failed to %s: cannot read the reply", what);
        *ret_path = strdup(path);
        return *ret_path ? 0 : fail_errno(ENOMEM, "Failed to %s", what);
}

int verb_expose(Ctl *c, int argc, char **argv) {
        _cleanup_free_ char *network = NULL, *forward = NULL;
        _cleanup_(value_freep) Value *properties = NULL;
        char target[FORWARD_REMOTE_MAX];
        int r;

        r = client_find_network(c, opt_value(c, OPT_NETWORK) ?: "default", &network);
        if (r != 0)
                return r;
        r = expose(c, network, argv[0], argc > 1 ? argv[1] : "", &forward);
        if (r != 0)
                return r;
        r = client_get_properties(c, forward, VNETD_FORWARD, "read the new forward", &properties);
        if (r != 0)
                return r;
        printf("%s %s -> %s\n", value_get_string(properties, "Protocol"),
               value_get_string(properties, "Local"), forward_remote(properties, target));
        return CTL_OK;
}

/* Without --network every network is asked: an address and port of the host can be forwarded once only. */
int verb_unexpose(Ctl *c, int argc, char **argv) {
        _cleanup_(value_freep) Value *networks = NULL;
        _cleanup_free_ char *local = NULL, *path = NULL;
        const char *protocol;
        char what[WHAT_MAX];
        int r;

        r = split_protocol(argv[0], &local, &protocol);
        if (r != 0)
                return r;
        NAMED(what, "unexpose", argv[0]);
        if (opt_set(c, OPT_NETWORK)) {
                r = client_find_network(c, opt_value(c, OPT_NETWORK), &path);
                return r != 0 ? r
                              : client_call_value(c, path, VNETD_NETWORK, "Unexpose", what, NULL, "ss",
                                                  protocol, local);
        }
        r = client_call_value(c, VNETD_ROOT, VNETD_MANAGER, "ListNetworks", what, &networks, "");
        if (r != 0)
                return r;
        for (size_t i = 0; i < value_size(networks); i++) {
                _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
                const char *network = value_string(value_item(value_item(networks, i), 1));

                r = sd_bus_call_method(c->bus, VNETD_BUS_NAME, network, VNETD_NETWORK, "Unexpose", &error,
                                       NULL, "ss", protocol, local);
                if (r >= 0)
                        return CTL_OK;
                if (!sd_bus_error_has_names(&error, "org.vnetd1.NoSuchForward", SD_BUS_ERROR_UNKNOWN_OBJECT)) /* the network has just gone */
                        return client_failed(c, what, &error, r);
        }
        (void) fail("Failed to %s: no network forwards %s port %s", what, protocol, local);
        return CTL_NO_OBJECT;
}
