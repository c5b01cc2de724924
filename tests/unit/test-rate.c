/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The token bucket: the burst to the last token, the steady rate, and times of every kind. */

#include <glib.h>

#include "netstack/rate.h"

static unsigned take_all(usec_t *bucket, usec_t now, unsigned per_sec, unsigned burst) {
        unsigned n = 0;

        while (n < 100000 && rate_take(bucket, now, per_sec, burst))
                n++;
        return n;
}

static void test_rate(void) {
        static const struct {
                unsigned per_sec, burst;
        } cases[] = { { 1, 1 }, { 1, 5 }, { 50, 100 }, { 1000, 2000 }, { 10, 1 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                unsigned per_sec = cases[i].per_sec, burst = cases[i].burst;
                usec_t bucket = 0, now = 1234567, interval = USEC_PER_SEC / per_sec;

                g_assert_cmpuint(take_all(&bucket, now, per_sec, burst), ==, burst);
                g_assert_cmpuint(take_all(&bucket, now + interval - 1, per_sec, burst), ==, 0);
                now += interval;
                g_assert_cmpuint(take_all(&bucket, now, per_sec, burst), ==, 1);
                now += 3 * interval;
                g_assert_cmpuint(take_all(&bucket, now, per_sec, burst), ==, MIN(3u, burst));
                now += 1000 * USEC_PER_SEC + burst * interval; /* full again, and no fuller */
                g_assert_cmpuint(take_all(&bucket, now, per_sec, burst), ==, burst);
        }

        /* At the beginning of time, where nothing may wrap. */
        usec_t bucket = 0;
        g_assert_cmpuint(take_all(&bucket, 0, 10, 3), ==, 3);
        g_assert_cmpuint(take_all(&bucket, 99999, 10, 3), ==, 0);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/rate", test_rate);
        return g_test_run();
}
