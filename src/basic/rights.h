/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/* What a thread that reads hostile bytes gives up before it begins. */

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Gives up every capability of the calling thread, and only of it. */
static inline void thread_drop_capabilities(void) {
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

        (void) syscall(SYS_capset, &header, none);
}
