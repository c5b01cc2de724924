/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients of the HTTP API send: heads of requests, and bodies for the endpoints that change nothing of the host. */

#include "fuzz.h"
#include "http/http-api.h"
#include "http/http-request.h"

static Manager *manager;

static void set_up(void) {
        NetworkOptions o = NETWORK_OPTIONS_INIT;
        sd_event *event;
        Network *n;
        Error e;

        if (sd_event_new(&event) < 0 || manager_new(&manager, &(ManagerConfig){ .user = true }, event) < 0 ||
            manager_create_network(manager, "fuzz", getuid(), &o, &n, &e) < 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const paths[] = { "/services/dns/add", "/services/forwarder/unexpose", "/services/dns/all", "/leases", "/nowhere" };
        HttpCaller caller = { .network = "fuzz", .uid = getuid() };
        HttpReply reply;
        HttpHead head;

        if (!manager)
                set_up();
        if (size == 0 || size > HTTP_BODY_MAX)
                return 0;
        if (http_head_read((const char *) data, size, &head) == HTTP_HEAD_TUNNEL && head.len > size)
                abort();
        caller.inside = data[0] >> 5 & 3;
        http_api_answer(manager, &caller, data[0] & 0x80 ? "GET" : "POST", paths[(data[0] & 0x1f) % ELEMENTSOF(paths)], (const char *) data + 1,
                        size - 1, &reply);
        if (reply.status != 200 && reply.status != 400 && reply.status != 403 && reply.status != 404 && reply.status != 500)
                abort();
        free(reply.text);
        while (manager_nth_zone(manager, manager_network(manager, "fuzz"), 0))
                (void) manager_remove_zone(manager, manager_network(manager, "fuzz"),
                                           manager_nth_zone(manager, manager_network(manager, "fuzz"), 0)->name, NULL);
        return 0;
}
