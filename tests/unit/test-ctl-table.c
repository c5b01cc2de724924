/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What vnetctl prints: amounts in words, and tables and JSON in both layouts, as somebody on the other side
 * of a pipe gets them.
 */

#include <glib.h>

#include "ctl-table.h"

static void test_amounts(void) {
        static const struct {
                uint64_t n;
                const char *text;
        } bytes[] = { { 0, "0" },
                      { 1023, "1023" },
                      { 1024, "1.0K" },
                      { 1536, "1.5K" },
                      { 1048575, "1.0M" },
                      { UINT64_C(1) << 40, "1.0T" },
                      { UINT64_MAX, "16.0E" } },
          seconds[] = { { 0, "0s" },          { 59, "59s" },       { 61, "1min 1s" },
                        { 7500, "2h 5min" },  { 90000, "1d 1h" },  { UINT64_MAX, "never" } };
        char buf[AMOUNT_TEXT_MAX];

        for (size_t i = 0; i < G_N_ELEMENTS(bytes); i++)
                g_assert_cmpstr(bytes_to_text(bytes[i].n, buf), ==, bytes[i].text);
        for (size_t i = 0; i < G_N_ELEMENTS(seconds); i++)
                g_assert_cmpstr(seconds_to_text(seconds[i].n, buf), ==, seconds[i].text);
}

/* Runs the subprocess half of a test and compares all it prints. */
static void expect_stdout(const char *path, const char *text) {
        g_test_trap_subprocess(path, 0, G_TEST_SUBPROCESS_DEFAULT);
        g_test_trap_assert_passed();
        g_test_trap_assert_stdout(text);
}

static void print_table(JsonMode json, unsigned n_rows) {
        static const TableColumn columns[] = { { "NAME" }, { "RX", true }, { "LEFT", true } };
        Ctl c = { .json = json };
        Table *t = NULL;

        g_assert_cmpint(table_new(&t, &c, "things", columns, G_N_ELEMENTS(columns)), ==, 0);
        for (unsigned i = 0; i < n_rows; i++) {
                table_row(t);
                table_text(t, i == 0 ? "a \"b\"" : "");
                table_bytes(t, i * 2048);
                table_seconds(t, i == 0 ? 61 : UINT64_MAX);
        }
        g_assert_cmpint(table_print(t), ==, 0);
        (void) table_free(t);
}

static void sub_text(void) {
        print_table(JSON_OFF, 2);
}
static void sub_short(void) {
        print_table(JSON_SHORT, 2);
}
static void sub_pretty(void) {
        print_table(JSON_PRETTY, 1);
}
static void sub_empty(void) {
        print_table(JSON_SHORT, 0);
}

static void test_tables(void) {
        expect_stdout("/ctl-table/subprocess/text",
                      "*NAME    RX    LEFT\na \"b\"    0 1min 1s\n-     2.0K   never\n2 things listed.\n*");
        expect_stdout("/ctl-table/subprocess/short",
                      "*{\"things\":[{\"name\":\"a "
                      "\\\"b\\\"\",\"rx\":0,\"left\":61},{\"name\":null,\"rx\":2048,\"left\":null}]}\n*");
        expect_stdout("/ctl-table/subprocess/pretty",
                      "*{\n  \"things\": [\n    {\n      \"name\": \"a \\\"b\\\"\",\n      \"rx\": 0,\n"
                      "      \"left\": 61\n    }\n  ]\n}\n*");
        expect_stdout("/ctl-table/subprocess/empty", "*{\"things\":[]}\n*");
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/ctl-table/amounts", test_amounts);
        g_test_add_func("/ctl-table/tables", test_tables);
        g_test_add_func("/ctl-table/subprocess/text", sub_text);
        g_test_add_func("/ctl-table/subprocess/short", sub_short);
        g_test_add_func("/ctl-table/subprocess/pretty", sub_pretty);
        g_test_add_func("/ctl-table/subprocess/empty", sub_empty);
        return g_test_run();
}
