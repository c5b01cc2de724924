/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `vnetctl qemu -- QEMU...`: makes a device, and becomes QEMU with the other end of its socket as an inherited descriptor. vnetd takes the
 * device away when that end is closed, so nobody has to stay behind.
 */

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>

#include "basic/addr.h"
#include "ctl-client.h"
#include "ctl-edit.h"
#include "ctl-qemu.h"

#define NETDEV_ID "vnet0"

/* In QEMU's own range, so that it is known for one; a fixed one would be everybody's. */
static int choose_mac(char text[static MAC_TEXT_MAX]) {
        MacAddr mac = { { 0x52, 0x54, 0x00 } };

        if (getrandom(mac.b + 3, 3, 0) != 3)
                return fail_errno(errno, "Failed to choose a MAC address");
        (void) mac_to_text(&mac, text);
        return 0;
}

/* @ret_fd: owned by the caller; survives exec. */
static int create(Ctl *c, const char *mac, int *ret_fd) {
        _cleanup_(bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *key;
        int r, fd;

        r = client_new_call(c, VNETD_ROOT, VNETD_MANAGER, "CreateDevice", &m);
        if (r != 0)
                return r;
        r = sd_bus_message_append(m, "s", "qemu");
        if (r >= 0)
                r = options_open(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = append_device_options(c, m);
        if (r != 0)
                return r;
        if (!opt_set(c, OPT_MAC) && (r = option_string(m, "Mac", mac)) < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = options_close(m);
        if (r < 0)
                return fail_errno(r, "Failed to make a D-Bus message");
        r = client_call(c, m, "create a device of kind 'qemu'", &reply);
        if (r != 0)
                return r;

        r = sd_bus_message_skip(reply, "o");
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(reply, 'e', "sv")) > 0) {
                r = sd_bus_message_read(reply, "s", &key);
                if (r >= 0 && streq(key, "Fd")) {
                        r = sd_bus_message_read(reply, "v", "h", &fd);
                        if (r < 0)
                                break;
                        *ret_fd = fcntl(fd, F_DUPFD, 3); /* not closed by exec */
                        return *ret_fd < 0 ? fail_errno(errno, "Failed to keep the guest's socket") : 0;
                }
                if (r >= 0)
                        r = sd_bus_message_skip(reply, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(reply);
        }
        return r < 0 ? fail_errno(r, "Failed to read the reply of vnetd") : fail("vnetd gave no socket for the guest");
}

int verb_qemu(Ctl *c, int argc, char **argv) {
        _cleanup_free_ char *netdev = NULL, *device = NULL, **args = NULL;
        const char *model = opt_value(c, OPT_DEVICE) ?: "virtio-net-pci";
        char chosen[MAC_TEXT_MAX];
        int r, fd = -EBADF, error;

        r = choose_mac(chosen);
        if (r == 0)
                r = create(c, chosen, &fd);
        if (r != 0)
                return r;

        args = calloc((size_t) argc + 5, sizeof(*args));
        if (!args || asprintf(&netdev, "socket,id=" NETDEV_ID ",fd=%d", fd) < 0 ||
            asprintf(&device, "%s,netdev=" NETDEV_ID ",mac=%s", model, opt_value(c, OPT_MAC) ?: chosen) < 0)
                return fail_errno(ENOMEM, "Failed to run '%s'", argv[0]);
        memcpy(args, argv, (size_t) argc * sizeof(*args));
        args[argc] = (char *) "-netdev";
        args[argc + 1] = netdev;
        args[argc + 2] = (char *) "-device";
        args[argc + 3] = device;
        client_disconnect(c);
        (void) execvp(argv[0], args);
        error = errno;
        (void) fail_errno(error, "Failed to run '%s'", argv[0]);
        return error == ENOENT ? 127 : 126;
}
