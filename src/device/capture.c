/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * See capture.h. Two threads meet here: the one that drives the device fills the ring, the capture's own empties it into libpcap's
 * writer, whose stream ends in on_write(). No file is trusted to take bytes: a pipe gets so few at a time that they fit once poll() says so,
 * since its flags belong to whoever has the other descriptors, a socket is told not to wait, and a file that hangs hangs this thread
 * alone, which nobody waits for.
 *
 * The thread sleeps when the ring is empty, having said so; who fills the ring wakes it then, with one system call for many frames.
 */

#include "device/capture.h"

#include <fcntl.h>
#include <limits.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "basic/iovcur.h"
#include "basic/recordring.h"
#include "basic/rights.h"
#include "basic/sockopt.h"

#define RING_SIZE ((size_t) 4 * 1024 * 1024)
#define STREAM_BUFFER ((size_t) 64 * 1024)
#define STOP_MSEC 1000 /* that a slow reader has to take the rest */

typedef struct Record { /* in the ring, with the bytes behind it */
        struct timespec at;
        uint32_t len;
} Record;

typedef enum FileKind { FILE_REGULAR, FILE_PIPE, FILE_SOCKET } FileKind;

struct Capture {
        Watch watch;
        char *filter;     /* (owned) */
        uint32_t snaplen;
        FileKind kind;
        int fd, wake_fd;  /* (owned) */
        RecordRing *ring; /* (owned) */
        unsigned refs;    /* atomic: the caller, the thread, and facts on their way */

        /* the control thread's */
        const CaptureHandler *handler; /* NULL: nobody listens any more */
        void *userdata;

        /* the device's thread writes */
        uint64_t frames, dropped;

        bool stop;   /* atomic */
        bool asleep; /* atomic: the thread wants to be woken */

        /* the capture's own thread; program: written before ready() */
        pcap_t *pcap;               /* (owned) */
        struct bpf_program program; /* (owned) */
        bool filtered;
        int error; /* why nothing can be written any more */
        uint64_t stop_msec; /* when the patience with a slow reader ends; 0: not told to stop yet */

        pthread_mutex_t lock;
        pthread_cond_t over_cond;
        bool over;     /* these two under @lock; the thread has done all it does */
        Loop *control; /* (borrowed) NULL: the caller has let go */
};

static const WatchOps capture_ops;

static Capture *capture_of(Watch *w) {
        return CONTAINER_OF(w, Capture, watch);
}

static void capture_unref(Capture *c) {
        if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        if (c->filtered)
                pcap_freecode(&c->program);
        if (c->pcap)
                pcap_close(c->pcap);
        (void) safe_close(c->fd);
        (void) safe_close(c->wake_fd);
        record_ring_free(c->ring);
        (void) pthread_mutex_destroy(&c->lock);
        (void) pthread_cond_destroy(&c->over_cond);
        free(c->filter);
        free(c);
}

static void wake(Capture *c) {
        const uint64_t one = 1;

        if (write(c->wake_fd, &one, sizeof(one)) < 0)
                assert(errno == EAGAIN);
}

/* ---- the device's thread ---- */

static bool passes(const Capture *c, const void *bytes, uint32_t len) {
        struct pcap_pkthdr h = { .caplen = len, .len = len };

        return !c->filtered || pcap_offline_filter(&c->program, &h, bytes) != 0;
}

/* Return: false when there was no room. */
static bool keep(Capture *c, const Frame *f) {
        bool whole = f->n_iov == 1, look = c->filtered && !whole;
        uint32_t len = MIN(f->len, c->snaplen);
        IovCur cur = iovcur_make(f->iov, f->n_iov, f->len);
        Record *r;

        if (whole && !passes(c, f->iov[0].iov_base, f->len))
                return true;
        /* A filter wants the frame in one piece, whatever is kept of it in the end. */
        r = record_ring_reserve(c->ring, sizeof(*r) + (look ? f->len : len));
        if (!r)
                return false;
        (void) iovcur_copy(&cur, r + 1, look ? f->len : len);
        if (look && !passes(c, r + 1, f->len))
                return true; /* the next one takes its place */
        (void) clock_gettime(CLOCK_REALTIME, &r->at);
        r->len = f->len;
        record_ring_commit(c->ring, sizeof(*r) + len);
        counter_add(&c->frames, 1);
        return true;
}

static void capture_show(Watch *w, DeviceDirection direction, const Frame *frames, unsigned n) {
        Capture *c = capture_of(w);
        unsigned dropped = 0;

        for (unsigned i = 0; i < n; i++)
                dropped += !keep(c, &frames[i]);
        if (dropped > 0) {
                counter_add(&c->dropped, dropped);
                counter_add(&w->device->counters.drops[DROP_CAPTURE_FULL], dropped);
        }
        /* What is in the ring first, then the question whether anybody looks: the other side has the reverse order. */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!record_ring_is_empty(c->ring) && __atomic_exchange_n(&c->asleep, false, __ATOMIC_ACQ_REL))
                wake(c);
}

static void capture_device_gone(Watch *w) {
        capture_stop(capture_of(w));
}

static const WatchOps capture_ops = {
        .frames = capture_show,
        .free = capture_device_gone,
};

/* ---- the capture's thread: its file ---- */

static uint64_t now_msec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

/* Sleeps until there is something to do, or the file takes more (@for_file). Sets c->error when the reader has gone, or is too slow once
 * we are told to stop. */
static void wait_for(Capture *c, bool for_file) {
        struct pollfd fds[] = {
                { .fd = c->wake_fd, .events = POLLIN },
                { .fd = c->kind == FILE_REGULAR ? -1 : c->fd, .events = for_file ? POLLOUT : 0 },
        };
        uint64_t count, now;
        int timeout = -1;

        if (for_file && __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
                now = now_msec();
                if (c->stop_msec == 0)
                        c->stop_msec = now + STOP_MSEC;
                if (now >= c->stop_msec) {
                        c->error = -ETIMEDOUT;
                        return;
                }
                timeout = (int) (c->stop_msec - now);
        }
        if (poll(fds, ELEMENTSOF(fds), timeout) < 0)
                return;
        if (fds[0].revents && read(c->wake_fd, &count, sizeof(count)) < 0)
                assert(errno == EAGAIN);
        if (fds[1].revents & (POLLERR | POLLHUP | POLLNVAL))
                c->error = -EPIPE;
}

/* Once, without waiting where that can be had. -EAGAIN: it takes nothing now. */
static ssize_t write_some(Capture *c, const char *bytes, size_t len) {
        struct pollfd fd = { .fd = c->fd, .events = POLLOUT };
        ssize_t n = 0;

        switch (c->kind) {
        case FILE_SOCKET:
                n = send(c->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
                break;
        case FILE_PIPE:
                if (poll(&fd, 1, 0) <= 0)
                        return -EAGAIN;
                n = write(c->fd, bytes, MIN(len, (size_t) PIPE_BUF));
                break;
        case FILE_REGULAR:
                n = write(c->fd, bytes, len);
                break;
        }
        return n < 0 ? -errno : n;
}

/* Where libpcap's bytes end. Return: 0 tells the stream that it is over. */
static ssize_t on_write(void *cookie, const char *bytes, size_t len) {
        Capture *c = cookie;
        size_t done = 0;

        while (done < len && c->error == 0) {
                ssize_t n = write_some(c, bytes + done, len - done);

                if (n > 0)
                        done += (size_t) n;
                else if (n == -EAGAIN)
                        wait_for(c, /* for_file= */ true);
                else if (n != -EINTR)
                        c->error = n < 0 ? (int) n : -EIO;
        }
        return done == len ? (ssize_t) len : 0;
}

static void write_record(Capture *c, pcap_dumper_t *dumper, const void *record, size_t len) {
        Record r; /* a copy: what lies in the ring is aligned, but not typed */
        struct pcap_pkthdr h = { .caplen = (uint32_t) (len - sizeof(r)) };

        memcpy(&r, record, sizeof(r));
        h.len = r.len;
        h.ts.tv_sec = r.at.tv_sec;
        h.ts.tv_usec = r.at.tv_nsec; /* so says the precision of c->pcap */
        pcap_dump((u_char *) dumper, &h, (const u_char *) record + sizeof(r));
}

static void write_all(Capture *c, pcap_dumper_t *dumper) {
        const void *record;
        size_t len;

        while (c->error == 0 && (record = record_ring_peek(c->ring, &len))) {
                write_record(c, dumper, record, len);
                record_ring_release(c->ring);
        }
        if (c->error == 0)
                (void) pcap_dump_flush(dumper);
}

static void write_until_stopped(Capture *c, pcap_dumper_t *dumper) {
        bool last;

        do {
                /* Before looking: what comes until then is still written. */
                last = __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE);
                write_all(c, dumper);
                if (last || c->error < 0)
                        break;
                __atomic_store_n(&c->asleep, true, __ATOMIC_RELEASE);
                __atomic_thread_fence(__ATOMIC_SEQ_CST);
                if (record_ring_is_empty(c->ring) && !__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
                        wait_for(c, /* for_file= */ false);
                __atomic_store_n(&c->asleep, false, __ATOMIC_RELEASE);
        } while (c->error == 0);
}

static int write_file(Capture *c) {
        _cleanup_free_ char *buffer = malloc(STREAM_BUFFER);
        pcap_dumper_t *dumper;
        FILE *f;

        f = fopencookie(c, "w", (cookie_io_functions_t){ .write = on_write });
        if (!f || !buffer) {
                if (f)
                        (void) fclose(f);
                return -ENOMEM;
        }
        (void) setvbuf(f, buffer, _IOFBF, STREAM_BUFFER);
        dumper = pcap_dump_fopen(c->pcap, f);
        if (!dumper) {
                (void) fclose(f);
                return c->error < 0 ? c->error : -EIO;
        }
        (void) pcap_dump_flush(dumper); /* a file without a frame is one too, and a reader sees that it begins */
        write_until_stopped(c, dumper);
        pcap_dump_close(dumper);
        return c->error;
}

/* ---- the capture's thread: its life ---- */

typedef struct Fact {
        Capture *capture; /* (ref) */
        bool ready;       /* else: ended */
        int error;
        char message[PCAP_ERRBUF_SIZE];
} Fact;

static void tell(void *arg) { /* on the control thread */
        _cleanup_free_ Fact *f = arg;
        Capture *c = f->capture;

        if (c->handler && f->ready)
                c->handler->ready(c, c->userdata);
        else if (c->handler)
                c->handler->ended(c, f->error, f->message, c->userdata);
        capture_unref(c);
}

static int try_post(Capture *c, bool ready, int error, const char *message) {
        Fact *f = malloc(sizeof(*f));
        int r;

        if (!f)
                return -ENOMEM;
        *f = (Fact){ .capture = c, .ready = ready, .error = error };
        (void) snprintf(f->message, sizeof(f->message), "%s", message);
        (void) __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
        pthread_mutex_lock(&c->lock);
        r = c->control ? loop_post(c->control, tell, f) : 1;
        pthread_mutex_unlock(&c->lock);
        if (r != 0) {
                capture_unref(c); /* never the last: the thread has one */
                free(f);
        }
        return r;
}

/* The control thread counts on hearing of it. */
static void post(Capture *c, bool ready, int error, const char *message) {
        while (try_post(c, ready, error, message) < 0)
                (void) poll(NULL, 0, 100);
}

/* -EINVAL: libpcap says why in pcap_geterr(). */
static int compile(Capture *c) {
        c->pcap = pcap_open_dead_with_tstamp_precision(DLT_EN10MB, (int) c->snaplen, PCAP_TSTAMP_PRECISION_NANO);
        if (!c->pcap)
                return -ENOMEM;
        if (!c->filter[0])
                return 0;
        if (pcap_compile(c->pcap, &c->program, c->filter, /* optimize= */ 1, PCAP_NETMASK_UNKNOWN) < 0)
                return -EINVAL;
        c->filtered = true;
        return 0;
}

static void *capture_thread(void *arg) {
        const char *message = "";
        Capture *c = arg;
        int r;

        thread_drop_capabilities();
        r = compile(c);
        if (r == -EINVAL)
                message = pcap_geterr(c->pcap);
        if (r == 0) {
                post(c, /* ready= */ true, 0, "");
                r = write_file(c);
        }
        post(c, /* ready= */ false, r, message);
        pthread_mutex_lock(&c->lock);
        c->over = true;
        pthread_cond_signal(&c->over_cond);
        pthread_mutex_unlock(&c->lock);
        capture_unref(c);
        return NULL;
}

/* A thread of its own that takes no signal and that nobody joins. */
static int start_thread(Capture *c) {
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        (void) pthread_attr_init(&attr);
        (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        c->refs++;
        r = thread_create(&thread, &attr, capture_thread, c);
        if (r < 0)
                c->refs--;
        (void) pthread_attr_destroy(&attr);
        return r;
}

/* ---- the control thread ---- */

static int kind_of(int fd, FileKind *ret, const char **ret_why) {
        int flags = fcntl(fd, F_GETFL);
        struct stat st;

        *ret_why = "it is none";
        if (flags < 0 || fstat(fd, &st) < 0)
                return -EINVAL;
        *ret_why = "it is not open for writing";
        if (flags & O_PATH || (flags & O_ACCMODE) == O_RDONLY)
                return -EINVAL;
        *ret_why = "it is no regular file, pipe or connected stream socket";
        if (S_ISREG(st.st_mode))
                *ret = FILE_REGULAR;
        else if (S_ISFIFO(st.st_mode))
                *ret = FILE_PIPE;
        else if (S_ISSOCK(st.st_mode) && sockopt_is(fd, SO_TYPE, SOCK_STREAM) && sockopt_is(fd, SO_ACCEPTCONN, 0))
                *ret = FILE_SOCKET;
        else
                return -EINVAL;
        return 0;
}

int capture_fd_check(int fd, const char **ret_why) {
        FileKind kind;

        return kind_of(fd, &kind, ret_why);
}

/* Waits by a clock that nobody sets: a step of the date must not hold up who waits. */
static void init_cond(pthread_cond_t *cond) {
        pthread_condattr_t attr;

        (void) pthread_condattr_init(&attr); /* none of these fails on Linux */
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        (void) pthread_cond_init(cond, &attr);
        (void) pthread_condattr_destroy(&attr);
}

int capture_new(Capture **ret, const CaptureConfig *config) {
        const char *why;
        FileKind kind;
        Capture *c;
        int r;

        r = kind_of(config->fd, &kind, &why);
        if (r < 0)
                return r;
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (Capture){
                .watch.ops = &capture_ops,
                .filter = strdup(config->filter ?: ""),
                .snaplen = config->snaplen ?: CAPTURE_SNAPLEN_MAX,
                .kind = kind,
                .fd = -EBADF,
                .wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                .ring = record_ring_new(RING_SIZE),
                .refs = 1,
                .handler = config->handler,
                .userdata = config->userdata,
                .control = config->control,
        };
        (void) pthread_mutex_init(&c->lock, NULL);
        init_cond(&c->over_cond);
        if (!c->filter || !c->ring)
                r = -ENOMEM;
        else if (c->wake_fd < 0)
                r = -EMFILE;
        else {
                c->fd = config->fd;
                r = start_thread(c);
                if (r < 0)
                        c->fd = -EBADF; /* the caller's */
        }
        if (r < 0) {
                capture_unref(c);
                return r;
        }
        *ret = c;
        return 0;
}

void capture_stop(Capture *c) {
        __atomic_store_n(&c->stop, true, __ATOMIC_RELEASE);
        wake(c);
}

Capture *capture_free(Capture *c) {
        struct timespec until;

        if (!c)
                return NULL;
        assert(!c->watch.device);
        c->handler = NULL;
        capture_stop(c);
        (void) clock_gettime(CLOCK_MONOTONIC, &until); /* init_cond()'s */
        until.tv_sec += 1 + STOP_MSEC / 1000;
        pthread_mutex_lock(&c->lock);
        c->control = NULL;
        while (!c->over && pthread_cond_timedwait(&c->over_cond, &c->lock, &until) == 0)
                ;
        pthread_mutex_unlock(&c->lock);
        capture_unref(c);
        return NULL;
}

Watch *capture_watch(Capture *c) {
        return &c->watch;
}

void capture_stats(const Capture *c, CaptureStats *ret) {
        *ret = (CaptureStats){ counter_read(&c->frames), counter_read(&c->dropped) };
}
