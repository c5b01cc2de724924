#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# test-libvnet.sh BUILD SOURCE LIBRARY - the library as others meet it: exports what its map says and what its headers declare, no
# more and no less; installed somewhere else, its examples compile by what pkg-config says and find the library.
set -euo pipefail
build=$1 source=$2 library=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

sed -n '/global:/,/local:/s/^ *\([a-z0-9_]*\);$/\1/p' "$source/src/libvnet/libvnet.map" | sort > "$tmp/map"
nm -D --defined-only "$library" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort > "$tmp/exported"
diff "$tmp/map" "$tmp/exported" || { echo "libvnet.map and the library differ"; exit 1; }

DESTDIR=$tmp/root meson install -C "$build" --no-rebuild --quiet --tags devel,runtime > "$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }
pc=$(find "$tmp/root" -name libvnet.pc)
[ -n "$pc" ] || { echo "no libvnet.pc installed"; exit 1; }
export PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$tmp/root
includes=$(find "$tmp/root" -type d -path "*/include/libvnet")
for header in $(cd "$includes" && find . -name '*.h'); do
        # Alone: a header that needs another one includes it.
        echo "#include \"${header#./}\"" | cc -Wall -Wextra -Werror -fsyntax-only $(pkg-config --cflags libvnet) -x c -
done
(cd "$includes" && sed 's:/\*.*\*/::' */*.h | grep -oE '^[a-zA-Z].*[ *](vq|vnet|vhost)_[a-z0-9_]+\(' | grep -v '^static\|^typedef\|^#' |
        grep -oE '[a-z0-9_]+\($' | tr -d '(' | sort -u) > "$tmp/declared"
diff "$tmp/declared" "$tmp/map" || { echo "libvnet.map and the headers differ"; exit 1; }

for example in "$source"/src/libvnet/examples/*.c; do
        # shellcheck disable=SC2046
        cc -Wall -Wextra -Wno-unused-parameter -Werror -D_GNU_SOURCE "$example" $(pkg-config --cflags --libs libvnet) -o "$tmp/example"
        said=$(LD_LIBRARY_PATH=$(find "$tmp/root" -name libvnet.so.0 -printf '%h') "$tmp/example" --help 2>&1) || true
        [[ $said == Usage* ]] || { echo "$example does not run: $said"; exit 1; }
done
