/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What `systemctl status` shows: how many networks, devices and forwards there are, and what of the configuration cannot be used. Told
 * once per turn of the event loop at most, and only when it has changed. Never told for what guests do.
 */

#include <errno.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "basic/log.h"
#include "daemon/manager-private.h"

static const char *plural(unsigned n) {
        return n == 1 ? "" : "s";
}

static void status_text(const Manager *m, char *buf, size_t size) {
        unsigned networks = HASH_COUNT(m->networks), devices = HASH_COUNT(m->devices), forwards = HASH_COUNT(m->forwards);
        size_t problems = m->loaded ? m->loaded->n_problems : 0;
        int n;

        n = snprintf(buf, size, "%u network%s, %u device%s, %u forward%s", networks, plural(networks), devices, plural(devices), forwards,
                     plural(forwards));
        if (problems > 0)
                (void) snprintf(buf + n, size - (size_t) n, "; not all of the configuration: %s", m->loaded->problems[0]);
        buf[strcspn(buf, "\n")] = 0;
}

static int on_status(sd_event_source *source, void *userdata) {
        Manager *m = userdata;
        char text[STATUS_TEXT_MAX];

        status_text(m, text, sizeof(text));
        if (!streq(text, m->status)) {
                (void) sd_notifyf(/* unset_environment= */ false, "STATUS=%s", text);
                memcpy(m->status, text, sizeof(text));
        }
        return 0;
}

void status_changed(Manager *m) {
        int r;

        if (m->ending)
                return;
        if (m->status_source)
                r = sd_event_source_set_enabled(m->status_source, SD_EVENT_ONESHOT);
        else
                r = sd_event_add_defer(m->event, &m->status_source, on_status, m);
        if (r < 0)
                log_debug("Cannot tell the status, ignoring: %s", strerrordesc_np(-r));
}
