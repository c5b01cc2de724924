/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * `vnetctl monitor`: vnetd's signals as they come, one line an event, until ^C. Asks for nothing, changes
 * nothing.
 */

#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "ctl-client.h"
#include "ctl-monitor.h"
#include "ctl-table.h"

/* One JSON object for one signal: member, path, arguments. */
static int print_event_json(const Ctl *c, sd_bus_message *m, const Value *arguments) {
        _cleanup_free_ char *text = NULL;
        JsonWriter w;
        int r;

        json_writer_init(&w, false);
        json_object_open(&w);
        json_key(&w, "signal");
        json_string(&w, sd_bus_message_get_member(m));
        json_key(&w, "path");
        json_string(&w, sd_bus_message_get_path(m));
        json_key(&w, "arguments");
        value_write_json(&w, arguments);
        json_object_close(&w);
        r = json_writer_finish(&w, &text);
        json_writer_deinit(&w);
        if (r < 0)
                return r;
        json_print(text, c->json);
        return 0;
}

static int print_event(sd_bus_message *m, const Value *arguments) {
        _cleanup_free_ char *text = value_to_text(arguments);
        time_t now = time(NULL);
        char stamp[16] = "";
        struct tm tm;

        if (!text)
                return -ENOMEM;
        if (localtime_r(&now, &tm))
                (void) strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
        printf("%s %s %s %s\n", stamp, sd_bus_message_get_member(m), sd_bus_message_get_path(m), text);
        return 0;
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(value_freep) Value *arguments = calloc(1, sizeof(*arguments));
        const Ctl *c = userdata;
        int r;

        if (!arguments)
                return -ENOMEM;
        arguments->type = VALUE_ARRAY;
        for (;;) {
                _cleanup_(value_freep) Value *v = NULL;

                r = value_read(m, &v);
                if (r == -ENXIO)
                        break;
                if (r >= 0)
                        r = value_append(arguments, NULL, TAKE_PTR(v));
                if (r < 0)
                        return r;
        }
        r = c->json != JSON_OFF ? print_event_json(c, m, arguments) : print_event(m, arguments);
        if (r < 0)
                return r;
        (void) fflush(stdout); /* whoever reads the pipe wants it now */
        return 0;
}

/* The daemon came or went. */
static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name, *from, *to;

        if (sd_bus_message_read(m, "sss", &name, &from, &to) >= 0)
                (void) fprintf(stderr, "vnetd %s the bus\n", *to ? "came to" : "left");
        return 0;
}

static int on_hangup(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return sd_event_exit(sd_bus_get_event(sd_bus_message_get_bus(m)),
                             fail("The connection to the bus is lost"));
}

static int add_matches(Ctl *c) {
        int r;

        r = sd_bus_match_signal(c->bus, NULL, VNETD_BUS_NAME, NULL, NULL, NULL, on_signal, c);
        if (r >= 0)
                r = sd_bus_match_signal(c->bus, NULL, "org.freedesktop.DBus.Local", NULL,
                                        "org.freedesktop.DBus.Local", "Disconnected", on_hangup, c);
        if (r >= 0)
                r = sd_bus_add_match(c->bus, NULL,
                                     "type='signal',sender='org.freedesktop.DBus',member='NameOwnerChanged',"
                                     "arg0='" VNETD_BUS_NAME "'",
                                     on_owner_changed, c);
        return r;
}

int verb_monitor(Ctl *c, int argc, char **argv) {
        sd_event *event = NULL;
        int r;

        r = sd_event_new(&event);
        if (r >= 0)
                r = sd_event_set_signal_exit(event, true);
        if (r >= 0)
                r = sd_bus_attach_event(c->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = add_matches(c);
        if (r < 0)
                r = fail_errno(r, "Failed to listen to vnetd's signals");
        else {
                r = sd_event_loop(event);
                if (r < 0)
                        r = fail_errno(r, "Failed to wait for vnetd's signals");
        }
        (void) sd_bus_detach_event(c->bus);
        (void) sd_event_unref(event);
        return r;
}
