/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See shard.h. Knows no switch and no port: what it answers leaves by the queue it came from. */

#include "daemon/shard.h"

#include <errno.h>
#include <stdio.h>

#include "basic/iovcur.h"
#include "basic/rights.h"
#include "daemon/stack-timer.h"
#include "device/tap-queue.h"
#include "netstack/shard.h"

#define SEEN_AGAIN USEC_PER_MINUTE        /* the switch forgets after five */
#define SEEN_PAUSE (10 * USEC_PER_MSEC)   /* between two tellings, whatever addresses the guest uses */

struct Shard {
        ShardConfig config; /* stack, source, name: not after shard_new() */
        Loop *loop;         /* (owned) */

        /* on the shard's thread */
        Netstack *stack;      /* (owned) */
        HostSockets *sockets; /* (owned) */
        Timer stack_timer;    /* stands where the netstack's earliest does */
        Counters *counters;   /* (borrowed: the device's) of the queue */
        MacAddr seen;         /* the last that was told, at: */
        usec_t seen_at;
        bool gone;
};

/* ---- what is posted to the network's thread ---- */

typedef struct Note {
        const ShardHandler *handler;
        void *userdata;
        uint64_t tag;
        _Atomic size_t *waiting;
        MacAddr seen;
        int error;

        size_t size; /* of all, frames' bytes included */
        unsigned n;
        Frame frames[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX];
        uint8_t bytes[];
} Note;

static void note_free_bounded(Note *note) {
        atomic_fetch_sub_explicit(note->waiting, note->size, memory_order_relaxed);
        free(note);
}

static Note *note_new(const Shard *s, size_t n_bytes) {
        Note *note = malloc(sizeof(*note) + n_bytes);

        if (note) {
                note->handler = s->config.handler;
                note->userdata = s->config.userdata;
                note->tag = s->config.tag;
                note->waiting = s->config.waiting;
                note->size = sizeof(*note) + n_bytes;
                note->n = 0;
        }
        return note;
}

/* One for frames, within the bound on what waits. -ENOBUFS, -ENOMEM. */
static int note_new_bounded(const Shard *s, size_t n_bytes, Note **ret) {
        Note *note = note_new(s, n_bytes);

        if (!note)
                return -ENOMEM;
        if (atomic_fetch_add_explicit(note->waiting, note->size, memory_order_relaxed) + note->size > SHARD_HANDOVER_MAX) {
                note_free_bounded(note);
                return -ENOBUFS;
        }
        *ret = note;
        return 0;
}

/* On the network's thread, like those that follow. */
static void take_frames(void *arg) {
        Note *note = arg;

        note->handler->frames(note->userdata, note->tag, note->frames, note->n);
        note_free_bounded(note);
}

static void take_unclaimed(void *arg) {
        Note *note = arg;

        note->handler->unclaimed(note->userdata, note->tag, note->frames);
        note_free_bounded(note);
}

static void take_seen(void *arg) {
        Note *note = arg;

        note->handler->seen(note->userdata, note->tag, &note->seen);
        free(note);
}

static void take_gone(void *arg) {
        Note *note = arg;

        note->handler->gone(note->userdata, note->tag, note->error);
        free(note);
}

static void note_post(Shard *s, Note *note, void (*fn)(void *arg)) {
        if (note && loop_post(s->config.loop, fn, note) < 0)
                free(note);
}

/* ---- on the shard's thread: frames of the guest ---- */

static void drop(Shard *s, unsigned n) {
        counter_add(&s->counters->rx_dropped, n);
        counter_add(&s->counters->drops[DROP_HANDOVER_FULL], n);
}

/* Copies those of @frames whose bit of @mine is not set, in their order. */
static void note_add(Note *note, const Frame *frames, unsigned n, uint64_t mine) {
        size_t at = 0;

        for (unsigned i = 0; i < n; i++) {
                IovCur c = iovcur_make(frames[i].iov, frames[i].n_iov, frames[i].len);

                if (mine >> i & 1)
                        continue;
                note->iov[note->n] = (struct iovec){ note->bytes + at, frames[i].len };
                note->frames[note->n] = (Frame){ .hdr = frames[i].hdr, .iov = &note->iov[note->n], .n_iov = 1, .len = frames[i].len };
                (void) iovcur_copy(&c, note->bytes + at, frames[i].len);
                at += frames[i].len;
                note->n++;
        }
}

/* @bytes: of those that are not @mine. */
static void hand_over(Shard *s, const Frame *frames, unsigned n, uint64_t mine, size_t bytes) {
        Note *note;

        if (note_new_bounded(s, bytes, &note) < 0)
                return drop(s, n - (unsigned) __builtin_popcountll(mine));
        note_add(note, frames, n, mine);
        if (loop_post(s->config.loop, take_frames, note) < 0) {
                drop(s, note->n);
                note_free_bounded(note);
        }
}

/* The switch learns of a guest from what it says, and it may say nothing but here for a long time. */
static void tell_seen(Shard *s, const Frame *f) {
        usec_t now = loop_now(s->loop);
        IovCur c = iovcur_make(f->iov, f->n_iov, f->len);
        MacAddr macs[2];
        Note *note;

        if (now < s->seen_at + SEEN_PAUSE || !iovcur_copy(&c, macs, sizeof(macs)) ||
            (mac_equal(&macs[1], &s->seen) && now < s->seen_at + SEEN_AGAIN) || !(note = note_new(s, 0)))
                return;
        s->seen = note->seen = macs[1];
        s->seen_at = now;
        note_post(s, note, take_seen);
}

static void on_receive(Device *d, Frame *frames, unsigned n, void *userdata) {
        Shard *s = userdata;
        uint64_t mine = 0;
        size_t others = 0;
        unsigned end;

        device_received(d, frames, n);
        for (unsigned i = 0; i < n; i++)
                if (netstack_shard_takes(s->stack, &frames[i]))
                        mine |= UINT64_C(1) << i;
                else
                        others += frames[i].len;
        if (mine)
                tell_seen(s, &frames[__builtin_ctzll(mine)]);
        if (others > 0)
                hand_over(s, frames, n, mine, others);
        for (unsigned i = 0; i < n; i = end) {
                for (end = i + 1; end < n && (mine >> end & 1) == (mine >> i & 1);)
                        end++;
                if (mine >> i & 1)
                        netstack_input(s->stack, &s->config.port, frames + i, end - i);
        }
}

static void on_writable(Device *d, void *userdata) {
        Shard *s = userdata;

        netstack_output_ready(s->stack, s->config.port.id);
}

static void on_gone(Device *d, int error, void *userdata) {
        Shard *s = userdata;
        Note *note = s->gone ? NULL : note_new(s, 0);

        s->gone = true;
        if (note)
                note->error = error;
        note_post(s, note, take_gone);
}

static const DeviceHandler device_handler = {
        .receive = on_receive,
        .writable = on_writable,
        .gone = on_gone,
};

/* ---- on the shard's thread: the netstack's world ---- */

static unsigned on_output(void *userdata, Frame *frames, unsigned n) {
        Shard *s = userdata;
        unsigned taken = s->gone ? n : device_send_queue(s->config.device, s->config.queue, frames, n);

        for (unsigned i = taken; i < n; i++)
                frames[i].len = 0;
        return taken;
}

static void on_host_event(void *userdata, uint64_t cookie, uint32_t events) {
        Shard *s = userdata;

        netstack_host_event(s->stack, cookie, events);
}

static const HostSocketsHandler sockets_handler = {
        .event = on_host_event,
        .output = on_output, /* the rest is for what a shard's netstack never has */
};

static void after_wake(void *userdata) {
        Shard *s = userdata;

        if (s->stack)
                stack_timer_turn(&s->stack_timer, loop_timers(s->loop), s->stack);
}

/* ---- life ---- */

static int begin_here(void *arg) {
        Shard *s = arg;
        ShardConfig *c = &s->config;
        NetstackConfig stack = netstack_shard_config(c->stack, c->device->n_queues);
        int r;

        thread_drop_capabilities();
        r = stack_timer_init(&s->stack_timer, loop_timers(s->loop));
        if (r < 0)
                return r;
        r = host_sockets_new(&s->sockets, s->loop, &sockets_handler, s, /* no_peek_offset= */ false);
        if (r < 0)
                return r;
        host_sockets_set_source(s->sockets, c->source);
        r = netstack_new(&s->stack, &stack, &host_sockets_ops, s->sockets);
        if (r >= 0)
                r = device_start_queue(c->device, c->queue, s->loop, &device_handler, s);
        return r;
}

static int end_here(void *arg) {
        Shard *s = arg;

        device_stop_queue(s->config.device, s->config.queue);
        s->stack = netstack_free(s->stack);
        s->sockets = host_sockets_free(s->sockets);
        timer_release(loop_timers(s->loop), &s->stack_timer);
        return 0;
}

int shard_new(Shard **ret, const ShardConfig *c) {
        _cleanup_(shard_freep) Shard *s = calloc(1, sizeof(*s));
        char name[16];
        int r;

        if (!s)
                return -ENOMEM;
        s->config = *c;
        s->counters = &c->device->queue_counters[c->queue - 1];
        (void) snprintf(name, sizeof(name), "%.6s/%u", c->name, c->queue);
        r = loop_new(&s->loop, name, after_wake, s);
        if (r >= 0)
                r = loop_call(s->loop, begin_here, s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Shard *shard_free(Shard *s) {
        if (!s)
                return NULL;
        if (s->loop) {
                (void) loop_call(s->loop, end_here, s);
                s->loop = loop_free(s->loop);
        }
        free(s);
        return NULL;
}

/* ---- a segment that may be any shard's ---- */

typedef struct Offer {
        Note *note; /* (owned) the segment, read by all */
        _Atomic unsigned n_left;
        _Atomic bool taken;
        struct {
                struct Offer *offer;
                Shard *shard;
        } to[TAP_QUEUES_MAX];
} Offer;

/* One answer less is awaited. After the last the segment is gone, or back with the network's thread. */
static void offer_answered(Offer *o, const Shard *s) {
        if (atomic_fetch_sub_explicit(&o->n_left, 1, memory_order_acq_rel) > 1)
                return;
        if (o->taken || loop_post(s->config.loop, take_unclaimed, o->note) < 0)
                note_free_bounded(o->note);
        free(o);
}

/* On a shard's thread, perhaps the last that its loop does. */
static void look_at_offer(void *arg) {
        __typeof__(((Offer *) NULL)->to[0]) *to = arg;
        Shard *s = to->shard;
        Frame f = to->offer->note->frames[0];

        if (s->stack && netstack_shard_takes(s->stack, &f)) {
                to->offer->taken = true;
                netstack_input(s->stack, &s->config.port, &f, 1);
        }
        offer_answered(to->offer, s);
}

int shards_offer(Shard *const *shards, unsigned n, const Frame *f) {
        Offer *o = malloc(sizeof(*o));
        int r = o ? note_new_bounded(shards[0], f->len, &o->note) : -ENOMEM;

        if (r < 0) {
                free(o);
                return r;
        }
        note_add(o->note, f, 1, 0);
        o->n_left = n;
        o->taken = false;
        for (unsigned i = 0; i < n; i++) {
                o->to[i].offer = o;
                o->to[i].shard = shards[i];
                if (loop_post(shards[i]->loop, look_at_offer, &o->to[i]) < 0)
                        offer_answered(o, shards[i]); /* it has not seen it, which is no worse than a frame lost */
        }
        return 0;
}

/* ---- asked by the network's thread ---- */

typedef struct Ask {
        Shard *shard;
        NetstackStats *stats;
        Counters *counters;
        size_t max, *n_ret;
        FlowInfo **flows;
} Ask;

static int do_add_stats(void *arg) {
        Ask *a = arg;
        NetstackStats stats;

        netstack_get_stats(a->shard->stack, &stats);
        netstack_add_stats(a->stats, &stats);
        counters_sum(a->counters, netstack_counters(a->shard->stack));
        return 0;
}
void shard_add_stats(Shard *s, NetstackStats *stats, Counters *counters) {
        (void) loop_call(s->loop, do_add_stats, &(Ask){ .shard = s, .stats = stats, .counters = counters });
}

static int do_check_addresses(void *arg) {
        netstack_check_addresses(((Ask *) arg)->shard->stack);
        return 0;
}
void shard_check_addresses(Shard *s) {
        (void) loop_call(s->loop, do_check_addresses, &(Ask){ .shard = s });
}

static int do_list_flows(void *arg) {
        Ask *a = arg;
        return netstack_list_flows(a->shard->stack, a->max, a->flows, a->n_ret);
}
int shard_list_flows(Shard *s, size_t max, FlowInfo **ret, size_t *ret_n) {
        return loop_call(s->loop, do_list_flows, &(Ask){ .shard = s, .max = max, .flows = ret, .n_ret = ret_n });
}
