/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Families one after the other, as the format wants it, each with a sample for every network or device. Names of ours need no escaping:
 * letters, digits, '_', '.' and '-' are all there can be in them. */

#include "http/http-metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "basic/cleanup.h"

typedef struct Family {
        const char *name, *type, *help; /* of a counter without its "_total" */
        size_t offset;                  /* of NetstackStats */
        bool wide;                      /* uint64_t, not uint32_t */
} Family;

#define GAUGE(name, field, help) { "vnetd_" name, "gauge", help, offsetof(NetstackStats, field), sizeof(((NetstackStats *) NULL)->field) == 8 }
#define COUNTER(name, field, help) { "vnetd_" name, "counter", help, offsetof(NetstackStats, field), sizeof(((NetstackStats *) NULL)->field) == 8 }

static const Family families[] = {
        GAUGE("tcp_flows", tcp_flows, "TCP connections of guests"),
        GAUGE("tcp_half_open", half_open, "TCP connections not yet established"),
        GAUGE("udp_flows", udp_flows, "UDP mappings of guests"),
        GAUGE("ping_flows", ping_flows, "Echo requests under way"),
        GAUGE("neighbours", neighbours, "Guests known by ARP"),
        GAUGE("leases", leases, "Addresses given out by DHCP"),
        GAUGE("parked_bytes", parked_bytes, "Bytes held for sockets of the host"),
        COUNTER("tcp_opened", tcp_opened, "TCP connections begun"),
        COUNTER("tcp_refused", tcp_refused, "TCP connections that could not be made"),
        COUNTER("udp_opened", udp_opened, "UDP mappings made"),
        COUNTER("bypassed", bypassed, "Connections of forwards led to a guest from socket to socket"),
        COUNTER("bypassed_bytes", bypassed_bytes, "Bytes they moved"),
        COUNTER("tcp_retransmits", retransmits, "Segments sent to guests again"),
        COUNTER("host_events", host_events, "Events of sockets of the host"),
};

static uint64_t value_of(const NetstackStats *s, const Family *f) {
        const char *at = (const char *) s + f->offset;

        return f->wide ? *(const uint64_t *) at : *(const uint32_t *) at;
}

/* What a network said, once, for all families of one scrape: each question is one for its thread, and its thread's for each of its shards'. */
typedef struct Answer {
        const char *name; /* (borrowed) of the network, which nobody removes meanwhile */
        NetstackStats stats;
        Counters counters;
} Answer;

static int ask_networks(Manager *m, Answer **ret, size_t *ret_n) {
        size_t n = 0;
        Answer *all;

        for (Network *w = NULL; (w = manager_next_network(m, w));)
                n++;
        all = calloc(MAX(n, (size_t) 1), sizeof(*all));
        if (!all)
                return -ENOMEM;
        n = 0;
        for (Network *w = NULL; (w = manager_next_network(m, w));) {
                Answer *a = &all[n];

                a->name = network_config(w)->name;
                if (network_get_stats(w, &a->stats, &a->counters) >= 0)
                        n++;
        }
        *ret = all;
        *ret_n = n;
        return 0;
}

static void put_families(FILE *out, const Answer *answers, size_t n) {
        for (size_t i = 0; i < ELEMENTSOF(families); i++) {
                const Family *f = &families[i];

                fprintf(out, "# TYPE %s %s\n# HELP %s %s.\n", f->name, f->type, f->name, f->help);
                for (size_t k = 0; k < n; k++)
                        fprintf(out, "%s%s{network=\"%s\"} %" PRIu64 "\n", f->name, streq(f->type, "counter") ? "_total" : "",
                                answers[k].name, value_of(&answers[k].stats, f));
        }
}

static void put_drops(FILE *out, const Answer *answers, size_t n) {
        fputs("# TYPE vnetd_drops counter\n# HELP vnetd_drops What the gateway dropped, by reason.\n", out);
        for (size_t k = 0; k < n; k++)
                for (Drop d = 0; d < _DROP_MAX; d++)
                        fprintf(out, "vnetd_drops_total{network=\"%s\",reason=\"%s\"} %" PRIu64 "\n", answers[k].name, drop_to_name(d),
                                answers[k].counters.drops[d]);
}

static void put_device(FILE *out, Manager *m, const char *name, const char *help, size_t offset) {
        fprintf(out, "# TYPE vnetd_device_%s counter\n# HELP vnetd_device_%s %s.\n", name, name, help);
        for (ManagedDevice *d = NULL; (d = manager_next_device(m, d));) {
                Counters c;

                device_counters(d->device, &c);
                fprintf(out, "vnetd_device_%s_total{device=\"%s\",network=\"%s\"} %" PRIu64 "\n", name, d->device->name,
                        d->network ? network_config(d->network)->name : "", *(const uint64_t *) ((const char *) &c + offset));
        }
}

static void put_forwards(FILE *out, Manager *m) {
        fputs("# TYPE vnetd_forward_connections counter\n# HELP vnetd_forward_connections Connections through a forward.\n", out);
        for (ManagedForward *f = NULL; (f = manager_next_forward(m, f));) {
                ForwardStats s;

                if (manager_forward_stats(m, f, &s) >= 0)
                        fprintf(out, "vnetd_forward_connections_total{forward=\"%u\",network=\"%s\"} %" PRIu64 "\n", f->id,
                                network_config(f->network)->name, s.connections);
        }
}

int http_metrics_text(Manager *m, char **ret) {
        _cleanup_free_ Answer *answers = NULL;
        char *text = NULL;
        size_t len, n;
        FILE *out;
        bool bad;

        if (ask_networks(m, &answers, &n) < 0)
                return -ENOMEM;
        out = open_memstream(&text, &len);
        if (!out)
                return -ENOMEM;
        put_families(out, answers, n);
        put_drops(out, answers, n);
        put_device(out, m, "rx_bytes", "Bytes from the guest", offsetof(Counters, rx_bytes));
        put_device(out, m, "tx_bytes", "Bytes to the guest", offsetof(Counters, tx_bytes));
        put_device(out, m, "rx_frames", "Frames from the guest", offsetof(Counters, rx_frames));
        put_device(out, m, "tx_frames", "Frames to the guest", offsetof(Counters, tx_frames));
        put_forwards(out, m);
        fputs("# EOF\n", out);
        bad = ferror(out);
        if (fclose(out) != 0 || bad) {
                free(text);
                return -ENOMEM;
        }
        *ret = text;
        return 0;
}
