/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Replays a corpus through a fuzzer without libFuzzer: every file of the directories given, and the empty
 * input. So each finding, once it is a file in tests/corpus/NAME/, is a regression test with any compiler.
 * Makes no inputs of its own.
 *
 * Each input lies in an allocation of exactly its size, for the sanitizers' sake. Says the name of a file
 * before running it: the last one said is the one that crashed.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "basic/cleanup.h"
#include "fuzz.h"

#define INPUT_LEN_MAX (16 * 1024 * 1024)

static int run_file(int dir_fd, const char *name) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
        _cleanup_free_ uint8_t *data = NULL;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size > INPUT_LEN_MAX)
                return -EFBIG;

        data = malloc(st.st_size > 0 ? st.st_size : 1);
        if (!data)
                return -ENOMEM;
        if (read(fd, data, st.st_size) != st.st_size)
                return -EIO;

        return LLVMFuzzerTestOneInput(data, st.st_size);
}

static int by_name(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int not_hidden(const struct dirent *d) {
        return d->d_name[0] != '.';
}

/* Returns how many files ran, or a negative errno. */
static int run_dir(const char *path) {
        _cleanup_close_ int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent **list;
        int n, r = 0;

        if (dir_fd < 0)
                return -errno;
        n = scandirat(dir_fd, ".", &list, not_hidden, by_name);
        if (n < 0)
                return -errno;

        for (int i = 0; i < n; i++) {
                if (r == 0) {
                        printf("%s/%s\n", path, list[i]->d_name);
                        fflush(stdout);
                        r = run_file(dir_fd, list[i]->d_name);
                }
                free(list[i]);
        }
        free(list);
        return r < 0 ? r : n;
}

int main(int argc, char **argv) {
        if (argc < 2) {
                fprintf(stderr, "Usage: %s DIRECTORY...\n", argv[0]);
                return EXIT_FAILURE;
        }

        (void) LLVMFuzzerTestOneInput(NULL, 0);

        for (int i = 1; i < argc; i++) {
                int n = run_dir(argv[i]);

                if (n < 0) {
                        fprintf(stderr, "%s: %s\n", argv[i], strerror(-n));
                        return EXIT_FAILURE;
                }
                /* A replay of nothing would always pass. */
                if (n == 0) {
                        fprintf(stderr, "%s: no inputs\n", argv[i]);
                        return EXIT_FAILURE;
                }
        }
        return EXIT_SUCCESS;
}
