/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The YAML files of vnet-gvproxy. */

#include "fuzz.h"
#include "gvproxy/gv-config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        GvConfig c = {};
        char why[512] = "";

        if (gv_yaml_read(&c, size > 0 ? (const char *) data : "", size, why) < 0 && why[0] == 0)
                abort();
        gv_config_deinit(&c);
        return 0;
}
