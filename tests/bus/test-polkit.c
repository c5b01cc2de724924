/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who may change things: polkit played by GtDBusQueue, asked by the real daemon. Nobody is exempt here (the
 * test seam), since all processes of a test have one uid; test-owners.c has several. */

#include <string.h>

#include "fixture.h"
#include "loopback.h"

/* One question as it arrived. */
typedef struct Question {
        GDBusMethodInvocation *invocation;  /* (owned by GDBus until answered) */
        char *subject, *action, *cancel_id; /* (owned) */
        GVariant *details;                  /* (owned) */
        guint32 flags;
} Question;

static Question *question_pop(Fixture *f) {
        g_autoptr(GVariant) subject = NULL;
        Question *q = g_new0(Question, 1);
        g_autofree char *kind = NULL;

        g_assert_true(gt_dbus_queue_pop_message(f->queue, &q->invocation));
        g_assert_cmpstr(g_dbus_method_invocation_get_method_name(q->invocation), ==, "CheckAuthorization");
        g_variant_get(g_dbus_method_invocation_get_parameters(q->invocation), "((s@a{sv})s@a{ss}us)", &kind,
                      &subject, &q->action, &q->details, &q->flags, &q->cancel_id);
        g_assert_cmpstr(kind, ==, "system-bus-name");
        g_assert_true(g_variant_lookup(subject, "name", "s", &q->subject));
        return q;
}

static void question_free(Question *q) {
        g_free(q->subject);
        g_free(q->action);
        g_free(q->cancel_id);
        g_variant_unref(q->details);
        g_free(q);
}

static void answer(Question *q, gboolean authorized, gboolean challenge, gboolean dismissed) {
        GVariantBuilder details = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{ss}"));

        if (dismissed)
                g_variant_builder_add(&details, "{ss}", "polkit.dismissed", "true");
        g_dbus_method_invocation_return_value(q->invocation,
                                              g_variant_new("((bba{ss}))", authorized, challenge, &details));
        question_free(q);
}

static void answer_error(Question *q, const char *name) {
        g_dbus_method_invocation_return_dbus_error(q->invocation, name, "a test's error");
        question_free(q);
}

static void assert_detail(Question *q, const char *key, const char *value) {
        const char *is = NULL;

        g_variant_lookup(q->details, key, "&s", &is);
        g_assert_cmpstr(is, ==, value);
}

static Pending *create_network(GDBusConnection *c, const char *name, gboolean interactive) {
        return call_async(c, VNETD_PATH, MANAGER, "CreateNetwork", g_variant_new("(sa{sv})", name, NULL),
                          interactive);
}

static void assert_network(Fixture *f, const char *name, gboolean exists) {
        if (exists)
                g_variant_unref(call_ok(f->client, VNETD_PATH, MANAGER, "GetNetwork",
                                        g_variant_new("(s)", name)));
        else
                call_refused(f->client, VNETD_PATH, MANAGER, "GetNetwork", g_variant_new("(s)", name),
                             "org.vnetd1.NoSuchNetwork", name);
}

static void test_allowed(void) {
        Question *q;
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        p = create_network(f.client, "blue", FALSE);
        q = question_pop(&f);
        g_assert_cmpstr(q->action, ==, "org.vnetd1.manage-networks");
        g_assert_cmpstr(q->subject, ==, g_dbus_connection_get_unique_name(f.client));
        g_assert_cmpuint(q->flags, ==, 0);
        assert_detail(q, "network", "blue");
        assert_detail(q, "verb", "CreateNetwork");
        assert_network(&f, "blue",
                       FALSE); /* nothing before the answer; and the daemon serves others meanwhile */
        answer(q, TRUE, FALSE, FALSE);
        pending_assert_ok(p);
        assert_network(&f, "blue", TRUE);
        fixture_tear_down(&f);
}

static void test_denied(void) {
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        p = create_network(f.client, "blue", FALSE);
        answer(question_pop(&f), FALSE, FALSE, FALSE);
        pending_assert_refused(p, ERROR_DBUS "AccessDenied", "org.vnetd1.manage-networks");
        assert_network(&f, "blue", FALSE);
        fixture_tear_down(&f);
}

static void test_challenge(void) {
        Question *q;
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        p = create_network(f.client, "blue", FALSE);
        answer(question_pop(&f), FALSE, TRUE, FALSE);
        pending_assert_refused(p, ERROR_DBUS "InteractiveAuthorizationRequired",
                               "org.vnetd1.manage-networks");

        /* With the caller's leave polkit may ask the user, who turns away. */
        p = create_network(f.client, "blue", TRUE);
        q = question_pop(&f);
        g_assert_cmpuint(q->flags, ==, 1);
        answer(q, FALSE, TRUE, TRUE);
        pending_assert_refused(p, ERROR_DBUS "AccessDenied", "dismissed");
        assert_network(&f, "blue", FALSE);
        fixture_tear_down(&f);
}

static void test_polkit_fails(void) {
        static const char *const names[] = {
                "org.freedesktop.PolicyKit1.Error.Failed",
                ERROR_DBUS "NoReply",
                ERROR_DBUS "AccessDenied",
        };
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
                p = create_network(f.client, "blue", FALSE);
                answer_error(question_pop(&f), names[i]);
                pending_assert_refused(p, ERROR_DBUS "AccessDenied", "polkit failed");
        }
        assert_network(&f, "blue", FALSE);
        fixture_tear_down(&f);
}

static void test_no_polkit(void) {
        Fixture f;

        fixture_set_up(&f, FALSE, TRUE);
        pending_assert_refused(create_network(f.client, "blue", TRUE), ERROR_DBUS "AccessDenied",
                               "without polkit");
        assert_network(&f, "blue", FALSE);
        fixture_tear_down(&f);

        /* The daemon's own uid needs none. */
        fixture_set_up(&f, FALSE, FALSE);
        pending_assert_ok(create_network(f.client, "blue", FALSE));
        assert_network(&f, "blue", TRUE);
        fixture_tear_down(&f);
}

/* What is wrong on the face of it is refused before anybody is bothered, and reading is free: the queue
 * stays empty. */
static void test_not_asked(void) {
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        call_refused(f.client, VNETD_PATH, MANAGER, "CreateNetwork", g_variant_new("(sa{sv})", "a/b", NULL),
                     ERROR_DBUS "InvalidArgs", "a/b");
        call_refused(f.client, VNETD_PATH, MANAGER, "CreateNetwork",
                     g_variant_new("(sa{sv})", "default", NULL), "org.vnetd1.NetworkExists", "default");
        call_refused(f.client, VNETD_PATH, MANAGER, "CreateNetwork",
                     g_variant_new_parsed("('x', {'Subnet': <'nonsense'>})"), ERROR_DBUS "InvalidArgs",
                     "nonsense");
        call_refused(f.client, VNETD_PATH, MANAGER, "CreateDevice",
                     g_variant_new_parsed("('carrier-pigeon', @a{sv} {})"), "org.vnetd1.NotSupported",
                     "carrier-pigeon");
        call_refused(f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                     g_variant_new_parsed("('sctp', '1', '', @a{sv} {})"), ERROR_DBUS "InvalidArgs", "sctp");
        g_variant_unref(call_ok(f.client, VNETD_PATH, MANAGER, "Describe", NULL));
        g_variant_unref(call_ok(f.client, VNETD_PATH, MANAGER, "ListNetworks", NULL));
        g_variant_unref(call_ok(f.client, NETWORK_DEFAULT, NETWORK, "ListLeases", NULL));
        g_variant_unref(call_ok(f.client, NETWORK_DEFAULT, NETWORK, "GetStats", NULL));
        gt_dbus_queue_assert_no_messages(f.queue);
        fixture_tear_down(&f);
}

/* Each method with the action it is to be asked for. Nothing is granted, so nothing changes. To be taken away, a forward must be there. */
static void test_every_method(void) {
        static const struct {
                const char *path, *interface, *method, *args, *action;
        } methods[] = {
                { VNETD_PATH, MANAGER, "CreateNetwork", "('x', @a{sv} {})", "org.vnetd1.manage-networks" },
                { VNETD_PATH, MANAGER, "CreateDevice", "('tap', @a{sv} {})", "org.vnetd1.manage-devices" },
                { VNETD_PATH, MANAGER, "Reload", NULL, "org.vnetd1.manage-networks" },
                { NETWORK_DEFAULT, NETWORK, "Expose", "('tcp', '6443', '', @a{sv} {})",
                  "org.vnetd1.manage-forwards" },
                { NETWORK_DEFAULT, NETWORK, "Unexpose", "('tcp', '%s')", "org.vnetd1.manage-forwards" },
                { NETWORK_DEFAULT, NETWORK, "ListFlows", "(@a{sv} {},)", "org.vnetd1.capture" },
                { NETWORK_DEFAULT, NETWORK, "Remove", NULL, "org.vnetd1.manage-networks" },
        };
        int own_fd;
        g_autofree char *local = g_strdup_printf("127.%u.0.1:26443", loopback_take(&own_fd));
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        Pending *made = call_async(f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                                   g_variant_new("(sssa{sv})", "tcp", local, "192.168.127.2", NULL), FALSE);
        answer(question_pop(&f), TRUE, FALSE, FALSE);
        pending_assert_ok(made);
        call_refused(f.client, NETWORK_DEFAULT, NETWORK, "Unexpose", g_variant_new("(ss)", "tcp", "127.0.0.1:26442"), "org.vnetd1.NoSuchForward", "26442");
        gt_dbus_queue_assert_no_messages(f.queue);
        for (size_t i = 0; i < G_N_ELEMENTS(methods); i++) {
                g_autofree char *text = g_strdup(methods[i].args);
                g_autoptr(GVariant) args = NULL;
                Question *q;
                Pending *p;

                if (text && strstr(text, "%s")) {
                        g_auto(GStrv) parts = g_strsplit(text, "%s", 2);

                        g_free(text);
                        text = g_strjoin(local, parts[0], parts[1], NULL);
                }
                if (text)
                        args = g_variant_ref_sink(g_variant_parse(NULL, text, NULL, NULL, NULL));
                p = call_async(f.client, methods[i].path, methods[i].interface, methods[i].method, args,
                               FALSE);
                q = question_pop(&f);
                g_assert_cmpstr(q->action, ==, methods[i].action);
                assert_detail(q, "verb", methods[i].method);
                answer(q, FALSE, FALSE, FALSE);
                pending_assert_refused(p, ERROR_DBUS "AccessDenied", methods[i].action);
        }
        assert_network(&f, "default", TRUE);
        fixture_tear_down(&f);
        (void) close(own_fd);
}

/* A port below 1024 takes two rights; each may be refused. */
static void test_privileged_port(void) {
        Question *q;
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        for (int refuse = 0; refuse < 2; refuse++) {
                p = call_async(f.client, NETWORK_DEFAULT, NETWORK, "Expose",
                               g_variant_new_parsed("('tcp', '127.0.0.1:1023', '', @a{sv} {})"), FALSE);
                q = question_pop(&f);
                g_assert_cmpstr(q->action, ==, "org.vnetd1.expose-privileged-port");
                assert_detail(q, "address", "127.0.0.1:1023");
                answer(q, refuse == 1, FALSE, FALSE);
                if (refuse == 1) {
                        q = question_pop(&f);
                        g_assert_cmpstr(q->action, ==, "org.vnetd1.manage-forwards");
                        answer(q, FALSE, FALSE, FALSE);
                }
                pending_assert_refused(p, ERROR_DBUS "AccessDenied",
                                       refuse == 1 ? "org.vnetd1.manage-forwards"
                                                   : "org.vnetd1.expose-privileged-port");
        }
        fixture_tear_down(&f);
}

/* Two questions about one object; the first answer makes it vanish. The second call must look again. */
static void test_gone_meanwhile(void) {
        Question *qa, *qb;
        Pending *p, *a, *b;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        p = create_network(f.client, "blue", FALSE);
        answer(question_pop(&f), TRUE, FALSE, FALSE);
        pending_assert_ok(p);

        a = call_async(f.client, "/org/vnetd1/network/blue", NETWORK, "Remove", NULL, FALSE);
        qa = question_pop(&f);
        b = call_async(f.client, "/org/vnetd1/network/blue", NETWORK, "Remove", NULL, FALSE);
        qb = question_pop(&f);
        answer(qa, TRUE, FALSE, FALSE);
        pending_assert_ok(a);
        answer(qb, TRUE, FALSE, FALSE);
        pending_assert_refused(b, ERROR_DBUS "UnknownObject", NULL);
        fixture_tear_down(&f);
}

static void test_client_leaves(void) {
        g_autoptr(GDBusConnection) other = NULL;
        GDBusMethodInvocation *cancel;
        g_autofree char *id = NULL;
        g_autoptr(GError) error = NULL;
        const char *cancelled;
        Question *q;
        Pending *p;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        other = fixture_connect();
        p = create_network(other, "blue", TRUE);
        q = question_pop(&f);
        g_dbus_connection_close_sync(other, NULL, &error);
        g_assert_no_error(error);
        pending_wait(p);
        g_assert_nonnull(p->error);
        g_clear_error(&p->error);
        g_free(p);

        g_assert_true(gt_dbus_queue_pop_message(f.queue, &cancel));
        g_assert_cmpstr(g_dbus_method_invocation_get_method_name(cancel), ==, "CancelCheckAuthorization");
        g_variant_get(g_dbus_method_invocation_get_parameters(cancel), "(&s)", &cancelled);
        g_assert_cmpstr(cancelled, ==, q->cancel_id);
        g_dbus_method_invocation_return_value(cancel, NULL);

        answer(q, TRUE, FALSE, FALSE); /* too late: nobody asks for it any more */
        daemon_assert_alive(&f.daemon, f.client);
        assert_network(&f, "blue", FALSE);
        fixture_tear_down(&f);
}

/* The bound on open questions, at it and one above; another client has its own. */
static void test_pending_limit(void) {
        g_autoptr(GDBusConnection) other = NULL;
        Question *q[9];
        Pending *p[8], *last;
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        other = fixture_connect();
        for (int i = 0; i < 8; i++) {
                g_autofree char *name = g_strdup_printf("net%d", i);

                p[i] = create_network(f.client, name, FALSE);
                q[i] = question_pop(&f);
        }
        pending_assert_refused(create_network(f.client, "net8", FALSE), ERROR_DBUS "LimitsExceeded", NULL);
        last = create_network(other, "theirs", FALSE);
        q[8] = question_pop(&f);

        for (int i = 0; i < 9; i++)
                answer(q[i], i % 2 == 0, FALSE, FALSE);
        for (int i = 0; i < 8; i++)
                if (i % 2 == 0)
                        pending_assert_ok(p[i]);
                else
                        pending_assert_refused(p[i], ERROR_DBUS "AccessDenied", NULL);
        pending_assert_ok(last);
        assert_network(&f, "net6", TRUE);
        assert_network(&f, "net7", FALSE);
        assert_network(&f, "theirs", TRUE);

        /* Answered ones count no more. */
        last = create_network(f.client, "net8", FALSE);
        answer(question_pop(&f), TRUE, FALSE, FALSE);
        pending_assert_ok(last);
        g_dbus_connection_close_sync(other, NULL, NULL);
        fixture_tear_down(&f);
}

/* The bound on one user's open questions, at it and one above, by as many connections as he likes. */
static void test_user_limit(void) {
        GDBusConnection *clients[4];
        Question *q[24];
        Pending *p[24];
        Fixture f;

        fixture_set_up(&f, TRUE, TRUE);
        for (int i = 0; i < 4; i++)
                clients[i] = fixture_connect();
        for (int i = 0; i < 24; i++) {
                g_autofree char *name = g_strdup_printf("net%d", i);

                p[i] = create_network(clients[i / 8], name, FALSE);
                q[i] = question_pop(&f);
        }
        pending_assert_refused(create_network(clients[3], "more", FALSE), ERROR_DBUS "LimitsExceeded", NULL);

        answer(q[0], FALSE, FALSE, FALSE);
        pending_assert_refused(p[0], ERROR_DBUS "AccessDenied", NULL);
        p[0] = create_network(clients[3], "more", FALSE);
        q[0] = question_pop(&f);
        for (int i = 0; i < 24; i++) {
                answer(q[i], FALSE, FALSE, FALSE);
                pending_assert_refused(p[i], ERROR_DBUS "AccessDenied", NULL);
        }
        for (int i = 0; i < 4; i++) {
                g_dbus_connection_close_sync(clients[i], NULL, NULL);
                g_object_unref(clients[i]);
        }
        fixture_tear_down(&f);
}

int main(int argc, char **argv) {
        fixture_require_daemon();
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/polkit/allowed", test_allowed);
        g_test_add_func("/polkit/denied", test_denied);
        g_test_add_func("/polkit/challenge", test_challenge);
        g_test_add_func("/polkit/polkit-fails", test_polkit_fails);
        g_test_add_func("/polkit/no-polkit", test_no_polkit);
        g_test_add_func("/polkit/not-asked", test_not_asked);
        g_test_add_func("/polkit/every-method", test_every_method);
        g_test_add_func("/polkit/privileged-port", test_privileged_port);
        g_test_add_func("/polkit/gone-meanwhile", test_gone_meanwhile);
        g_test_add_func("/polkit/client-leaves", test_client_leaves);
        g_test_add_func("/polkit/pending-limit", test_pending_limit);
        g_test_add_func("/polkit/user-limit", test_user_limit);
        return g_test_run();
}
