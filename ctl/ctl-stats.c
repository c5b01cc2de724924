/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* `vnetctl stats`: the gateway's counters, and what they mean. Changes nothing. */

#include <stdio.h>

#include "basic/counters.h"
#include "ctl-client.h"
#include "ctl-show.h"
#include "ctl-stats.h"
#include "ctl-table.h"

/* What a counter counts; "" for those whose name says it. */
static const char *counter_meaning(const char *name) {
        static const char prefix[] = "drop-";
        static const struct {
                const char *name, *meaning;
        } table[] = {
                { "batches-in", "frames came from devices: so many times" },
                { "batches-out", "frames went to devices: so many times" },
                { "dup-acks-sent", "guests were told of holes in what they sent" },
                { "fast-retransmits", "guests reported holes in what was sent to them" },
                { "host-events", "host sockets had something to say" },
                { "parked-bytes", "of uploads, which host sockets did not take yet or that came early" },
                { "parked-peak", "the most there ever were" },
                { "partial-sends", "host sockets took less than was there" },
                { "retransmits", "segments sent to guests once more" },
                { "rto-fired", "guests were silent for a whole retransmission time-out" },
                { "tcp-refused", "connections that could not be made" },
                { "turns", "the network's thread woke up" },
                { "zero-window-probes", "guests took nothing for long" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].name, name))
                        return table[i].meaning;

        if (strncmp(name, prefix, strlen(prefix)) == 0)
                for (Drop d = 0; d < _DROP_MAX; d++)
                        if (streq(drop_to_name(d), name + strlen(prefix)))
                                return drop_to_text(d);
        return "";
}

static void row(Ctl *c, Table *t, const char *network, const char *name, uint64_t n) {
        if (n == 0 && !opt_set(c, OPT_ZERO))
                return;
        table_row(t);
        table_text(t, network);
        table_text(t, name);
        table_number(t, n);
        table_text(t, counter_meaning(name));
}

static void per_batch(Ctl *c, Table *t, const char *network, const Value *stats, const char *way, const char *bytes) {
        char batches[32], name[32];

        (void) snprintf(batches, sizeof(batches), "batches-%s", way);
        (void) snprintf(name, sizeof(name), "bytes-per-batch-%s", way);
        row(c, t, network, name, value_get_number(stats, bytes) / MAX(value_get_number(stats, batches), UINT64_C(1)));
}

/* Every counter of one network; those at zero say nothing and are left out unless asked for. */
static int stats_of_network(Ctl *c, Table *t, const char *name, const char *path) {
        _cleanup_(value_freep) Value *stats = NULL;
        int r;

        r = client_call_value(c, path, VNETD_NETWORK, "GetStats", "read counters", &stats, "");
        if (r != 0)
                return r;
        for (size_t i = 0; i < value_size(stats); i++)
                row(c, t, name, stats->keys[i], value_number(stats->items[i]));
        per_batch(c, t, name, stats, "in", "rx-bytes");
        per_batch(c, t, name, stats, "out", "tx-bytes");
        return 0;
}

int verb_stats(Ctl *c, int argc, char **argv) {
        static const TableColumn columns[] = {
                { "NETWORK" }, { "COUNTER" }, { "VALUE", true }, { "MEANING" }
        };
        _cleanup_(table_freep) Table *t = NULL;
        int r = table_new(&t, c, "counters", columns, ELEMENTSOF(columns));

        return r != 0 ? r : show_each_network(c, "read counters", t, stats_of_network);
}
