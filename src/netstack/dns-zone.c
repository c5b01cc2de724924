/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zones: reading records (ldns knows their data), and finding those of a name.
 *
 * Names come from guests, expressions from the administrator. What the two could do together is bounded: back-references, whose cost is
 * exponential, are refused, {m,n} may multiply to DNS_PATTERN_REPEATS only, and since the C library keeps every state of its automaton that
 * names have led to, an expression is compiled anew after PATTERN_BUDGET bytes of names.
 *
 * gvproxy's users write Go's expressions. What differs in letter alone is taken: \d and \D, (?:...), (?i) at the beginning. Anything else
 * that POSIX would silently read otherwise is refused.
 */

#include "netstack/dns-zone.h"

#include <errno.h>
#include <ldns/ldns.h>
#include <regex.h>
#undef _Bool /* which ldns has as a char */


#define PATTERN_BUDGET 16384
#define PATTERN_TEXT_MAX (6 * DNS_PATTERN_MAX) /* \D is six bytes in POSIX */
#define TXT_STRING_MAX 255

typedef struct Record {
        char *name;    /* (owned) relative, lower case, "" for the zone itself; of an expression: as it was written */
        char *pattern; /* (owned, nullable) as POSIX has it */
        regex_t regex;
        size_t budget; /* bytes of names until it is compiled anew; 0: it is not compiled */
        ldns_rr *rr;   /* (owned) */
} Record;

struct DnsZone {
        uint8_t name[DNS_NAME_MAX];
        size_t name_len;
        IpAddr fallback;
        uint32_t ttl;
        bool loose;
        Record *records; /* (owned) */
        size_t n_records;
};

/* ---- what is written ---- */

void dns_zone_spec_deinit(DnsZoneSpec *spec) {
        for (size_t i = 0; i < spec->n_records; i++) {
                free(spec->records[i].name);
                free(spec->records[i].type);
                free(spec->records[i].value);
        }
        free(spec->records);
        free(spec->name);
        free(spec->default_address);
        *spec = (DnsZoneSpec){};
}

int dns_zone_spec_add(DnsZoneSpec *spec, const char *name, const char *type, const char *value) {
        DnsRecordSpec *grown, r;

        if (spec->n_records == DNS_ZONE_RECORDS_MAX)
                return -E2BIG;
        grown = reallocarray(spec->records, spec->n_records + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        spec->records = grown;
        r = (DnsRecordSpec){ strdup(name), strdup(type), strdup(value) };
        if (!r.name || !r.type || !r.value) {
                free(r.name);
                free(r.type);
                free(r.value);
                return -ENOMEM;
        }
        spec->records[spec->n_records++] = r;
        return 0;
}

int dns_zone_spec_copy(DnsZoneSpec *dst, const DnsZoneSpec *src) {
        DnsZoneSpec copy = { .ttl = src->ttl, .loose = src->loose };
        int r = 0;

        copy.name = strdup(src->name);
        copy.default_address = src->default_address ? strdup(src->default_address) : NULL;
        if (!copy.name || (src->default_address && !copy.default_address))
                r = -ENOMEM;
        for (size_t i = 0; i < src->n_records && r >= 0; i++)
                r = dns_zone_spec_add(&copy, src->records[i].name, src->records[i].type, src->records[i].value);
        if (r < 0) {
                dns_zone_spec_deinit(&copy);
                return r;
        }
        *dst = copy;
        return 0;
}

/* ---- expressions ---- */

/* "{m}", "{m,}" or "{m,n}" at @p: its length and the larger number; 0 when it is none. */
static size_t read_repeat(const char *p, unsigned *ret) {
        unsigned number[2] = {};
        size_t len = 1;
        int i = 0;

        for (; p[len] != '}'; len++) {
                if (p[len] == ',' && i == 0 && len > 1)
                        i = 1;
                else if (p[len] >= '0' && p[len] <= '9' && number[i] <= DNS_PATTERN_REPEATS)
                        number[i] = number[i] * 10 + (unsigned) (p[len] - '0');
                else
                        return 0;
        }
        *ret = MAX(MAX(number[0], number[1]), 1u);
        return len > 1 ? len + 1 : 0;
}

/* A bracket expression from @p on, "[" included; 0 when it does not end. A backslash in one means itself in POSIX and not in Go. */
static size_t bracket_len(const char *p) {
        size_t len = 1;

        if (p[len] == '^')
                len++;
        if (p[len] == ']')
                len++;
        while (p[len] != ']') {
                if (p[len] == 0 || p[len] == '\\')
                        return 0;
                if (p[len] == '[' && p[len + 1] == ':') {
                        const char *end = strstr(p + len + 2, ":]");

                        if (!end)
                                return 0;
                        len = (size_t) (end - p) + 2;
                } else
                        len++;
        }
        return len + 1;
}

typedef struct Text {
        char buf[PATTERN_TEXT_MAX + 1];
        size_t len;
} Text;

static void put(Text *t, const char *from, size_t len) {
        assert(t->len + len <= PATTERN_TEXT_MAX);
        memcpy(t->buf + t->len, from, len);
        t->len += len;
        t->buf[t->len] = 0;
}

static bool multiply(unsigned *product, unsigned by) {
        if (by > DNS_PATTERN_REPEATS || *product > DNS_PATTERN_REPEATS / by)
                return false;
        *product *= by;
        return true;
}

/* One element of an expression at @p, into @out. Returns its length; 0 and @ret_what when it cannot be. */
static size_t translate_one(const char *p, Text *out, unsigned *product, const char **ret_what) {
        static const char plain[] = ".[]{}()*+?^$|/\\-"; /* what a backslash takes the meaning from */
        unsigned repeats;
        size_t len = 1;

        switch (*p) {
        case '\\':
                *ret_what = "a backslash before that is not supported: \\d, \\D, \\w, \\W and signs are";
                if (p[1] == 'd' || p[1] == 'D')
                        put(out, p[1] == 'd' ? "[0-9]" : "[^0-9]", p[1] == 'd' ? 5 : 6);
                else if (p[1] != 0 && (p[1] == 'w' || p[1] == 'W' || strchr(plain, p[1])))
                        put(out, p, 2);
                else
                        return 0;
                return 2;
        case '[':
                len = bracket_len(p);
                *ret_what = "a bracket expression does not end, or has a backslash in it";
                break;
        case '{':
                *ret_what = "only {m}, {m,} and {m,n} may stand in braces, and all of them must not multiply to more than 256";
                len = read_repeat(p, &repeats);
                if (len > 0 && !multiply(product, repeats))
                        return 0;
                break;
        case '+': /* the library writes x+ as xx*: behind another of its kind that doubles again and again */
                *ret_what = "too many + behind groups and other repetitions: each doubles the expression, to 256 times at most";
                if (out->len > 0 && strchr(")}*+?", out->buf[out->len - 1]) && !multiply(product, 2))
                        return 0;
                break;
        case '(':
                if (p[1] != '?')
                        break;
                *ret_what = "of what begins with (? only (?: is supported, and (?i) at the beginning";
                if (p[2] != ':')
                        return 0;
                put(out, "(", 1);
                return 3;
        default:
                break;
        }
        put(out, p, len);
        return len;
}

static int translate(const char *pattern, Text *out, const char **ret_what) {
        unsigned product = 1;
        size_t len;

        out->len = 0;
        out->buf[0] = 0;
        if (strncmp(pattern, "(?i)", 4) == 0)
                pattern += 4;
        for (; *pattern; pattern += len) {
                len = translate_one(pattern, out, &product, ret_what);
                if (len == 0)
                        return -EINVAL;
        }
        return 0;
}

static int record_compile(Record *r) {
        if (r->budget > 0)
                regfree(&r->regex);
        r->budget = 0;
        if (regcomp(&r->regex, r->pattern, REG_EXTENDED | REG_ICASE | REG_NOSUB) != 0)
                return -EINVAL;
        r->budget = PATTERN_BUDGET;
        return 0;
}

static bool record_matches_pattern(Record *r, const char *text) {
        size_t cost = strlen(text) + 1;

        if (r->budget <= cost && record_compile(r) < 0)
                return false;
        r->budget -= cost;
        return regexec(&r->regex, text, 0, NULL, 0) == 0;
}

static int read_pattern(Record *r, const char *name, const char **ret_what) {
        size_t len = strlen(name) - 2;
        char pattern[DNS_PATTERN_MAX + 1];
        Text text;

        *ret_what = "the regular expression is empty or longer than 128 bytes";
        if (len < 1 || len > DNS_PATTERN_MAX)
                return -EINVAL;
        memcpy(pattern, name + 1, len);
        pattern[len] = 0;
        if (translate(pattern, &text, ret_what) < 0)
                return -EINVAL;
        r->pattern = strdup(text.buf);
        if (!r->pattern)
                return -ENOMEM;
        *ret_what = "that is no POSIX extended regular expression";
        return record_compile(r);
}

/* ---- records ---- */

static bool is_pattern(const char *name) {
        size_t len = strlen(name);

        return len >= 2 && name[0] == '/' && name[len - 1] == '/';
}

static int read_name(Record *r, const DnsZone *z, const char *name, const char **ret_what) {
        uint8_t wire[DNS_NAME_MAX];
        size_t len;

        if (is_pattern(name)) {
                r->name = strdup(name);
                return r->name ? read_pattern(r, name, ret_what) : -ENOMEM;
        }
        *ret_what = "that is no name below the zone";
        if (streq(name, "@"))
                name = "";
        if (name[0] != 0) {
                len = dns_name_from_text(name, wire, sizeof(wire));
                if (len == 0 || len - 1 + z->name_len > DNS_NAME_MAX || name[strlen(name) - 1] == '.')
                        return -EINVAL;
        }
        r->name = strdup(name);
        if (!r->name)
                return -ENOMEM;
        for (char *p = r->name; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p += 'a' - 'A';
        return 0;
}

static int push_rdf(ldns_rr *rr, ldns_rdf *rdf) {
        if (!rdf)
                return -ENOMEM;
        if (ldns_rr_push_rdf(rr, rdf))
                return 0;
        ldns_rdf_deep_free(rdf);
        return -ENOMEM;
}

/* The text in strings of at most 255 bytes, as TXT has them. */
static int read_txt(ldns_rr *rr, const char *value) {
        size_t left = strlen(value);
        int r = 0;

        do {
                uint8_t string[1 + TXT_STRING_MAX];
                size_t n = MIN(left, (size_t) TXT_STRING_MAX);

                string[0] = (uint8_t) n;
                memcpy(string + 1, value, n);
                r = push_rdf(rr, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_STR, 1 + n, string));
                value += n;
                left -= n;
        } while (left > 0 && r >= 0);
        return r;
}

/* Data as a zone file has it: ldns reads it, after whatever would be more than data there. */
static int read_data(Record *r, const DnsZone *z, const char *type, const char *value) {
        _cleanup_free_ char *line = NULL;
        ldns_rdf *origin;
        ldns_status status;

        if (value[0] == 0 || strspn(value, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.:-_ @") != strlen(value))
                return -EINVAL;
        if (asprintf(&line, "x. 0 IN %s %s", type, value) < 0)
                return -ENOMEM;
        origin = ldns_rdf_new_frm_data(LDNS_RDF_TYPE_DNAME, z->name_len, z->name);
        if (!origin)
                return -ENOMEM;
        status = ldns_rr_new_frm_str(&r->rr, line, 0, origin, NULL);
        ldns_rdf_deep_free(origin);
        if (status == LDNS_STATUS_OK)
                return 0;
        r->rr = NULL;
        return status == LDNS_STATUS_MEM_ERR ? -ENOMEM : -EINVAL;
}

static int read_value(Record *r, const DnsZone *z, const DnsRecordSpec *spec, const char **ret_what) {
        static const struct {
                const char *name, *what;
        } types[] = {
                { "A", "the value is no IPv4 address" },
                { "AAAA", "the value is no IPv6 address" },
                { "CNAME", "the value is no name" },
                { "MX", "the value is no preference and name, such as '10 mail'" },
                { "SRV", "the value is no priority, weight, port and name, such as '0 0 5060 sip'" },
                { "TXT", "the text is too long" },
        };
        size_t i = 0;

        while (i < ELEMENTSOF(types) && strcasecmp(types[i].name, spec->type) != 0)
                i++;
        if (i == ELEMENTSOF(types)) {
                *ret_what = "there is no such type here: A, AAAA, CNAME, MX, TXT and SRV are";
                return -EINVAL;
        }
        *ret_what = types[i].what;
        if (strlen(spec->value) > DNS_VALUE_MAX)
                return -EINVAL;
        if (!streq(types[i].name, "TXT"))
                return read_data(r, z, types[i].name, spec->value);

        r->rr = ldns_rr_new();
        if (!r->rr)
                return -ENOMEM;
        ldns_rr_set_type(r->rr, LDNS_RR_TYPE_TXT);
        ldns_rr_set_class(r->rr, LDNS_RR_CLASS_IN);
        return read_txt(r->rr, spec->value);
}

/* RFC 1034 3.6.2: beside a CNAME a name has nothing. Of expressions only the first that fits counts, so they do not meet. */
static bool cname_meets_other(const DnsZone *z, const Record *r) {
        for (size_t i = 0; i < z->n_records; i++) {
                const Record *o = &z->records[i];

                if (o != r && streq(o->name, r->name) &&
                    (ldns_rr_get_type(o->rr) == LDNS_RR_TYPE_CNAME || ldns_rr_get_type(r->rr) == LDNS_RR_TYPE_CNAME))
                        return true;
        }
        return false;
}

/* ---- life ---- */

static int read_zone(DnsZone *z, const DnsZoneSpec *spec, const char **ret_what) {
        *ret_what = "that is no name of a zone";
        z->name_len = dns_name_from_text(spec->name, z->name, sizeof(z->name));
        if (z->name_len == 0)
                return -EINVAL;
        *ret_what = "the default address is no IP address";
        if (spec->default_address && ip_parse(spec->default_address, &z->fallback) < 0)
                return -EINVAL;
        *ret_what = "the TTL is longer than a week";
        if (spec->ttl > DNS_ZONE_TTL_MAX_SEC)
                return -EINVAL;
        z->ttl = spec->ttl > 0 ? spec->ttl : DNS_ZONE_TTL_SEC;
        z->loose = spec->loose;
        return 0;
}

int dns_zone_new(DnsZone **ret, const DnsZoneSpec *spec, const char **ret_what, size_t *ret_record) {
        _cleanup_(dns_zone_freep) DnsZone *z = NULL;
        const char *what;
        size_t i = SIZE_MAX;
        int r;

        if (spec->n_records > DNS_ZONE_RECORDS_MAX)
                return -E2BIG;
        z = calloc(1, sizeof(*z));
        if (!z)
                return -ENOMEM;
        z->records = calloc(spec->n_records + 1, sizeof(*z->records));
        if (!z->records)
                return -ENOMEM;

        r = read_zone(z, spec, &what);
        for (size_t k = 0; k < spec->n_records && r >= 0; k++) {
                Record *record = &z->records[z->n_records++];

                i = k;
                r = read_name(record, z, spec->records[k].name, &what);
                if (r >= 0)
                        r = read_value(record, z, &spec->records[k], &what);
                if (r >= 0 && !z->loose && cname_meets_other(z, record)) {
                        what = "a name with a CNAME can have no other record";
                        r = -EINVAL;
                }
        }
        if (r < 0) {
                if (ret_what)
                        *ret_what = what;
                if (ret_record)
                        *ret_record = i;
                return r;
        }
        *ret = TAKE_PTR(z);
        return 0;
}

DnsZone *dns_zone_free(DnsZone *z) {
        if (!z)
                return NULL;
        for (size_t i = 0; i < z->n_records; i++) {
                Record *r = &z->records[i];

                if (r->budget > 0)
                        regfree(&r->regex);
                ldns_rr_free(r->rr);
                free(r->pattern);
                free(r->name);
        }
        free(z->records);
        free(z);
        return NULL;
}

const uint8_t *dns_zone_name(const DnsZone *z, size_t *ret_len) {
        *ret_len = z->name_len;
        return z->name;
}

bool dns_zone_is_loose(const DnsZone *z) {
        return z->loose;
}

uint32_t dns_zone_ttl(const DnsZone *z) {
        return z->ttl;
}

/* ---- finding ---- */

int dns_zone_covers(const DnsZone *z, const uint8_t *name, size_t len) {
        if (len < z->name_len)
                return -ENOENT;
        for (size_t i = 0; i + z->name_len <= len; i += 1 + (size_t) name[i])
                if (len - i == z->name_len)
                        return dns_name_equal(name + i, len - i, z->name, z->name_len) ? (int) i : -ENOENT;
        return -ENOENT;
}

/* The labels before @at as lower case text. False for bytes that no text of ours has, dots in labels among them. */
static bool relative_text(const uint8_t *name, size_t at, char ret[static DNS_NAME_MAX]) {
        size_t n = 0;

        for (size_t i = 0; i < at;) {
                size_t label = name[i++];

                if (n > 0)
                        ret[n++] = '.';
                for (; label > 0; label--, i++) {
                        uint8_t c = name[i];

                        if (c <= ' ' || c >= 0x7f || c == '.')
                                return false;
                        ret[n++] = (char) (c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
                }
        }
        ret[n] = 0;
        return true;
}

static void take(DnsZoneMatch *m, const Record *r) {
        m->exists = true;
        if (m->n < DNS_ZONE_MATCHES_MAX)
                m->records[m->n++] = r->rr;
}

/* The first record that fits, whatever it goes by. */
static void match_first(DnsZone *z, const char *text, DnsZoneMatch *ret) {
        for (size_t i = 0; i < z->n_records && !ret->exists; i++)
                if (z->records[i].pattern ? record_matches_pattern(&z->records[i], text) : streq(z->records[i].name, text))
                        take(ret, &z->records[i]);
}

/* All records of the name; else all of the first expression that fits. */
static void match_all(DnsZone *z, const char *text, DnsZoneMatch *ret) {
        const char *chosen = NULL;

        for (size_t i = 0; i < z->n_records; i++)
                if (!z->records[i].pattern && streq(z->records[i].name, text))
                        take(ret, &z->records[i]);
        if (ret->exists || text[0] == 0)
                return;
        for (size_t i = 0; i < z->n_records; i++) {
                Record *r = &z->records[i];

                if (r->pattern && (chosen ? streq(chosen, r->pattern) : record_matches_pattern(r, text))) {
                        chosen = r->pattern;
                        take(ret, r);
                }
        }
}

static bool has_names_below(const DnsZone *z, const char *text) {
        size_t len = strlen(text);

        for (size_t i = 0; i < z->n_records; i++) {
                const char *name = z->records[i].name;
                size_t n = strlen(name);

                if (!z->records[i].pattern && n > len && name[n - len - 1] == '.' && streq(name + n - len, text))
                        return true;
        }
        return false;
}

void dns_zone_match(DnsZone *z, const uint8_t *name, size_t at, DnsZoneMatch *ret) {
        char text[DNS_NAME_MAX];

        *ret = (DnsZoneMatch){};
        if (!relative_text(name, at, text))
                return;
        if (z->loose)
                match_first(z, text, ret);
        else
                match_all(z, text, ret);
        if (ret->n > 0)
                return;
        if (at > 0 && !ip_is_null(&z->fallback)) {
                ret->fallback = z->fallback;
                ret->exists = true;
        } else
                ret->exists = at == 0 || has_names_below(z, text);
}
