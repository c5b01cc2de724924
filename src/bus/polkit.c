/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Polkit questions. A Question is one kept call; it holds one Answer for each action asked so far.
 *
 *     polkit_check() asks -> [pending] -> reply: the call is queued again -> handler -> polkit_check() finds
 * the answer -> done
 *                                      -> caller leaves the bus: polkit is told to close its dialogue, the
 * call is forgotten
 *
 * After the call went back into the queue, an idle event frees the Question: the bus's own source has the
 * higher priority, so by then the handler has run. If the handler asked for a second action meanwhile, the
 * Question stays for that.
 *
 * An answer counts only for the very action and details it was asked with: when the second run needs another
 * one (the object changed hands meanwhile), that is asked anew, at most POLKIT_ASKS_MAX times a call.
 */

#include "bus/polkit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "basic/log.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_USER_INTERACTION 1u
#define CANCEL_ID_MAX 32

typedef enum Verdict {
        VERDICT_OPEN, /* no reply yet */
        VERDICT_ALLOWED,
        VERDICT_DENIED,
        VERDICT_DISMISSED,
        VERDICT_CHALLENGE, /* a password would do, and the call forbade asking for it */
        VERDICT_NO_POLKIT,
        VERDICT_FAILED,
} Verdict;

typedef struct Answer {
        char *key; /* (owned) action and details */
        Verdict verdict;
} Answer;

typedef struct Question Question;
struct Question {
        Polkit *polkit; /* (borrowed: parent) */
        Question *next, *previous;
        sd_bus_message *message; /* (ref) the call that waits */
        uid_t uid;               /* of its sender */
        sd_bus_track *track;     /* (owned) of its sender */
        sd_bus_slot *slot;       /* (owned, nullable) polkit's reply to come */
        sd_event_source *done;   /* (owned, nullable) frees this when idle */
        Answer answers[POLKIT_ASKS_MAX];
        size_t n_answers;
        char cancel_id[CANCEL_ID_MAX];
};

struct Polkit {
        sd_bus *bus;     /* (borrowed) */
        sd_event *event; /* (borrowed) */
        PolkitMode mode;
        uid_t own_uid;
        Question *questions; /* (owned) */
        size_t n_questions;
        uint64_t last_cancel_id;
};

static Question *question_free(Question *q) {
        if (!q)
                return NULL;

        if (q->previous)
                q->previous->next = q->next;
        else if (q->polkit->questions == q)
                q->polkit->questions = q->next;
        if (q->next)
                q->next->previous = q->previous;
        q->polkit->n_questions--;

        sd_bus_slot_unref(q->slot);
        sd_event_source_disable_unref(q->done);
        sd_bus_track_unref(q->track);
        sd_bus_message_unref(q->message);
        for (size_t i = 0; i < q->n_answers; i++)
                free(q->answers[i].key);
        free(q);
        return NULL;
}
DEFINE_CLEANUP(Question *, question_free);

int polkit_new(Polkit **ret, sd_bus *bus, sd_event *event, PolkitMode mode) {
        Polkit *p;

        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->bus = bus;
        p->event = event;
        p->mode = mode;
        p->own_uid = geteuid();
        *ret = p;
        return 0;
}

Polkit *polkit_free(Polkit *p) {
        if (!p)
                return NULL;
        while (p->questions)
                question_free(p->questions);
        assert(p->n_questions == 0);
        free(p);
        return NULL;
}

int polkit_sender_uid(sd_bus_message *m, uid_t *ret) {
        sd_bus_creds *creds = NULL;
        int r;

        r = sd_bus_query_sender_creds(m, SD_BUS_CREDS_EUID, &creds);
        if (r < 0)
                return r;
        r = sd_bus_creds_get_euid(creds, ret);
        sd_bus_creds_unref(creds);
        return r;
}

/* Tells polkit that nobody waits any more, so that a password dialogue closes. */
static void question_withdraw(Question *q) {
        sd_bus_message *m = NULL;
        int r;

        if (!q->slot)
                return;
        r = sd_bus_message_new_method_call(q->polkit->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CancelCheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", q->cancel_id);
        if (r >= 0)
                r = sd_bus_message_set_expect_reply(m, 0);
        if (r >= 0)
                r = sd_bus_send(q->polkit->bus, m, NULL);
        if (r < 0)
                (void) log_debug_errno(r, "Cannot withdraw a polkit question, ignoring: %m");
        sd_bus_message_unref(m);
}

static int on_caller_left(sd_bus_track *track, void *userdata) {
        Question *q = userdata;

        question_withdraw(q);
        question_free(q);
        return 0;
}

static int on_idle(sd_event_source *s, void *userdata) {
        Question *q = userdata;

        if (!q->slot) /* otherwise the handler asked for a second action */
                question_free(q);
        return 0;
}

static bool is_polkit_missing(const sd_bus_error *e) {
        static const char *const names[] = {
                SD_BUS_ERROR_SERVICE_UNKNOWN,
                SD_BUS_ERROR_NAME_HAS_NO_OWNER,
                "org.freedesktop.DBus.Error.Spawn.ServiceNotFound",
                "org.freedesktop.systemd1.NoSuchUnit",
                "org.freedesktop.systemd1.UnitMasked",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (sd_bus_error_has_name(e, names[i]))
                        return true;
        return false;
}

/* Reads (bba{ss}): authorized, challenge, details. */
static Verdict read_verdict(sd_bus_message *reply) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        int authorized, challenge, r;
        bool dismissed = false;

        if (e) {
                (void) log_debug("polkit answered %s: %s", e->name, e->message ?: "");
                return is_polkit_missing(e) ? VERDICT_NO_POLKIT : VERDICT_FAILED;
        }
        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
        if (r >= 0)
                r = sd_bus_message_enter_container(reply, 'a', "{ss}");
        while (r >= 0) {
                const char *key, *value;

                r = sd_bus_message_read(reply, "{ss}", &key, &value);
                if (r == 0)
                        break;
                if (r > 0 && streq(key, "polkit.dismissed"))
                        dismissed = true;
        }
        if (r < 0)
                return VERDICT_FAILED;
        if (authorized)
                return VERDICT_ALLOWED;
        if (dismissed)
                return VERDICT_DISMISSED;
        return challenge ? VERDICT_CHALLENGE : VERDICT_DENIED;
}

/* Back to the top: the handler runs again with the same message. */
static int question_resume(Question *q) {
        int r;

        if (!q->done) {
                r = sd_event_add_defer(q->polkit->event, &q->done, on_idle, q);
                if (r < 0)
                        return r;
                r = sd_event_source_set_priority(q->done, SD_EVENT_PRIORITY_IDLE);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_rewind(q->message, true);
        if (r < 0)
                return r;
        r = sd_bus_enqueue_for_read(q->polkit->bus, q->message);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(q->done, SD_EVENT_ONESHOT);
}

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        Question *q = userdata;
        int r;

        q->slot = sd_bus_slot_unref(q->slot);
        q->answers[q->n_answers - 1].verdict = read_verdict(reply);
        r = question_resume(q);
        if (r < 0) {
                (void) log_warning_errno(r, "Cannot resume a call that waited for polkit: %m");
                (void) sd_bus_reply_method_errno(q->message, r, NULL);
                question_free(q);
        }
        return 0;
}

static Question *question_find(Polkit *p, sd_bus_message *m) {
        for (Question *q = p->questions; q; q = q->next)
                if (q->message == m)
                        return q;
        return NULL;
}

/* May it be asked for @sender, @uid too? What is answered waits for nobody, though it is freed only when the loop has nothing else to do. */
static bool has_room(const Polkit *p, const char *sender, uid_t uid) {
        size_t n = 0, n_user = 0, n_client = 0;

        for (const Question *q = p->questions; q; q = q->next)
                if (q->slot) {
                        n++;
                        n_user += q->uid == uid;
                        n_client += streq(sd_bus_message_get_sender(q->message), sender);
                }
        return p->n_questions < POLKIT_KEPT_MAX && n < POLKIT_PENDING_MAX && n_user < POLKIT_PENDING_PER_USER_MAX &&
               n_client < POLKIT_PENDING_PER_CLIENT_MAX;
}

static int question_new(Question **ret, Polkit *p, sd_bus_message *m, uid_t uid, sd_bus_error *error) {
        Question *q;
        int r;

        if (!has_room(p, sd_bus_message_get_sender(m), uid))
                return sd_bus_error_set(
                                error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                "Too many calls wait for polkit already, try again when they are answered");
        q = calloc(1, sizeof(*q));
        if (!q)
                return -ENOMEM;
        q->polkit = p;
        q->message = sd_bus_message_ref(m);
        q->uid = uid;
        (void) snprintf(q->cancel_id, sizeof(q->cancel_id), "vnetd-%" PRIu64, ++p->last_cancel_id);
        q->next = p->questions;
        if (q->next)
                q->next->previous = q;
        p->questions = q;
        p->n_questions++;

        r = sd_bus_track_new(p->bus, &q->track, on_caller_left, q);
        if (r >= 0)
                r = sd_bus_track_add_sender(q->track, m); /* fails when the caller is gone already */
        if (r < 0) {
                question_free(q);
                return r;
        }
        *ret = q;
        return 0;
}

static int append_details(sd_bus_message *m, const PolkitAsk *ask) {
        const struct {
                const char *key, *value;
        } details[] = {
                { "verb", ask->verb },
                { "network", ask->network },
                { "device", ask->device },
                { "address", ask->address },
        };
        int r;

        r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (size_t i = 0; i < ELEMENTSOF(details) && r >= 0; i++)
                if (details[i].value)
                        r = sd_bus_message_append(m, "{ss}", details[i].key, details[i].value);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int send_question(Question *q, const PolkitAsk *ask) {
        sd_bus_message *m = NULL;
        int r, interactive;

        interactive = sd_bus_message_get_allow_interactive_authorization(q->message);
        if (interactive < 0)
                return interactive;
        r = sd_bus_message_new_method_call(q->polkit->bus, &m, POLKIT_NAME, POLKIT_PATH, POLKIT_INTERFACE,
                                           "CheckAuthorization");
        if (r >= 0)
                r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                          sd_bus_message_get_sender(q->message), ask->action);
        if (r >= 0)
                r = append_details(m, ask);
        if (r >= 0)
                r = sd_bus_message_append(m, "us", interactive ? POLKIT_ALLOW_USER_INTERACTION : 0,
                                          q->cancel_id);
        if (r >= 0) /* people take their time; the caller's leaving ends it */
                r = sd_bus_call_async(q->polkit->bus, &q->slot, m, on_reply, q, UINT64_MAX);
        sd_bus_message_unref(m);
        return r;
}

static char *ask_key(const PolkitAsk *ask) {
        char *key;

        if (asprintf(&key, "%s\n%s\n%s\n%s\n%s", ask->action, ask->verb ?: "", ask->network ?: "",
                     ask->device ?: "", ask->address ?: "") < 0)
                return NULL;
        return key;
}

static int question_ask(Question *q, const PolkitAsk *ask, sd_bus_error *error) {
        _cleanup_free_ char *key = NULL;
        int r;

        if (q->n_answers >= POLKIT_ASKS_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "What %s is about changed while polkit was asked, try again",
                                         ask->verb);
        key = ask_key(ask);
        if (!key)
                return -ENOMEM;
        r = send_question(q, ask);
        if (r < 0)
                return r;
        q->answers[q->n_answers++] = (Answer){ .key = TAKE_PTR(key), .verdict = VERDICT_OPEN };
        return 0;
}

static int verdict_to_error(Verdict v, const PolkitAsk *ask, sd_bus_error *error) {
        switch (v) {
        case VERDICT_ALLOWED:
                return 0;
        case VERDICT_CHALLENGE:
                return sd_bus_error_setf(error, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
                                         "%s needs the right %s, and asking for it was not allowed",
                                         ask->verb, ask->action);
        case VERDICT_DISMISSED:
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "%s needs the right %s, and the question was dismissed", ask->verb,
                                         ask->action);
        case VERDICT_NO_POLKIT:
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "%s needs the right %s; without polkit only root has it", ask->verb,
                                         ask->action);
        case VERDICT_FAILED:
                return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED,
                                         "%s needs the right %s, and polkit failed to answer", ask->verb,
                                         ask->action);
        case VERDICT_OPEN:
        case VERDICT_DENIED:
                break;
        }
        return sd_bus_error_setf(error, SD_BUS_ERROR_ACCESS_DENIED, "%s needs the right %s", ask->verb,
                                 ask->action);
}

static bool is_exempt(const Polkit *p, const PolkitAsk *ask, uid_t uid) {
        switch (p->mode) {
        case POLKIT_MODE_ALWAYS_ASK:
                return false;
        case POLKIT_MODE_ASK:
        case POLKIT_MODE_REFUSE:
                break;
        }
        if (uid == 0 || uid == p->own_uid)
                return true;
        for (size_t i = 0; i < ask->n_owners; i++)
                if (ask->owners[i] == uid)
                        return true;
        return false;
}

static const Answer *answer_find(const Question *q, const PolkitAsk *ask) {
        _cleanup_free_ char *key = ask_key(ask);

        for (size_t i = 0; key && i < q->n_answers; i++)
                if (streq(q->answers[i].key, key))
                        return q->answers + i;
        return NULL;
}

int polkit_check(Polkit *p, sd_bus_message *m, const PolkitAsk *asks, size_t n_asks, sd_bus_error *error) {
        Question *q = question_find(p, m);
        uid_t uid;
        int r;

        assert(n_asks <= POLKIT_ASKS_MAX);
        r = polkit_sender_uid(m, &uid);
        if (r < 0)
                return sd_bus_error_set_errnof(error, r, "Cannot tell who is calling: %s", strerror(-r));

        for (size_t i = 0; i < n_asks; i++) {
                _cleanup_(question_freep) Question *fresh = NULL;
                const Answer *a;

                if (is_exempt(p, asks + i, uid))
                        continue;
                if (p->mode == POLKIT_MODE_REFUSE)
                        return verdict_to_error(VERDICT_DENIED, asks + i, error);
                a = q ? answer_find(q, asks + i) : NULL;
                if (a) {
                        r = verdict_to_error(a->verdict, asks + i, error);
                        if (r < 0)
                                return r;
                        continue;
                }
                if (!q) {
                        r = question_new(&fresh, p, m, uid, error);
                        if (r < 0)
                                return r;
                }
                r = question_ask(q ?: fresh, asks + i, error);
                if (r < 0)
                        return r;
                (void) TAKE_PTR(fresh);
                return 0;
        }
        return 1;
}
