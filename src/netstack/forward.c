/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The table of forwards in, and the two decisions it stands for: which guest a connection goes to, and whose address the guest sees.
 * Never opens or binds a socket: those come from outside, where the privileges are.
 */

#include "netstack/forward.h"

#include <errno.h>
#include <netinet/in.h>

#include "netstack/dhcp.h"
#include "netstack/nd.h"
#include "netstack/tcp.h"

struct ForwardTable {
        Netstack *stack;  /* (borrowed) */
        Forward *slots;   /* (owned) */
        uint32_t n_slots; /* used or once used */
        uint32_t n_allocated;
        Timer accept_timer;
};

/* Clients that were not accepted raise no further event. */
static void accept_again(Timer *timer, usec_t now, void *userdata) {
        Netstack *s = userdata;
        usec_t next = USEC_INFINITY;
        for (uint32_t i = 0; i < s->forwards->n_slots; i++) {
                Forward *f = &s->forwards->slots[i];
                if (f->fd < 0 || f->accept_at == 0)
                        continue;
                if (f->accept_at <= now) {
                        f->accept_at = 0;
                        tcp_forward_event(s, f);
                }
                if (f->accept_at > 0)
                        next = MIN(next, f->accept_at);
        }
        (void) timer_set(&s->timers, timer, next);
}

void forward_accept_later(Netstack *s, Forward *f, usec_t delay) {
        Timer *t = &s->forwards->accept_timer;
        f->accept_at = netstack_now(s) + delay;
        if (f->accept_at < t->when)
                (void) timer_set(&s->timers, t, f->accept_at); /* -ENOMEM: the next client's event tries again */
}

int forward_table_new(ForwardTable **ret, Netstack *s) {
        ForwardTable *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->stack = s;
        timer_init(&t->accept_timer, accept_again);
        *ret = t;
        return 0;
}

static void forward_close(Netstack *s, Forward *f) {
        s->ops->close(s->userdata, f->fd, /* reset= */ false);
        f->fd = -EBADF;
        f->generation++;
}

ForwardTable *forward_table_free(ForwardTable *t) {
        if (!t)
                return NULL;
        for (uint32_t i = 0; i < t->n_slots; i++)
                if (t->slots[i].fd >= 0)
                        forward_close(t->stack, &t->slots[i]);
        timer_stop(&t->stack->timers, &t->accept_timer);
        free(t->slots);
        free(t);
        return NULL;
}

Forward *forward_by_cookie(ForwardTable *t, uint64_t cookie) {
        uint32_t i = host_cookie_index(cookie);
        if (i >= t->n_slots || t->slots[i].fd < 0)
                return NULL;
        return (t->slots[i].generation & 0xffffff) == host_cookie_generation(cookie) ? &t->slots[i] : NULL;
}

Forward *forward_by_id(ForwardTable *t, uint32_t id) {
        for (uint32_t i = 0; i < t->n_slots; i++)
                if (t->slots[i].fd >= 0 && t->slots[i].config.id == id)
                        return &t->slots[i];
        return NULL;
}

uint16_t forward_slot(const ForwardTable *t, const Forward *f) {
        return (uint16_t) (f - t->slots);
}

void forward_count(ForwardTable *t, uint16_t slot, uint32_t id, uint64_t rx, uint64_t tx) {
        Forward *f = &t->slots[slot];
        if (f->fd < 0 || f->config.id != id)
                return;
        f->stats.rx_bytes += rx;
        f->stats.tx_bytes += tx;
}

/* A free slot, or NULL at FORWARDS_MAX or without memory. Growing moves the slots: nobody keeps a Forward * across batches. */
static Forward *take_slot(ForwardTable *t) {
        for (uint32_t i = 0; i < t->n_slots; i++)
                if (t->slots[i].fd < 0)
                        return &t->slots[i];
        if (t->n_slots == FORWARDS_MAX)
                return NULL;
        if (t->n_slots == t->n_allocated) {
                uint32_t n = MAX(t->n_allocated * 2, 8u);
                Forward *slots = realloc(t->slots, n * sizeof(*slots));
                if (!slots)
                        return NULL;
                t->slots = slots;
                t->n_allocated = n;
        }
        t->slots[t->n_slots] = (Forward){ .fd = -EBADF };
        return &t->slots[t->n_slots++];
}

int netstack_forward_add(Netstack *s, const ForwardConfig *config, int fd) {
        ForwardTable *t = s->forwards;
        if (forward_by_id(t, config->id))
                return -EEXIST;
        Forward *f = take_slot(t);
        if (!f)
                return -ENOBUFS;

        uint32_t generation = f->generation + 1;
        int r = s->ops->watch(s->userdata, fd, host_cookie(HOST_KIND_LISTENER, generation, (uint32_t) (f - t->slots)));
        if (r < 0)
                return r;
        *f = (Forward){ .config = *config, .fd = fd, .generation = generation };
        return 0;
}

int netstack_forward_remove(Netstack *s, uint32_t id) {
        Forward *f = forward_by_id(s->forwards, id);
        if (!f)
                return -ENOENT;
        forward_close(s, f);
        return 0;
}

int netstack_forward_stats(const Netstack *s, uint32_t id, ForwardStats *ret) {
        const Forward *f = forward_by_id(s->forwards, id);
        if (!f)
                return -ENOENT;
        *ret = f->stats;
        return 0;
}

int forward_target(Netstack *s, const Forward *f, Endpoint *ret) {
        if (!ip_is_null(&f->config.remote.addr)) {
                *ret = f->config.remote;
                return 0;
        }
        const char *name = f->config.hostname;
        const Lease *l = name[0] != 0 ? dhcp_lease_by_hostname(s->dhcp, name) : dhcp_only_lease(s->dhcp);
        if (!l)
                return -EHOSTUNREACH;
        *ret = (Endpoint){ l->addr, f->config.remote.port };
        return 0;
}

/* Would the answer of @guest to @a come back to the gateway, and to no one else? Without a default route it would not come at all. */
static bool routes_back(const Netstack *s, const IpAddr *a, const IpAddr *guest) {
        if (ip_classify(a) != IP_CLASS_UNICAST || ip_is_v4(a) != ip_is_v4(guest) || netstack_is_inside(s, a))
                return false;
        return ip_is_v4(a) || (nd_has_uplink(s->nd) && ip_classify(guest) == IP_CLASS_UNICAST);
}

Endpoint forward_source(Netstack *s, const Forward *f, const Endpoint *client, const IpAddr *guest) {
        if (f->config.source == FORWARD_SOURCE_CLIENT && routes_back(s, &client->addr, guest))
                return *client;
        return (Endpoint){ netstack_gateway_for(s, guest), client->port };
}
