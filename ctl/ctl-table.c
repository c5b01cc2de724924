/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tables on stdout by libsmartcols, the pager, amounts in words. Never asks the bus.
 */

#include <fcntl.h>
#include <libsmartcols.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "ctl-table.h"

struct Table {
        struct libscols_table *table; /* (owned) */
        struct libscols_line *line;   /* (borrowed: of the table) the row being filled */
        const char *name;             /* (borrowed: static) */
        size_t column;
        JsonMode json;
        bool legend;
        int error; /* the first that happened */
};

int table_new(Table **ret, const Ctl *c, const char *name, const TableColumn *columns, size_t n_columns) {
        _cleanup_(table_freep) Table *t = calloc(1, sizeof(*t));

        if (!t || !(t->table = scols_new_table()))
                return fail_errno(ENOMEM, "Failed to make a table");
        t->name = name;
        t->json = c->json;
        t->legend = !opt_set(c, OPT_NO_LEGEND);
        (void) scols_table_enable_noheadings(t->table, !t->legend);
        (void) scols_table_set_name(t->table, name);
        (void) scols_table_enable_json(t->table, t->json != JSON_OFF);
        /* Or a narrow terminal loses whole columns. */
        (void) scols_table_set_termforce(t->table, SCOLS_TERMFORCE_NEVER);
        for (size_t i = 0; i < n_columns; i++) {
                struct libscols_column *column = scols_table_new_column(
                                t->table, columns[i].name, 0, columns[i].number ? SCOLS_FL_RIGHT : 0);

                if (!column)
                        return fail_errno(ENOMEM, "Failed to make a table");
                (void) scols_column_set_json_type(column,
                                                  columns[i].number ? SCOLS_JSON_NUMBER : SCOLS_JSON_STRING);
        }
        *ret = TAKE_PTR(t);
        return 0;
}

Table *table_free(Table *t) {
        if (!t)
                return NULL;
        scols_unref_table(t->table);
        free(t);
        return NULL;
}

size_t table_size(const Table *t) {
        return scols_table_get_nlines(t->table);
}

void table_row(Table *t) {
        t->column = 0;
        t->line = scols_table_new_line(t->table, NULL);
        if (!t->line)
                t->error = -ENOMEM;
}

void table_text(Table *t, const char *text) {
        size_t i = t->column++;

        if (t->error < 0)
                return;
        if (!text || !*text) {
                if (t->json != JSON_OFF)
                        return;
                text = "-";
        }
        if (scols_line_set_data(t->line, i, text) < 0)
                t->error = -ENOMEM;
}

void table_number(Table *t, uint64_t n) {
        char buf[AMOUNT_TEXT_MAX];

        (void) snprintf(buf, sizeof(buf), "%" PRIu64, n);
        table_text(t, buf);
}

void table_bytes(Table *t, uint64_t n) {
        char buf[AMOUNT_TEXT_MAX];

        if (t->json != JSON_OFF)
                table_number(t, n);
        else
                table_text(t, bytes_to_text(n, buf));
}

void table_seconds(Table *t, uint64_t sec) {
        char buf[AMOUNT_TEXT_MAX];

        if (t->json != JSON_OFF && sec != UINT64_MAX)
                table_number(t, sec);
        else
                table_text(t, t->json != JSON_OFF ? NULL : seconds_to_text(sec, buf));
}

/* Lays @text, which is JSON, out anew: nothing between its tokens, or a line a member. */
void json_print(const char *text, JsonMode mode) {
        bool pretty = mode == JSON_PRETTY, in_string = false;
        int depth = 0;

        for (const char *p = text; *p; p++) {
                if (in_string) {
                        putchar(*p);
                        if (*p == '\\' && p[1])
                                putchar(*++p);
                        else if (*p == '"')
                                in_string = false;
                        continue;
                }
                if (strchr(" \n\t\r", *p))
                        continue;
                if (*p == '}' || *p == ']') {
                        depth--;
                        if (pretty)
                                printf("\n%*s", 2 * MAX(depth, 0), "");
                }
                putchar(*p);
                in_string = *p == '"';
                if (*p == '{' || *p == '[') {
                        const char *next = p + 1 + strspn(p + 1, " \n\t\r");

                        depth++;
                        if (*next == '}' || *next == ']') {
                                putchar(*next);
                                depth--;
                                p = next;
                        } else if (pretty)
                                printf("\n%*s", 2 * depth, "");
                } else if (pretty && *p == ',')
                        printf("\n%*s", 2 * MAX(depth, 0), "");
                else if (pretty && *p == ':')
                        putchar(' ');
        }
        putchar('\n');
}

static int print_json(Table *t) {
        _cleanup_free_ char *text = NULL;

        if (table_size(t) == 0) { /* libsmartcols prints nothing at all then */
                if (asprintf(&text, "{\"%s\":[]}", t->name) < 0)
                        text = NULL;
        } else if (scols_print_table_to_string(t->table, &text) < 0)
                text = NULL;
        if (!text)
                return -ENOMEM;
        json_print(text, t->json);
        return 0;
}

static void print_footer(const Table *t) {
        size_t n = table_size(t);

        if (n == 0)
                printf("No %s.\n", t->name);
        else /* every name ends in an s */
                printf("%zu %.*s listed.\n", n, (int) strlen(t->name) - (n == 1), t->name);
}

int table_print(Table *t) {
        int r = t->error;

        if (r == 0 && t->json != JSON_OFF)
                r = print_json(t);
        else if (r == 0)
                r = scols_print_table(t->table);
        if (r < 0)
                return fail_errno(r, "Failed to print");
        if (t->json == JSON_OFF && t->legend)
                print_footer(t);
        return 0;
}

const char *bytes_to_text(uint64_t n, char buf[static AMOUNT_TEXT_MAX]) {
        static const char units[] = "KMGTPE";
        double x = (double) n / 1024;
        size_t i = 0;

        if (n < 1024)
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%" PRIu64, n);
        else {
                for (; x >= 1023.95 && units[i + 1]; i++)
                        x /= 1024;
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%.1f%c", x, units[i]);
        }
        return buf;
}

const char *seconds_to_text(uint64_t sec, char buf[static AMOUNT_TEXT_MAX]) {
        if (sec == UINT64_MAX)
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "never");
        else if (sec < 60)
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%" PRIu64 "s", sec);
        else if (sec < 3600)
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%" PRIu64 "min %" PRIu64 "s", sec / 60, sec % 60);
        else if (sec < 86400)
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%" PRIu64 "h %" PRIu64 "min", sec / 3600,
                                sec / 60 % 60);
        else
                (void) snprintf(buf, AMOUNT_TEXT_MAX, "%" PRIu64 "d %" PRIu64 "h", sec / 86400,
                                sec / 3600 % 24);
        return buf;
}

static pid_t pager_pid;

void pager_open(const Ctl *c) {
        const char *pager = getenv("PAGER");
        int fds[2];

        if (opt_set(c, OPT_NO_PAGER) || !isatty(STDOUT_FILENO) ||
            (pager && (!*pager || streq(pager, "cat"))))
                return;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return;
        (void) fflush(stdout);
        pager_pid = fork();
        if (pager_pid == 0) {
                (void) dup2(fds[0], STDIN_FILENO);
                (void) setenv("LESS", "FRSXMK", 0);
                (void) setenv("LESSSECURE", "1", 1); /* maybe root is looking: no shell out of the pager */
                if (pager)
                        execl("/bin/sh", "sh", "-c", pager, (char *) NULL);
                else
                        execlp("less", "less", (char *) NULL);
                execlp("cat", "cat", (char *) NULL);
                _exit(127);
        }
        if (pager_pid > 0)
                (void) dup2(fds[1], STDOUT_FILENO);
        (void) close(fds[0]);
        (void) close(fds[1]);
}

void pager_close(void) {
        if (pager_pid <= 0)
                return;
        (void) fflush(stdout);
        (void) close(STDOUT_FILENO); /* the pager sees the end */
        while (waitpid(pager_pid, NULL, 0) < 0 && errno == EINTR)
                ;
        pager_pid = 0;
}
