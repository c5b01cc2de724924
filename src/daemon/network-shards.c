/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shards of a network's parallel devices, as its thread sees them: made, ended, summed up, and what they post. */

#include <errno.h>

#include "daemon/network-private.h"
#include "netstack/shard.h"

/* ---- what they post ---- */

static uint64_t tag_of(const Port *p) {
        return (uint64_t) p->life << 16 | p->number;
}

/* NULL: of a port that is no more. */
static Port *port_by_tag(Network *n, uint64_t tag) {
        Port *p = n->ports[(uint16_t) tag - 1];

        return p && tag_of(p) == tag && !p->gone ? p : NULL;
}

/* One that is lost is sent again when as much has been handed over. */
static void steer(Port *p, const Frame *f) {
        SteerFrame s;

        if (steer_look(p->steer, f, &p->network->config.stack.mac, loop_now(p->network->loop), &s))
                (void) device_send(p->device, &s.frame, 1);
}

static void on_frames(void *userdata, uint64_t tag, Frame *frames, unsigned n) {
        Port *p = port_by_tag(userdata, tag);

        if (!p)
                return;
        steer(p, &frames[n - 1]);
        network_receive_here(p, frames, n);
}

static void on_seen(void *userdata, uint64_t tag, const MacAddr *mac) {
        Network *n = userdata;
        Port *p = port_by_tag(n, tag);
        uint16_t known;

        if (!p || mac_is_multicast(mac) || mac_equal(mac, &n->config.stack.mac))
                return;
        known = switch_lookup(&n->table, mac, loop_now(n->loop));
        if (known != 0 && known != p->number && n->ports[known - 1]->options.guarded)
                return; /* nobody takes a guarded port's address away */
        if (!switch_learn(&n->table, mac, p->number, loop_now(n->loop)))
                counters_drop(&p->device->counters, DROP_SWITCH_TABLE_FULL);
}

static void on_gone(void *userdata, uint64_t tag, int error) {
        Port *p = port_by_tag(userdata, tag);

        if (p)
                network_device_gone_here(p, error);
}

/* It is refused as it would have been at first. */
static void on_unclaimed(void *userdata, uint64_t tag, Frame *f) {
        Network *n = userdata;
        Port *p = port_by_tag(n, tag);

        if (!p)
                return;
        n->offered = true;
        netstack_input(n->stack, &p->stack_port, f, 1);
        n->offered = false;
}

static const ShardHandler shard_handler = {
        .frames = on_frames,
        .seen = on_seen,
        .gone = on_gone,
        .unclaimed = on_unclaimed,
};

/* ---- what may be any of theirs ---- */

bool network_shards_offer(Network *n, uint32_t port, const Frame *f) {
        Port *p = n->ports[port - 1];

        if (n->offered || p->n_shards == 0)
                return false;
        if (shards_offer(p->shards, p->n_shards, f) < 0) {
                counter_add(&p->device->counters.rx_dropped, 1);
                counters_drop(&p->device->counters, DROP_HANDOVER_FULL);
        }
        return true;
}

/* ---- life ---- */

int network_shards_begin(Port *p) {
        Network *n = p->network;
        ShardConfig c = {
                .name = n->config.name,
                .stack = &n->config.stack,
                .source = &n->config.source,
                .device = p->device,
                .port = p->stack_port,
                .loop = n->loop,
                .handler = &shard_handler,
                .userdata = n,
                .waiting = &n->waiting[p->number - 1],
                .tag = tag_of(p),
        };

        p->steer = calloc(1, sizeof(*p->steer));
        if (!p->steer)
                return -ENOMEM;
        for (c.queue = 1; c.queue < p->device->n_queues; c.queue++) {
                int r = shard_new(&p->shards[p->n_shards], &c);

                if (r < 0)
                        return r;
                p->n_shards++;
        }
        return 0;
}

void network_shards_end(Port *p) {
        Network *n = p->network;

        for (; p->n_shards > 0; p->n_shards--) {
                Shard **s = &p->shards[p->n_shards - 1];
                NetstackStats stats = {};

                shard_add_stats(*s, &stats, &n->ended);
                stats.tcp_flows = stats.half_open = 0; /* what is there now, not what was counted */
                stats.parked_bytes = 0;
                netstack_add_stats(&n->ended_stats, &stats);
                *s = shard_free(*s);
        }
        free(TAKE_PTR(p->steer));
}

/* ---- all of them ---- */

/* The one after @last, whose place @i and @k keep; NULL begins and ends. */
static Shard *next_shard(const Network *n, unsigned *i, unsigned *k) {
        for (; *i < SWITCH_PORTS_MAX; (*i)++, *k = 0)
                if (n->ports[*i] && *k < n->ports[*i]->n_shards)
                        return n->ports[*i]->shards[(*k)++];
        return NULL;
}

void network_shards_check_addresses(Network *n) {
        unsigned i = 0, k = 0;

        for (Shard *s; (s = next_shard(n, &i, &k));)
                shard_check_addresses(s);
}

void network_shards_add_stats(Network *n, NetstackStats *stats, Counters *counters) {
        unsigned i = 0, k = 0;

        netstack_add_stats(stats, &n->ended_stats);
        counters_sum(counters, &n->ended);
        for (Shard *s; (s = next_shard(n, &i, &k));)
                shard_add_stats(s, stats, counters);
}

int network_shards_add_flows(Network *n, size_t max, FlowInfo **flows, size_t *n_flows) {
        unsigned i = 0, k = 0;

        for (Shard *s; *n_flows < max && (s = next_shard(n, &i, &k));) {
                _cleanup_free_ FlowInfo *more = NULL;
                FlowInfo *all;
                size_t n_more;
                int r = shard_list_flows(s, max - *n_flows, &more, &n_more);

                if (r < 0)
                        return r;
                all = realloc(*flows, MAX(*n_flows + n_more, (size_t) 1) * sizeof(*all));
                if (!all)
                        return -ENOMEM;
                memcpy(all + *n_flows, more, n_more * sizeof(*all));
                *flows = all;
                *n_flows += n_more;
        }
        return 0;
}
