/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The names and texts of the drop reasons, from the one list in counters.def. Counts nothing itself.
 */

#include "basic/counters.h"

static const struct {
        const char *name, *text;
} drop_table[] = {
#define DROP(id, name, text) [DROP_##id] = { name, text },
#include "basic/counters.def"
#undef DROP
};

_Static_assert(ELEMENTSOF(drop_table) == _DROP_MAX, "every drop reason has a name");

const char *drop_to_name(Drop reason) {
        assert((unsigned) reason < _DROP_MAX);
        return drop_table[reason].name;
}

const char *drop_to_text(Drop reason) {
        assert((unsigned) reason < _DROP_MAX);
        return drop_table[reason].text;
}
