/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * vnetctl: the command line of vnetd. Finds the verb, connects to the bus, runs it. The verbs live in
 * ctl-*.c.
 */

#include <locale.h>
#include <stdio.h>

#include "ctl-attach.h"
#include "ctl-client.h"
#include "ctl-connect.h"
#include "ctl-edit.h"
#include "ctl-lab.h"
#include "ctl-monitor.h"
#include "ctl-qemu.h"
#include "ctl-run.h"
#include "ctl-show.h"
#include "ctl-stats.h"
#include "ctl-table.h"
#include "ctl-zone.h"

#define DEVICE_OPTIONS                                                                                      \
        (OPT_BIT(OPT_NAME) | OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_MAC) | OPT_BIT(OPT_MTU) |                   \
         OPT_BIT(OPT_NETNS) | OPT_BIT(OPT_VHOST) | OPT_BIT(OPT_LISTEN) | OPT_BIT(OPT_CONNECT) |             \
         OPT_BIT(OPT_OWNER) | OPT_BIT(OPT_PERSISTENT) | OPT_BIT(OPT_QUEUES) | OPT_BIT(OPT_OFFLOADS) | OPT_BIT(OPT_ISOLATED) | \
         OPT_BIT(OPT_GUARDED) | OPT_BIT(OPT_PARALLEL))
#define QEMU_OPTIONS                                                                                 \
        (OPT_BIT(OPT_NAME) | OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_MAC) | OPT_BIT(OPT_MTU) |                 \
         OPT_BIT(OPT_DEVICE) | OPT_BIT(OPT_ISOLATED) | OPT_BIT(OPT_GUARDED))
#define NETWORK_OPTIONS                                                                                     \
        (OPT_BIT(OPT_SUBNET) | OPT_BIT(OPT_SUBNET6) | OPT_BIT(OPT_NAT64) | OPT_BIT(OPT_DOMAIN) | OPT_BIT(OPT_DNS) |              \
         OPT_BIT(OPT_STATIC_LEASE) | OPT_BIT(OPT_MTU) | OPT_BIT(OPT_POLICY) | OPT_BIT(OPT_NAT) |            \
         OPT_BIT(OPT_GATEWAY_ADDRESS) | OPT_BIT(OPT_REFLECT) | OPT_BIT(OPT_DNS_ROUTE) | OPT_BIT(OPT_DHCP) | OPT_BIT(OPT_OUTBOUND) | \
         OPT_BIT(OPT_LEASE_TIME) | OPT_BIT(OPT_HOST_LOOPBACK))
#define GUEST_OPTIONS                                                                                       \
        (OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_IFNAME) | OPT_BIT(OPT_MTU) | OPT_BIT(OPT_NO_CONFIGURE) |        \
         OPT_BIT(OPT_VHOST) | OPT_BIT(OPT_QUEUES) | OPT_BIT(OPT_PARALLEL))

static const Verb verbs[] = {
        { "status", "", 0, 0, 0, false, verb_status,
          "Networks, devices and forwards at a glance (the default)" },
        { "network list", "", 0, 0, 0, false, verb_network_list, "List networks" },
        { "network show", "NAME", 1, 1, 0, false, verb_network_show, "Show all of one network" },
        { "network create", "NAME", 1, 1, NETWORK_OPTIONS, false, verb_network_create, "Make a network" },
        { "network remove", "NAME...", 1, -1, 0, false, verb_network_remove,
          "Remove networks and what is plugged into them" },
        { "device list", "", 0, 0, OPT_BIT(OPT_NETWORK), false, verb_device_list, "List devices" },
        { "device show", "NAME", 1, 1, 0, false, verb_device_show,
          "Show all of one device, its drops by reason too" },
        { "device create", "KIND", 1, 1, DEVICE_OPTIONS, false, verb_device_create,
          "Make a device, 'tap' for one, and print its name" },
        { "device remove", "NAME...", 1, -1, 0, false, verb_device_remove, "Unplug and remove devices" },
        { "expose", "[ADDR:]PORT[-LAST][/udp] [GUEST[:PORT]]", 1, 2, OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_SOURCE) | OPT_BIT(OPT_NO_BYPASS),
          false, verb_expose,
          "Lead a port of the host to a guest: without GUEST to the only one, without ADDR from loopback "
          "alone" },
        { "unexpose", "[ADDR:]PORT[-LAST][/udp]", 1, 1, OPT_BIT(OPT_NETWORK), false, verb_unexpose,
          "Close an exposed port" },
        { "forwards", "", 0, 0, OPT_BIT(OPT_NETWORK), false, verb_forwards, "List exposed ports" },
        { "leases", "", 0, 0, OPT_BIT(OPT_NETWORK), false, verb_leases, "List the addresses guests have" },
        { "flows", "", 0, 0, OPT_BIT(OPT_NETWORK), false, verb_flows, "List the conversations of guests" },
        { "stats", "", 0, 0, OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_ZERO), false, verb_stats,
          "Counters, dropped packets by reason too" },
        { "zones", "", 0, 0, OPT_BIT(OPT_NETWORK), false, verb_zones, "List the zones of DNS that were put up, record by record" },
        { "zone set", "ZONE ['NAME TYPE VALUE'...]", 1, -1, OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_DEFAULT) | OPT_BIT(OPT_TTL), false,
          verb_zone_set, "Answer for a DNS zone with these records, in place of those it had" },
        { "zone remove", "ZONE...", 1, -1, OPT_BIT(OPT_NETWORK), false, verb_zone_remove, "Answer for a zone no longer" },
        { "connect", "HOST PORT", 2, 2, OPT_BIT(OPT_NETWORK) | OPT_BIT(OPT_UDP), false, verb_connect,
          "Connect stdin and stdout to a port of a guest (a ProxyCommand for ssh)" },
        { "listen", "PORT", 1, 1, OPT_BIT(OPT_NETWORK), false, verb_listen,
          "Connect stdin and stdout to the first guest that connects to a port of the gateway" },
        { "run", "[--] COMMAND...", 1, -1, GUEST_OPTIONS | OPT_BIT(OPT_PUBLISH) | OPT_BIT(OPT_SOURCE) | OPT_BIT(OPT_NO_BYPASS), true,
          verb_run, "Run a command in a new namespace that is plugged into a network" },
        { "attach", "PID|PATH", 1, 1, GUEST_OPTIONS, false, verb_attach, "Plug an existing namespace in" },
        { "qemu", "[--] QEMU...", 1, -1, QEMU_OPTIONS, true, verb_qemu,
          "Run QEMU with a network card that is plugged into a network: adds the -netdev and -device to its command line" },
        { "inject", "DEVICE", 1, 1, OPT_BIT(OPT_GSO) | OPT_BIT(OPT_GSO_SIZE) | OPT_BIT(OPT_CSUM) | OPT_BIT(OPT_HDR_LEN) | OPT_BIT(OPT_FROM_GUEST),
          false, verb_inject, "Send the Ethernet frame on stdin out of a device, to its guest" },
        { "capture", "DEVICE [FILTER...]", 1, -1, OPT_BIT(OPT_WRITE) | OPT_BIT(OPT_SNAPLEN), false, verb_capture,
          "Write the frames that pass a device as a pcap file, until ^C" },
        { "monitor", "", 0, 0, 0, false, verb_monitor, "Print what happens as it happens, until ^C" },
};

const Verb *verb_nth(size_t i) {
        return i < ELEMENTSOF(verbs) ? &verbs[i] : NULL;
}

int main(int argc, char **argv) {
        Ctl c = {};
        char **args;
        int n_args, r;

        /* For the width of what is printed; numbers and messages stay as they are. */
        (void) setlocale(LC_CTYPE, "");
        r = options_parse(&c, argc, argv, &n_args, &args);
        if (r >= 0)
                return r;
        r = client_connect(&c);
        if (r == 0)
                r = c.verb->run(&c, n_args, args);
        client_disconnect(&c);
        if (fflush(stdout) != 0 && r == 0)
                r = fail_errno(errno, "Failed to print");
        pager_close();
        return r;
}
