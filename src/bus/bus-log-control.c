/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * org.freedesktop.LogControl1, for `systemctl service-log-level vnetd debug`. Setting is left to sd-bus's
 * own check: root and the daemon's uid, no polkit.
 */

#include "basic/log.h"
#include "bus/bus-private.h"

BUS_GETTER(get_level) {
        return sd_bus_message_append(reply, "s", log_level_to_name(log_max_level));
}

static int set_level(sd_bus *sd, const char *path, const char *interface, const char *property,
                     sd_bus_message *value, void *userdata, sd_bus_error *error) {
        const char *text;
        int r;

        r = sd_bus_message_read(value, "s", &text);
        if (r < 0)
                return r;
        r = log_level_from_name(text);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "There is no log level '%s'",
                                         ERROR_QUOTE(text));
        log_info("Log level is now %s", log_level_to_name(r));
        log_set_max_level(r);
        return 0;
}

BUS_GETTER(get_target) {
        return sd_bus_message_append(reply, "s", log_target_name());
}

static int set_target(sd_bus *sd, const char *path, const char *interface, const char *property,
                      sd_bus_message *value, void *userdata, sd_bus_error *error) {
        const char *text;
        int r;

        r = sd_bus_message_read(value, "s", &text);
        if (r < 0)
                return r;
        r = log_set_target(text);
        if (r < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "There is no log target '%s'",
                                         ERROR_QUOTE(text));
        return 0;
}

BUS_GETTER(get_identifier) {
        return sd_bus_message_append(reply, "s", "vnetd");
}

const sd_bus_vtable bus_log_control_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, 0),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_target, set_target, 0, 0),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", get_identifier, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};
