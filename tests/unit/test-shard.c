/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A shard between a device made up here and a network's thread: what it keeps and what it hands over, in order and within its bound; that
 * it tells of guests and of the device's end; and what becomes of its connections.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <glib.h>
#include <net/ethernet.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <semaphore.h>
#include <sys/socket.h>

#include "basic/checksum.h"
#include "basic/rights.h"
#include "daemon/network.h"
#include "daemon/shard.h"
#include "device/watch.h"

#define TAG UINT64_C(0x1234500001)
#define BIG 65000u
#define N_QUEUES 2

static void *_Atomic full; /* the heap of a timer queue, which does not get to grow */

void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

void *__wrap_reallocarray(void *p, size_t n, size_t size) {
        return p && p == full ? NULL : __real_reallocarray(p, n, size);
}

static bool lost;              /* the host has no addresses any more */
static struct sockaddr_in sought; /* which it was asked for last */

int __real_bind(int fd, const struct sockaddr *sa, socklen_t len);
int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len);

int __wrap_bind(int fd, const struct sockaddr *sa, socklen_t len) {
        if (!lost)
                return __real_bind(fd, sa, len);
        g_assert_cmpuint(len, ==, sizeof(sought));
        memcpy(&sought, sa, sizeof(sought));
        errno = EADDRNOTAVAIL;
        return -1;
}

static _Atomic usec_t later; /* than it is */

int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret) {
        int r = __real_clock_gettime(clock, ret);

        ret->tv_sec += (time_t) (atomic_load(&later) / USEC_PER_SEC);
        return r;
}

static _Atomic unsigned n_reaped;

void __real_netstack_reap(Netstack *s);
void __wrap_netstack_reap(Netstack *s);

void __wrap_netstack_reap(Netstack *s) {
        n_reaped++;
        __real_netstack_reap(s);
}

typedef struct World {
        Device device;
        Loop *shard_loop; /* (borrowed) from start_queue() on, with what is to be called there: */
        const DeviceHandler *device_handler;
        void *device_userdata;
        unsigned n_stopped;
        bool fill; /* its timer queue, when the shard begins */
        unsigned n_watched[2]; /* by direction */
        Timer timers[64];
        _Atomic bool full;

        Loop *network; /* (owned) */
        NetworkConfig config;
        Shard *shard; /* (owned) */
        _Atomic size_t waiting;
        sem_t blocked, go;

        pthread_mutex_t lock; /* of what comes out */
        GByteArray *sent, *taken;
        unsigned n_sent, n_taken, n_seen, n_gone, n_unclaimed;
        MacAddr seen;
        int error;
} World;

/* ---- the device ---- */

/* Without room, and without memory for any. */
static void fill_timers(World *w, TimerQueue *q) {
        for (unsigned i = 0; i < G_N_ELEMENTS(w->timers); i++) {
                full = q->heap;
                timer_init(&w->timers[i], NULL);
                if (timer_set(q, &w->timers[i], USEC_INFINITY - 1) < 0)
                        return;
        }
        g_assert_not_reached();
}

static int device_start_here(Device *d, unsigned queue, Loop *loop, const DeviceHandler *handler, void *userdata) {
        World *w = CONTAINER_OF(d, World, device);

        g_assert_cmpuint(queue, ==, 1);
        g_assert_true(loop_is_mine(loop));
        w->shard_loop = loop;
        w->device_handler = handler;
        w->device_userdata = userdata;
        if (w->fill)
                fill_timers(w, loop_timers(loop));
        return 0;
}

static void device_stop_here(Device *d, unsigned queue) {
        World *w = CONTAINER_OF(d, World, device);

        g_assert_true(loop_is_mine(w->shard_loop));
        w->n_stopped++;
}

static unsigned device_send_here(Device *d, unsigned queue, Frame *frames, unsigned n) {
        World *w = CONTAINER_OF(d, World, device);

        g_assert_cmpuint(queue, ==, 1);
        if (atomic_load(&w->full))
                return 0;
        pthread_mutex_lock(&w->lock);
        for (unsigned i = 0; i < n; i++)
                g_byte_array_append(w->sent, frames[i].iov[0].iov_base, (guint) frames[i].iov[0].iov_len);
        w->n_sent += n;
        pthread_mutex_unlock(&w->lock);
        return n;
}

static const DeviceOps device_ops = {
        .kind = "fake",
        .start_queue = device_start_here,
        .stop_queue = device_stop_here,
        .send_queue = device_send_here,
};

/* ---- the network ---- */

static void on_frames(void *userdata, uint64_t tag, Frame *frames, unsigned n) {
        World *w = userdata;

        g_assert_true(loop_is_mine(w->network));
        g_assert_cmphex(tag, ==, TAG);
        pthread_mutex_lock(&w->lock);
        for (unsigned i = 0; i < n; i++) {
                g_assert_cmpuint(frames[i].iov[0].iov_len, ==, frames[i].len);
                g_byte_array_append(w->taken, frames[i].iov[0].iov_base, frames[i].len);
                g_assert_cmpuint(frames[i].hdr.flags, ==, VIRTIO_NET_HDR_F_DATA_VALID);
        }
        w->n_taken += n;
        pthread_mutex_unlock(&w->lock);
}

static void on_seen(void *userdata, uint64_t tag, const MacAddr *mac) {
        World *w = userdata;

        pthread_mutex_lock(&w->lock);
        w->seen = *mac;
        w->n_seen++;
        pthread_mutex_unlock(&w->lock);
}

static void on_gone(void *userdata, uint64_t tag, int error) {
        World *w = userdata;

        pthread_mutex_lock(&w->lock);
        w->error = error;
        w->n_gone++;
        pthread_mutex_unlock(&w->lock);
}

static void on_unclaimed(void *userdata, uint64_t tag, Frame *f) {
        World *w = userdata;

        g_assert_true(loop_is_mine(w->network));
        g_assert_cmphex(tag, ==, TAG);
        pthread_mutex_lock(&w->lock);
        g_byte_array_append(w->taken, f->iov[0].iov_base, f->len);
        w->n_unclaimed++;
        pthread_mutex_unlock(&w->lock);
}

static const ShardHandler handler = { .frames = on_frames, .seen = on_seen, .gone = on_gone, .unclaimed = on_unclaimed };

static void block_here(void *arg) {
        World *w = arg;

        sem_post(&w->blocked);
        sem_wait(&w->go);
}

static void block(World *w) {
        g_assert_cmpint(loop_post(w->network, block_here, w), ==, 0);
        sem_wait(&w->blocked);
}

static unsigned read_count(World *w, const unsigned *counter) {
        pthread_mutex_lock(&w->lock);
        unsigned n = *counter;
        pthread_mutex_unlock(&w->lock);
        return n;
}

static void wait_for(World *w, const unsigned *counter, unsigned n) {
        for (unsigned i = 0; i < 20000 && read_count(w, counter) < n; i++)
                g_usleep(1000);
        g_assert_cmpuint(read_count(w, counter), ==, n);
}

/* What TCP sends comes again on a machine that is slow. */
static void wait_for_any(World *w, const unsigned *counter) {
        for (unsigned i = 0; i < 20000 && read_count(w, counter) == 0; i++)
                g_usleep(1000);
        g_assert_cmpuint(read_count(w, counter), >, 0);
}

static int nothing(void *arg) {
        return 0;
}

typedef struct Case {
        const char *path;
        void (*fn)(World *w, gconstpointer data);
        bool fill;
        const char *source; /* what leaves the host does so from there */
} Case;

static void begin(World *w, gconstpointer data) {
        const Case *k = data;

        w->fill = k->fill;
        w->device = (Device){ .ops = &device_ops, .n_queues = N_QUEUES, .split = true, .queue_counters = g_new0(Counters, N_QUEUES - 1) };
        pthread_mutex_init(&w->device.watch_lock, NULL);
        pthread_mutex_init(&w->lock, NULL);
        sem_init(&w->blocked, 0, 0);
        sem_init(&w->go, 0, 0);
        w->sent = g_byte_array_new();
        w->taken = g_byte_array_new();
        g_assert_cmpint(loop_new(&w->network, "test", NULL, NULL), ==, 0);
        g_assert_cmpint(network_config_defaults(&w->config, "test"), ==, 0);
        w->config.stack.host_loopback = true;
        if (k->source)
                g_assert_cmpint(ip_parse(k->source, &w->config.source.v4), ==, 0);
        ShardConfig c = {
                .name = "test", .stack = &w->config.stack, .source = &w->config.source, .device = &w->device, .queue = 1,
                .port = { .id = 1, .mtu = 1500 }, .loop = w->network, .handler = &handler, .userdata = w, .waiting = &w->waiting, .tag = TAG,
        };
        g_assert_cmpint(shard_new(&w->shard, &c), ==, 0);
}

static void end(World *w, gconstpointer data) {
        w->shard = shard_free(w->shard);
        g_assert_cmpuint(w->n_stopped, ==, 1);
        loop_free(w->network);
        g_assert_cmpuint(atomic_load(&w->waiting), ==, 0);
        network_config_deinit(&w->config);
        g_byte_array_unref(w->sent);
        g_byte_array_unref(w->taken);
        g_free(w->device.queue_counters);
        full = NULL;
        lost = false;
        atomic_store(&later, 0);
}

/* ---- frames ---- */

typedef struct Push {
        World *world;
        Frame frames[FRAME_BATCH_MAX];
        struct iovec iov[FRAME_BATCH_MAX];
        unsigned n;
} Push;

static void push_add(Push *p, const void *data, size_t len) {
        p->iov[p->n] = (struct iovec){ (void *) data, len };
        p->frames[p->n] = (Frame){ .hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID, .iov = &p->iov[p->n], .n_iov = 1, .len = (uint32_t) len };
        p->n++;
}

static int push_here(void *arg) {
        Push *p = arg;

        p->world->device_handler->receive(&p->world->device, p->frames, p->n, p->world->device_userdata);
        return 0;
}

static void push(World *w, const void *data, size_t len) {
        Push p = { .world = w };

        push_add(&p, data, len);
        g_assert_cmpint(loop_call(w->shard_loop, push_here, &p), ==, 0);
}

typedef struct Syn {
        struct ether_header eth;
        struct iphdr ip;
        struct tcphdr tcp;
} __attribute__((packed)) Syn;

static const MacAddr guest_mac = { { 2, 0, 0, 0, 0, 1 } };

/* To the host's address, which leads to loopback. */
static Syn syn(const World *w, uint16_t port) {
        struct iphdr ip = {
                .version = 4, .ihl = 5, .ttl = 64, .protocol = IPPROTO_TCP, .tot_len = htons(sizeof(ip) + sizeof(struct tcphdr)),
                .saddr = htonl(0xc0a87f02), .daddr = ip_v4(&w->config.stack.host),
        };
        Syn s = {
                .eth = { .ether_type = htons(ETHERTYPE_IP) },
                .tcp = { .th_sport = htons(40000), .th_dport = htons(port), .th_seq = htonl(1000), .th_off = 5, .th_flags = TH_SYN,
                         .th_win = htons(65535) },
        };

        memcpy(s.eth.ether_dhost, w->config.stack.mac.b, ETH_ALEN);
        memcpy(s.eth.ether_shost, guest_mac.b, ETH_ALEN);
        ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
        s.ip = ip;
        return s;
}

/* The end of what was sent last. */
static void read_last(World *w, void *ret, guint len) {
        pthread_mutex_lock(&w->lock);
        g_assert_cmpuint(w->sent->len, >=, len);
        memcpy(ret, w->sent->data + w->sent->len - len, len);
        pthread_mutex_unlock(&w->lock);
}

static uint16_t listen_somewhere(int *ret_fd) {
        struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(sa);

        *ret_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        g_assert_cmpint(bind(*ret_fd, (struct sockaddr *) &sa, sizeof(sa)), ==, 0);
        g_assert_cmpint(listen(*ret_fd, 1), ==, 0);
        g_assert_cmpint(getsockname(*ret_fd, (struct sockaddr *) &sa, &len), ==, 0);
        return ntohs(sa.sin_port);
}

/* ---- the cases ---- */

static void test_hands_over(World *w, gconstpointer data) {
        g_autofree uint8_t *big = g_malloc(BIG);
        uint8_t small[60] = "first", last[61] = "last";
        Syn s = syn(w, 9);
        Push p = { .world = w };

        memset(big, 'b', BIG);
        push_add(&p, small, sizeof(small));
        push_add(&p, &s, sizeof(s)); /* stays */
        push_add(&p, big, BIG);
        push_add(&p, last, sizeof(last));
        g_assert_cmpint(loop_call(w->shard_loop, push_here, &p), ==, 0);
        wait_for(w, &w->n_taken, 3);
        g_assert_cmpmem(w->taken->data, sizeof(small), small, sizeof(small));
        g_assert_cmpmem(w->taken->data + sizeof(small), BIG, big, BIG);
        g_assert_cmpmem(w->taken->data + sizeof(small) + BIG, w->taken->len - sizeof(small) - BIG, last, sizeof(last));
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(atomic_load(&w->waiting), ==, 0);
}

/* While the network's thread is busy only so much waits for it; what is beyond that is counted. */
static void test_full(World *w, gconstpointer data) {
        g_autofree uint8_t *big = g_malloc0(BIG);
        const Counters *c = &w->device.queue_counters[0];
        unsigned most = SHARD_HANDOVER_MAX / BIG, n;

        block(w);
        for (unsigned i = 0; i < 2 * most; i++)
                push(w, big, BIG);
        n = 2 * most - (unsigned) counter_read(&c->drops[DROP_HANDOVER_FULL]);
        g_assert_cmpuint(n, <=, most);
        g_assert_cmpuint(n, >, most / 2);
        g_assert_cmpuint(counter_read(&c->rx_dropped), ==, 2 * most - n);
        g_assert_cmpuint(atomic_load(&w->waiting), <=, SHARD_HANDOVER_MAX);
        sem_post(&w->go);
        wait_for(w, &w->n_taken, n);
        push(w, big, BIG);
        wait_for(w, &w->n_taken, n + 1);
}

static void test_connects(World *w, gconstpointer data) {
        int listener, fd;
        Syn s = syn(w, listen_somewhere(&listener)), *answer;
        NetstackStats stats = {};
        Counters counters = {};
        FlowInfo *flows;
        size_t n;
        char byte;

        push(w, &s, sizeof(s));
        wait_for(w, &w->n_sent, 1);
        answer = (Syn *) w->sent->data;
        g_assert_cmpuint(w->sent->len, >=, sizeof(*answer));
        g_assert_cmpmem(answer->eth.ether_dhost, ETH_ALEN, guest_mac.b, ETH_ALEN);
        g_assert_cmpuint(answer->tcp.th_flags, ==, TH_SYN | TH_ACK);
        g_assert_cmpuint(ntohl(answer->tcp.th_ack), ==, 1001);
        fd = accept(listener, NULL, NULL);
        g_assert_cmpint(fd, >=, 0);

        shard_add_stats(w->shard, &stats, &counters);
        g_assert_cmpuint(stats.tcp_flows, ==, 1);
        g_assert_cmpuint(stats.tcp_opened, ==, 1);
        g_assert_cmpuint(counters.rx_frames, ==, 1);
        g_assert_cmpuint(counters.tx_frames, ==, 1);
        g_assert_cmpint(shard_list_flows(w->shard, 10, &flows, &n), ==, 0);
        g_assert_cmpuint(n, ==, 1);
        g_assert_cmpuint(flows[0].guest.port, ==, 40000);
        free(flows);
        shard_check_addresses(w->shard); /* loopback's is there */
        g_assert_cmpuint(read_count(w, &w->n_taken), ==, 0);

        w->shard = shard_free(w->shard);
        g_assert_cmpint(recv(fd, &byte, 1, 0), ==, -1);
        g_assert_cmpint(errno, ==, ECONNRESET);
        close(fd);
        close(listener);
}

static void on_watched(Watch *watch, DeviceDirection direction, const Frame *frames, unsigned n) {
        World *w = CONTAINER_OF(watch->device, World, device);

        pthread_mutex_lock(&w->lock);
        w->n_watched[direction] += n;
        pthread_mutex_unlock(&w->lock);
}

/* Who watches the device sees what the shard takes, what it hands over and what it answers. */
static void test_watched(World *w, gconstpointer data) {
        static const WatchOps ops = { .frames = on_watched };
        Watch watch = { .ops = &ops };
        uint8_t other[60] = {};
        int listener;
        Syn s = syn(w, listen_somewhere(&listener));

        g_assert_cmpint(watch_add(&w->device, &watch, w->network), ==, 0);
        push(w, &s, sizeof(s));
        push(w, other, sizeof(other));
        wait_for_any(w, &w->n_watched[DEVICE_TO_GUEST]);
        g_assert_cmpuint(read_count(w, &w->n_watched[DEVICE_FROM_GUEST]), ==, 2);
        watch_remove(&watch);
        close(listener);
}

static int has_capabilities(void *arg) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct c[_LINUX_CAPABILITY_U32S_3] = {};

        g_assert_cmpint(syscall(SYS_capget, &header, c), ==, 0);
        return c[0].permitted || c[1].permitted || c[0].effective || c[1].effective;
}

/* A thread that reads what guests send has none of the rights that the process may have. */
static void test_rights(World *w, gconstpointer data) {
        g_assert_cmpint(loop_call(w->shard_loop, has_capabilities, NULL), ==, 0);
        if (!has_capabilities(NULL))
                g_test_skip("has no capabilities that a thread could give up");
}

/* What came to its end with a wake-up is given back with it: netstack_reap(). */
static void test_reaps(World *w, gconstpointer data) {
        atomic_store(&n_reaped, 0);
        g_assert_cmpint(loop_call(w->shard_loop, nothing, NULL), ==, 0);
        for (unsigned i = 0; i < 20000 && atomic_load(&n_reaped) == 0; i++)
                g_usleep(1000);
        g_assert_cmpuint(atomic_load(&n_reaped), >, 0);
}

/* What leaves the host leaves from where it should, or not at all. */
static void test_source(World *w, gconstpointer data) {
        Syn s = syn(w, 9);
        struct iphdr ip = s.ip;

        lost = true;
        ip.daddr = inet_addr("192.0.2.1");
        ip.check = 0;
        ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
        s.ip = ip;
        push(w, &s, sizeof(s));
        g_assert_cmphex(sought.sin_addr.s_addr, ==, inet_addr("192.0.2.7"));
        g_assert_cmpuint(read_count(w, &w->n_sent), ==, 1); /* a refusal */
}

/* A connection from an address that the host has lost is reset at both ends. */
static void test_address_gone(World *w, gconstpointer data) {
        int listener, fd;
        Syn s = syn(w, listen_somewhere(&listener)), last;
        char byte;

        push(w, &s, sizeof(s));
        wait_for_any(w, &w->n_sent);
        fd = accept(listener, NULL, NULL);
        lost = true;
        shard_check_addresses(w->shard);
        read_last(w, &last, sizeof(last));
        g_assert_cmpuint(last.tcp.th_flags & TH_RST, ==, TH_RST);
        g_assert_cmpint(recv(fd, &byte, 1, 0), ==, -1);
        g_assert_cmpint(errno, ==, ECONNRESET);
        close(fd);
        close(listener);
}

/* Its netstack's timers run however many others there are: the answer is sent again. */
static void test_timer(World *w, gconstpointer data) {
        int listener;
        Syn s = syn(w, listen_somewhere(&listener));

        push(w, &s, sizeof(s));
        for (unsigned i = 0; i < 20000 && read_count(w, &w->n_sent) < 2; i++)
                g_usleep(1000);
        g_assert_cmpuint(read_count(w, &w->n_sent), >=, 2);
        close(listener);
}

/* What a full device does not take is counted as such, and goes again like all that nobody acknowledges. */
static void test_device_full(World *w, gconstpointer data) {
        int listener;
        Syn s = syn(w, listen_somewhere(&listener));
        NetstackStats stats = {};
        Counters before = {}, after = {};

        atomic_store(&w->full, true);
        push(w, &s, sizeof(s));
        for (unsigned i = 0; i < 20000 && counter_read(&before.tx_dropped) == 0; i++) {
                before = (Counters){};
                shard_add_stats(w->shard, &stats, &before);
                g_usleep(1000);
        }
        g_assert_cmpuint(counter_read(&before.drops[DROP_DEVICE_FULL]), ==, counter_read(&before.tx_dropped));
        g_assert_cmpuint(counter_read(&before.tx_frames), ==, 0);
        g_assert_cmpuint(counter_read(&before.tx_bytes), ==, 0);
        g_assert_cmpuint(read_count(w, &w->n_sent), ==, 0);

        atomic_store(&w->full, false);
        for (unsigned i = 0; i < 20000 && read_count(w, &w->n_sent) < 1; i++)
                g_usleep(1000);
        g_assert_cmpuint(read_count(w, &w->n_sent), >=, 1);
        shard_add_stats(w->shard, &stats, &after);
        g_assert_cmpuint(counter_read(&after.tx_frames), >=, 1);
        g_assert_cmpuint(counter_read(&after.tx_bytes), >=, sizeof(Syn));
        close(listener);
}

static int writable_here(void *arg) {
        World *w = arg;

        atomic_store(&w->full, false);
        w->device_handler->writable(&w->device, w->device_userdata);
        return 0;
}

/* What a full device did not take of a connection goes as soon as it has room. */
static void test_writable(World *w, gconstpointer data) {
        int listener, fd;
        Syn s = syn(w, listen_somewhere(&listener)), answer;
        Counters c = {};
        NetstackStats stats = {};
        unsigned n;
        char got[4];

        push(w, &s, sizeof(s));
        wait_for_any(w, &w->n_sent);
        fd = accept(listener, NULL, NULL);
        pthread_mutex_lock(&w->lock);
        memcpy(&answer, w->sent->data, sizeof(answer));
        pthread_mutex_unlock(&w->lock);
        s.tcp.th_ack = htonl(ntohl(answer.tcp.th_seq) + 1);
        s.tcp.th_seq = htonl(1001);
        s.tcp.th_flags = TH_ACK;
        push(w, &s, sizeof(s));
        atomic_store(&w->full, true);
        n = read_count(w, &w->n_sent);
        g_assert_cmpint(send(fd, "text", 4, 0), ==, 4);
        for (unsigned i = 0; i < 20000 && counter_read(&c.tx_dropped) == 0; i++) {
                c = (Counters){};
                shard_add_stats(w->shard, &stats, &c);
                g_usleep(1000);
        }
        g_assert_cmpuint(counter_read(&c.tx_dropped), >=, 1);
        g_assert_cmpuint(read_count(w, &w->n_sent), ==, n);
        g_assert_cmpint(loop_call(w->shard_loop, writable_here, w), ==, 0); /* no timer comes between */
        g_assert_cmpuint(read_count(w, &w->n_sent), >, n);
        read_last(w, got, sizeof(got));
        g_assert_cmpmem(got, sizeof(got), "text", 4);
        close(fd);
        close(listener);
}

static int offer(World *w, const void *data, size_t len) {
        struct iovec iov = { (void *) data, len };

        return shards_offer(&w->shard, 1, &(Frame){ .hdr.flags = VIRTIO_NET_HDR_F_DATA_VALID, .iov = &iov, .n_iov = 1, .len = (uint32_t) len });
}

/* What is of a connection it has goes to it; anything else comes back as it was. */
static void test_offer(World *w, gconstpointer data) {
        int listener, fd;
        Syn s = syn(w, listen_somewhere(&listener)), other;
        struct {
                Syn head;
                char text[5];
        } __attribute__((packed)) segment;
        char got[8];

        push(w, &s, sizeof(s));
        wait_for(w, &w->n_sent, 1);
        fd = accept(listener, NULL, NULL);
        s.tcp.th_ack = htonl(ntohl(((Syn *) w->sent->data)->tcp.th_seq) + 1);
        s.tcp.th_seq = htonl(1001);
        s.tcp.th_flags = TH_ACK | TH_PUSH;
        struct iphdr ip = s.ip;
        ip.tot_len = htons(sizeof(segment) - sizeof(s.eth));
        ip.check = 0;
        ip.check = checksum_finish(checksum_add(&ip, sizeof(ip), 0));
        s.ip = ip;
        segment.head = other = s;
        memcpy(segment.text, "whole", sizeof(segment.text));
        g_assert_cmpint(offer(w, &segment, sizeof(segment)), ==, 0);
        g_assert_cmpint(recv(fd, got, sizeof(got), 0), ==, sizeof(segment.text));
        g_assert_cmpmem(got, sizeof(segment.text), segment.text, sizeof(segment.text));
        g_assert_cmpuint(read_count(w, &w->n_unclaimed), ==, 0);

        other.tcp.th_sport = htons(40001);
        g_assert_cmpint(offer(w, &other, sizeof(other)), ==, 0);
        wait_for(w, &w->n_unclaimed, 1);
        g_assert_cmpmem(w->taken->data, w->taken->len, &other, sizeof(other));
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(atomic_load(&w->waiting), ==, 0);
        close(fd);
        close(listener);
}

/* Several are asked, one answers for all: whoever comes last. */
static void test_offer_all(World *w, gconstpointer data) {
        Shard *several[] = { w->shard, w->shard, w->shard };
        Syn s = syn(w, 9);
        struct iovec iov = { &s, sizeof(s) };

        s.tcp.th_flags = TH_ACK;
        for (unsigned i = 0; i < 100; i++)
                g_assert_cmpint(shards_offer(several, ELEMENTSOF(several), &(Frame){ .iov = &iov, .n_iov = 1, .len = sizeof(s) }), ==, 0);
        wait_for(w, &w->n_unclaimed, 100);
}

static void test_offer_full(World *w, gconstpointer data) {
        g_autofree uint8_t *big = g_malloc0(BIG);
        unsigned n = 0;

        block(w); /* so that what is unclaimed stays on its way */
        while (offer(w, big, BIG) == 0)
                g_assert_cmpuint(++n, <, SHARD_HANDOVER_MAX / BIG + 1);
        g_assert_cmpint(offer(w, big, BIG), ==, -ENOBUFS);
        g_assert_cmpuint(n, >, SHARD_HANDOVER_MAX / BIG / 2);
        sem_post(&w->go);
        wait_for(w, &w->n_unclaimed, n);
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpint(offer(w, big, BIG), ==, 0);
}

/* One that has ended has no connections. */
static void test_offer_end(World *w, gconstpointer data) {
        Syn s = syn(w, 9);

        g_assert_cmpint(loop_post(w->shard_loop, block_here, w), ==, 0);
        sem_wait(&w->blocked);
        s.tcp.th_flags = TH_ACK;
        for (unsigned i = 0; i < 10; i++)
                g_assert_cmpint(offer(w, &s, sizeof(s)), ==, 0);
        sem_post(&w->go);
        w->shard = shard_free(w->shard);
        wait_for(w, &w->n_unclaimed, 10);
}

/* At once, once, and of an address that changes all the time not each time. */
static void test_seen(World *w, gconstpointer data) {
        Syn s = syn(w, 9);

        push(w, &s, sizeof(s));
        wait_for(w, &w->n_seen, 1);
        g_assert_true(mac_equal(&w->seen, &guest_mac));
        push(w, &s, sizeof(s));
        for (unsigned i = 0; i < 250; i++) {
                s.eth.ether_shost[5] = (uint8_t) (2 + i);
                push(w, &s, sizeof(s));
        }
        g_usleep(20000);
        s.eth.ether_shost[5] = 1;
        s.eth.ether_shost[4] = 1;
        push(w, &s, sizeof(s));
        for (unsigned i = 0; i < 10000 && read_count(w, &w->n_seen) < 2; i++)
                g_usleep(1000);
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(w->seen.b[4], ==, 1);
        g_assert_cmpuint(w->n_seen, <, 100);

        unsigned n = w->n_seen;
        for (unsigned i = 0; i < 3; i++) { /* the same again, beyond the pause: no news */
                g_usleep(20000);
                push(w, &s, sizeof(s));
        }
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(w->n_seen, ==, n);
}

/* A guest that says nothing to others is told of now and then: the switch forgets. */
static void test_seen_again(World *w, gconstpointer data) {
        Syn s = syn(w, 9);

        push(w, &s, sizeof(s));
        wait_for(w, &w->n_seen, 1);
        atomic_store(&later, 30 * USEC_PER_SEC);
        push(w, &s, sizeof(s));
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(read_count(w, &w->n_seen), ==, 1);
        atomic_store(&later, 60 * USEC_PER_SEC);
        push(w, &s, sizeof(s));
        wait_for(w, &w->n_seen, 2);
        g_assert_true(mac_equal(&w->seen, &guest_mac));
}

static int gone_here(void *arg) {
        World *w = arg;

        w->device_handler->gone(&w->device, -ENODEV, w->device_userdata);
        return 0;
}

static void test_gone(World *w, gconstpointer data) {
        Syn s = syn(w, 9);

        g_assert_cmpint(loop_call(w->shard_loop, gone_here, w), ==, 0);
        g_assert_cmpint(loop_call(w->shard_loop, gone_here, w), ==, 0);
        push(w, &s, sizeof(s)); /* whose refusal goes nowhere */
        g_usleep(20000);
        g_assert_cmpint(loop_call(w->network, nothing, NULL), ==, 0);
        g_assert_cmpuint(w->n_gone, ==, 1);
        g_assert_cmpint(w->error, ==, -ENODEV);
        g_assert_cmpuint(read_count(w, &w->n_sent), ==, 0);
}

/* What is on its way when a shard ends comes all the same, with its tag. */
static void test_end(World *w, gconstpointer data) {
        uint8_t frame[60] = "late";

        block(w);
        push(w, frame, sizeof(frame));
        w->shard = shard_free(w->shard);
        sem_post(&w->go);
        wait_for(w, &w->n_taken, 1);
        g_assert_cmpmem(w->taken->data, w->taken->len, frame, sizeof(frame));
}

int main(int argc, char **argv) {
        static const Case cases[] = {
                { "/shard/hands-over", test_hands_over },
                { "/shard/full", test_full },
                { "/shard/connects", test_connects },
                { "/shard/watched", test_watched },
                { "/shard/rights", test_rights },
                { "/shard/reaps", test_reaps },
                { "/shard/source", test_source, .source = "192.0.2.7" },
                { "/shard/address-gone", test_address_gone },
                { "/shard/timer", test_timer, .fill = true },
                { "/shard/device-full", test_device_full },
                { "/shard/writable", test_writable },
                { "/shard/offer", test_offer },
                { "/shard/offer-all", test_offer_all },
                { "/shard/offer-full", test_offer_full },
                { "/shard/offer-end", test_offer_end },
                { "/shard/seen", test_seen },
                { "/shard/seen-again", test_seen_again },
                { "/shard/gone", test_gone },
                { "/shard/end", test_end },
        };

        g_test_init(&argc, &argv, NULL);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                g_test_add(cases[i].path, World, &cases[i], begin, cases[i].fn, end);
        return g_test_run();
}
