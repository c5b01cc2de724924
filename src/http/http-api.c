/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * gvproxy's API. Its clients know three kinds of answer: 200, 400 for a request that cannot be read, 500 for one that cannot be done; and
 * they compare words. Field names are taken without regard to case, and those not known are passed over, as Go does it.
 */

#include "http/http-api.h"

#include <errno.h>
#include <stdarg.h>
#include <strings.h>

#include "basic/json.h"
#include "basic/parse.h"
#include "daemon/ssh-forward.h"
#include "http/http-metrics.h"

typedef struct Request {
        Manager *manager; /* (borrowed) all of these */
        Network *network;
        const HttpCaller *caller;
        const char *method, *body;
        size_t len;
} Request;

/* ---- answers ---- */

static void reply(HttpReply *ret, unsigned status, const char *format, ...) _printf_(3, 4);
static void reply(HttpReply *ret, unsigned status, const char *format, ...) {
        va_list ap;

        *ret = (HttpReply){ status, HTTP_TYPE_TEXT, NULL };
        va_start(ap, format);
        if (vasprintf(&ret->text, format, ap) < 0)
                *ret = (HttpReply){ 500, HTTP_TYPE_TEXT, NULL };
        va_end(ap);
}

static void reply_done(HttpReply *ret) {
        *ret = (HttpReply){ 200, HTTP_TYPE_TEXT, NULL };
}

/* The document and the line break Go puts behind each. */
static void reply_json(HttpReply *ret, JsonWriter *w) {
        _cleanup_free_ char *text = NULL;

        if (json_writer_finish(w, &text) < 0)
                *ret = (HttpReply){ 500, HTTP_TYPE_TEXT, NULL };
        else {
                reply(ret, 200, "%s\n", text);
                ret->type = HTTP_TYPE_JSON;
        }
        json_writer_deinit(w);
}

/* ---- bodies ---- */

static JsonVal field(const JsonDoc *doc, JsonVal object, const char *name) {
        for (size_t i = 0; i < json_size(doc, object); i++) {
                const char *key;
                JsonVal v = json_member(doc, object, i, &key);

                if (strcasecmp(key, name) == 0)
                        return v;
        }
        return JSON_NONE;
}

static const char *go_name(JsonType t) {
        switch (t) {
        case JSON_NULL:
                return "null";
        case JSON_BOOL:
                return "bool";
        case JSON_NUMBER:
                return "number";
        case JSON_STRING:
                return "string";
        case JSON_ARRAY:
                return "array";
        case JSON_OBJECT:
        case _JSON_TYPE_MAX:
                break;
        }
        return "object";
}

/* A text that may be missing or null: "". False, and answered, when it is something else. @record: of which Go structure. */
static bool text_field(const JsonDoc *doc, JsonVal object, const char *record, const char *name, const char **ret_text, HttpReply *ret) {
        JsonVal v = field(doc, object, name);

        *ret_text = "";
        if (v == JSON_NONE || json_type(doc, v) == JSON_NULL || json_get_string(doc, v, ret_text) >= 0)
                return true;
        reply(ret, 400, "json: cannot unmarshal %s into Go struct field %s.%s of type string\n", go_name(json_type(doc, v)), record, name);
        return false;
}

/* The object a body is; NULL, and answered, when it is none. To be freed. */
static JsonDoc *read_body(const Request *q, const char *record, HttpReply *ret) {
        _cleanup_(json_freep) JsonDoc *doc = NULL;
        const char *what = NULL;
        unsigned line = 0;
        int r;

        if (!streq(q->method, "POST")) {
                reply(ret, 400, "post only\n");
                return NULL;
        }
        if (q->len == 0) {
                reply(ret, 400, "EOF\n");
                return NULL;
        }
        r = json_parse(&doc, q->body, q->len, &line, &what);
        if (r < 0) {
                doc = NULL;
                reply(ret, r == -ENOMEM ? 500 : 400, "line %u: %s\n", line, what ?: "unexpected EOF");
                return NULL;
        }
        if (json_type(doc, json_root(doc)) != JSON_OBJECT) {
                reply(ret, 400, "json: cannot unmarshal %s into Go value of type types.%s\n", go_name(json_type(doc, json_root(doc))), record);
                return NULL;
        }
        return TAKE_PTR(doc);
}

/* ---- forwards ---- */

static int by_local(const void *a, const void *b) {
        const ManagedForward *x = *(ManagedForward *const *) a, *y = *(ManagedForward *const *) b;
        int r = strcmp(x->local, y->local);

        return r != 0 ? r : strcmp(manager_forward_protocol(x), manager_forward_protocol(y));
}

static void forwards_all(const Request *q, HttpReply *ret) {
        _cleanup_free_ ManagedForward **list = calloc(MANAGER_FORWARDS_MAX, sizeof(*list));
        size_t n = 0;
        JsonWriter w;

        json_writer_init(&w, false);
        json_array_open(&w);
        for (ManagedForward *f = NULL; list && (f = manager_next_forward(q->manager, f));)
                if (f->network == q->network)
                        list[n++] = f;
        if (n > 0)
                qsort(list, n, sizeof(*list), by_local);
        for (size_t i = 0; i < n; i++) {
                json_object_open(&w);
                json_key_string(&w, "local", list[i]->local);
                json_key(&w, "remote");
                if (list[i]->is_unix && !list[i]->is_ssh)
                        json_stringf(&w, "tcp://%s", list[i]->remote);
                else
                        json_string(&w, list[i]->remote);
                json_key_string(&w, "protocol", manager_forward_protocol(list[i]));
                json_object_close(&w);
        }
        json_array_close(&w);
        reply_json(ret, &w);
}

static void refuse_expose(const Error *e, const char *protocol, const char *local, HttpReply *ret) {
        if (e->code == ERROR_FORWARD_EXISTS)
                reply(ret, 500, "proxy already running for %s on %s\n", protocol, local);
        else if (e->code == ERROR_ADDRESS_IN_USE)
                reply(ret, 500, "listen %s %s: bind: address already in use\n", protocol, local);
        else if (e->code == ERROR_ACCESS_DENIED)
                reply(ret, 500, "listen %s %s: bind: permission denied\n", protocol, local);
        else if (e->code == ERROR_ADDRESS_NOT_AVAILABLE)
                reply(ret, 500, "listen %s %s: bind: cannot assign requested address\n", protocol, local);
        else
                reply(ret, 500, "%s\n", e->message);
}

/* "localhost" as what it stands for; nothing else is looked up. */
static char *local_address(const char *local) {
        char *text;

        if (strncasecmp(local, "localhost:", strlen("localhost:")) != 0)
                return strdup(local);
        return asprintf(&text, "127.0.0.1%s", strchr(local, ':')) < 0 ? NULL : text;
}

/* Guests make no files of the host, nor remove them. True when it may be; else answered. */
static bool check_protocol(const Request *q, const char *protocol, HttpReply *ret) {
        if (streq(protocol, "npipe"))
                reply(ret, 500, "named pipes are not supported by this platform\n");
        else if (!streq(protocol, "tcp") && !streq(protocol, "udp") && !streq(protocol, "unix"))
                reply(ret, 500, "unknown protocol %s\n", ERROR_QUOTE(protocol));
        else if (streq(protocol, "unix") && q->caller->inside == HTTP_GATEWAY_FORWARD)
                reply(ret, 500, "protocol unix is not allowed from inside the network\n");
        else
                return true;
        return false;
}

/* Nor do they use sockets of the host: what leads there only the host opens and closes. True when it may be; else answered. */
static bool check_local(const Request *q, const char *local, HttpReply *ret) {
        if (q->caller->inside == HTTP_GATEWAY_OFF || !manager_local_is_gateway(local))
                return true;
        reply(ret, 500, "ports of the gateway are not for guests to open or to close\n");
        return false;
}

/* ":PORT" of a guest is a port of that guest. */
static char *remote_of_caller(const Request *q, const char *remote) {
        Endpoint e = { .addr = q->caller->guest };

        if (q->caller->inside == HTTP_GATEWAY_OFF || remote[0] != ':' || parse_port(remote + 1, &e.port) < 0)
                return strdup(remote);
        return strdup(ENDPOINT_TO_TEXT(&e));
}

static void forwards_expose(const Request *q, HttpReply *ret) {
        _cleanup_(json_freep) JsonDoc *doc = read_body(q, "ExposeRequest", ret);
        const char *local, *remote, *protocol;
        _cleanup_free_ char *at = NULL, *to = NULL;
        Error e = ERROR_INIT;

        if (!doc || !text_field(doc, json_root(doc), "ExposeRequest", "local", &local, ret) ||
            !text_field(doc, json_root(doc), "ExposeRequest", "remote", &remote, ret) ||
            !text_field(doc, json_root(doc), "ExposeRequest", "protocol", &protocol, ret))
                return;
        if (protocol[0] == 0)
                protocol = "tcp";
        if (!check_protocol(q, protocol, ret) || !check_local(q, local, ret))
                return;
        if (streq(protocol, "unix") && !ssh_spec_is_url(remote)) {
                if (strncmp(remote, "tcp://", strlen("tcp://")) != 0)
                        return reply(ret, 500, "remote protocol for unix forwarder is not implemented: '%s'\n", ERROR_QUOTE(remote));
                remote += strlen("tcp://");
        }
        if (!strchr(remote, ':'))
                return reply(ret, 400, "address %s: missing port in address\n", ERROR_QUOTE(remote));
        at = local_address(local);
        to = remote_of_caller(q, remote);
        if (!at || !to)
                return reply(ret, 500, "out of memory\n");
        /* Over the bus polkit would be asked; here nobody can be. */
        if (!streq(protocol, "unix") && manager_uid_is_limited(q->caller->uid) && manager_local_is_privileged(q->manager, at))
                return reply(ret, 500, "listen %s %s: bind: permission denied\n", protocol, local);
        if (manager_expose(q->manager, q->network, q->caller->uid, protocol, at, to, NULL, NULL, &e) < 0)
                return refuse_expose(&e, protocol, local, ret);
        reply_done(ret);
}

static void forwards_unexpose(const Request *q, HttpReply *ret) {
        _cleanup_(json_freep) JsonDoc *doc = read_body(q, "UnexposeRequest", ret);
        const char *local, *protocol;
        _cleanup_free_ char *at = NULL;
        Error e = ERROR_INIT;

        if (!doc || !text_field(doc, json_root(doc), "UnexposeRequest", "local", &local, ret) ||
            !text_field(doc, json_root(doc), "UnexposeRequest", "protocol", &protocol, ret))
                return;
        at = local_address(local);
        if (!at)
                return reply(ret, 500, "out of memory\n");
        if ((streq(protocol, "unix") && !check_protocol(q, protocol, ret)) || !check_local(q, local, ret))
                return;
        if (manager_unexpose(q->manager, q->network, protocol[0] != 0 ? protocol : "tcp", at, &e) < 0)
                return reply(ret, 500, "proxy not found\n");
        reply_done(ret);
}

/* ---- zones ---- */

static void put_record(JsonWriter *w, const DnsRecordSpec *r) {
        size_t len = strlen(r->name);
        bool pattern = len >= 2 && r->name[0] == '/' && r->name[len - 1] == '/';

        json_object_open(w);
        json_key_string(w, "Name", pattern ? "" : r->name);
        if (streq(r->type, "A") || streq(r->type, "AAAA")) {
                json_key_string(w, "IP", r->value);
        } else { /* gvproxy has no other types */
                json_key_string(w, "Type", r->type);
                json_key_string(w, "Value", r->value);
        }
        if (pattern) {
                json_key(w, "Regexp");
                json_stringf(w, "%.*s", (int) len - 2, r->name + 1);
        }
        json_object_close(w);
}

static void dns_all(const Request *q, HttpReply *ret) {
        const DnsZoneSpec *z;
        JsonWriter w;

        json_writer_init(&w, false);
        if (!manager_nth_zone(q->manager, q->network, 0))
                json_null(&w);
        else {
                json_array_open(&w);
                for (size_t i = 0; (z = manager_nth_zone(q->manager, q->network, i)); i++) {
                        json_object_open(&w);
                        json_key_string(&w, "Name", z->name);
                        json_key(&w, "Records");
                        if (z->n_records == 0)
                                json_null(&w);
                        else {
                                json_array_open(&w);
                                for (size_t k = 0; k < z->n_records; k++)
                                        put_record(&w, &z->records[k]);
                                json_array_close(&w);
                        }
                        json_key_string(&w, "DefaultIP", z->default_address ?: "");
                        json_object_close(&w);
                }
                json_array_close(&w);
        }
        reply_json(ret, &w);
}

/* One record of the body, at the end of @spec. False, and answered, when it cannot be. */
static bool add_record(DnsZoneSpec *spec, const JsonDoc *doc, JsonVal v, HttpReply *ret) {
        const char *name, *ip, *regexp;
        _cleanup_free_ char *pattern = NULL;
        IpAddr a;
        int r;

        if (!text_field(doc, v, "Record", "Name", &name, ret) || !text_field(doc, v, "Record", "IP", &ip, ret) ||
            !text_field(doc, v, "Record", "Regexp", &regexp, ret))
                return false;
        if (ip_parse(ip, &a) < 0) {
                reply(ret, 400, "invalid IP address: %s\n", ERROR_QUOTE(ip));
                return false;
        }
        if (regexp[0] != 0 && asprintf(&pattern, "/%s/", regexp) < 0) {
                pattern = NULL;
                reply(ret, 500, "out of memory\n");
                return false;
        }
        r = dns_zone_spec_add(spec, pattern ?: name, ip_is_v4(&a) ? "A" : "AAAA", ip);
        if (r < 0)
                reply(ret, 500, r == -E2BIG ? "zone '%s' has too many records\n" : "zone '%s': out of memory\n", ERROR_QUOTE(spec->name));
        return r >= 0;
}

/* The zone the body describes; with what one of that name has already behind its records. */
static bool read_zone(const Request *q, const JsonDoc *doc, DnsZoneSpec *spec, HttpReply *ret) {
        const char *name, *fallback;
        const DnsZoneSpec *before;
        JsonVal records = field(doc, json_root(doc), "Records");
        IpAddr a;
        int r = 0;

        if (!text_field(doc, json_root(doc), "Zone", "Name", &name, ret) ||
            !text_field(doc, json_root(doc), "Zone", "DefaultIP", &fallback, ret))
                return false;
        if (fallback[0] != 0 && ip_parse(fallback, &a) < 0) {
                reply(ret, 400, "invalid IP address: %s\n", ERROR_QUOTE(fallback));
                return false;
        }
        if (records != JSON_NONE && json_type(doc, records) != JSON_NULL && json_type(doc, records) != JSON_ARRAY) {
                reply(ret, 400, "json: cannot unmarshal %s into Go struct field Zone.Records of type []types.Record\n",
                      go_name(json_type(doc, records)));
                return false;
        }
        spec->loose = true;
        spec->name = strdup(name);
        spec->default_address = fallback[0] != 0 ? strdup(fallback) : NULL;
        if (!spec->name || (fallback[0] != 0 && !spec->default_address)) {
                reply(ret, 500, "out of memory\n");
                return false;
        }
        for (size_t i = 0; json_type(doc, records) == JSON_ARRAY && i < json_size(doc, records); i++)
                if (!add_record(spec, doc, json_item(doc, records, i), ret))
                        return false;
        before = manager_zone(q->manager, q->network, name);
        for (size_t i = 0; before && i < before->n_records && r >= 0; i++)
                r = dns_zone_spec_add(spec, before->records[i].name, before->records[i].type, before->records[i].value);
        if (r < 0)
                reply(ret, 500, "zone '%s' has too many records\n", ERROR_QUOTE(name));
        return r >= 0;
}

static void dns_add(const Request *q, HttpReply *ret) {
        _cleanup_(json_freep) JsonDoc *doc = read_body(q, "Zone", ret);
        DnsZoneSpec spec = {};
        Error e = ERROR_INIT;

        if (!doc)
                return;
        if (read_zone(q, doc, &spec, ret)) {
                if (manager_check_zone(&spec, &e) < 0)
                        reply(ret, 400, "%s\n", e.message);
                else if (manager_set_zone(q->manager, q->network, &spec, &e) < 0)
                        reply(ret, 500, "%s\n", e.message);
                else
                        reply_done(ret);
        }
        dns_zone_spec_deinit(&spec);
}

/* ---- what is there ---- */

static void leases(const Request *q, HttpReply *ret) {
        const NetstackConfig *c = &network_config(q->network)->stack;
        _cleanup_free_ Lease *list = NULL;
        size_t n = 0;
        JsonWriter w;

        if (network_list_leases(q->network, &list, &n) < 0)
                return reply(ret, 500, "out of memory\n");
        json_writer_init(&w, false);
        json_object_open(&w);
        json_key_string(&w, IP_TO_TEXT(&c->gateway), MAC_TO_TEXT(&c->mac));
        for (size_t i = 0; i < n; i++) {
                json_key_string(&w, IP_TO_TEXT(&list[i].addr), MAC_TO_TEXT(&list[i].mac));
        }
        json_object_close(&w);
        reply_json(ret, &w);
}

static void cam(const Request *q, HttpReply *ret) {
        _cleanup_free_ NetworkMac *list = NULL;
        size_t n = 0;
        JsonWriter w;

        if (network_list_macs(q->network, &list, &n) < 0)
                return reply(ret, 500, "out of memory\n");
        json_writer_init(&w, false);
        json_object_open(&w);
        for (size_t i = 0; i < n; i++) {
                json_key_u64(&w, MAC_TO_TEXT(&list[i].mac), list[i].port - 1u);
        }
        json_object_close(&w);
        reply_json(ret, &w);
}

/* gvproxy's numbers are those of its stack; of ours there are the ones that mean the same, under the same names. */
static void stats(const Request *q, HttpReply *ret) {
        Counters c;
        NetstackStats s = {};
        JsonWriter w;

        if (network_get_stats(q->network, &s, &c) < 0)
                return reply(ret, 500, "out of memory\n");
        json_writer_init(&w, false);
        json_object_open(&w);
        json_key_u64(&w, "BytesSent", c.tx_bytes); /* towards guests */
        json_key_u64(&w, "BytesReceived", c.rx_bytes);
        json_key_u64(&w, "DroppedPackets", c.rx_dropped + c.tx_dropped);
        json_key_u64(&w, "UnknownProtocolRcvdPackets", c.drops[DROP_IP_PROTOCOL]);
        json_key_u64(&w, "MalformedRcvdPackets", c.drops[DROP_ETH_SHORT]);
        json_key(&w, "IP");
        json_object_open(&w);
        json_key_u64(&w, "PacketsReceived", c.rx_frames);
        json_key_u64(&w, "PacketsSent", c.tx_frames);
        json_object_close(&w);
        json_key(&w, "TCP");
        json_object_open(&w);
        json_key_u64(&w, "CurrentEstablished", s.tcp_flows - MIN(s.half_open, s.tcp_flows));
        json_key_u64(&w, "ActiveConnectionOpenings", s.tcp_opened);
        json_key_u64(&w, "FailedConnectionAttempts", s.tcp_refused);
        json_key_u64(&w, "Retransmits", s.retransmits);
        json_key_u64(&w, "FastRetransmit", s.fast_retransmits);
        json_key_u64(&w, "Timeouts", s.rto_fired);
        json_key_u64(&w, "ForwardMaxInFlightDrop", c.drops[DROP_TCP_SYN_LIMIT]);
        json_object_close(&w);
        json_key(&w, "UDP");
        json_object_open(&w);
        json_key_u64(&w, "CurrentFlows", s.udp_flows);
        json_key_u64(&w, "FlowsOpened", s.udp_opened);
        json_object_close(&w);
        json_key(&w, "ICMP");
        json_object_open(&w);
        json_key_u64(&w, "CurrentFlows", s.ping_flows);
        json_object_close(&w);
        json_object_close(&w);
        reply_json(ret, &w);
}

static void metrics(const Request *q, HttpReply *ret) {
        *ret = (HttpReply){ 200, HTTP_TYPE_METRICS, NULL };
        if (http_metrics_text(q->manager, &ret->text) < 0)
                *ret = (HttpReply){ 500, HTTP_TYPE_TEXT, NULL };
}

typedef struct HttpEndpoint {
        const char *path;
        void (*fn)(const Request *q, HttpReply *ret);
        bool changes, read, forward; /* what guests have of it */
} HttpEndpoint;

static const HttpEndpoint endpoints[] = {
        { "/services/forwarder/all", forwards_all, .read = true, .forward = true },
        { "/services/forwarder/expose", forwards_expose, .changes = true, .forward = true },
        { "/services/forwarder/unexpose", forwards_unexpose, .changes = true, .forward = true },
        { "/services/dns/all", dns_all, .read = true },
        { "/services/dns/add", dns_add, .changes = true },
        { "/services/dhcp/leases", leases, .read = true },
        { "/leases", leases, .read = true },
        { "/cam", cam, .read = true },
        { "/stats", stats, .read = true },
        { "/metrics", metrics }, /* of all networks: no guest's business */
};

static void refuse_guest(const HttpEndpoint *p, HttpGateway inside, HttpReply *ret) {
        if (inside == HTTP_GATEWAY_READ && p->changes)
                reply(ret, 403, "guests of this network may only read\n");
        else
                reply(ret, 404, "404 page not found\n");
}

void http_api_answer(Manager *m, const HttpCaller *caller, const char *method, const char *path, const char *body, size_t len,
                     HttpReply *ret) {
        Request q = { m, manager_network(m, caller->network), caller, method, body, len };

        for (size_t i = 0; i < ELEMENTSOF(endpoints) && q.network; i++) {
                const HttpEndpoint *p = &endpoints[i];

                if (!streq(path, p->path))
                        continue;
                if (caller->inside == HTTP_GATEWAY_OFF || (caller->inside == HTTP_GATEWAY_READ ? p->read : p->forward))
                        return p->fn(&q, ret);
                return refuse_guest(p, caller->inside, ret);
        }
        reply(ret, 404, "404 page not found\n");
}
