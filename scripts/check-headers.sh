#!/usr/bin/env bash
# Each public header compiles alone, as C11 and as C++17, with warnings as errors.
source "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
DLPACK=${DLPACK_INCLUDE_DIR:-$(sed -n 's/^DLPACK_INCLUDE_DIR:[A-Z]*=//p' "$ROOT/build/release/CMakeCache.txt")}
INCLUDES=(-I "$ROOT/sdk/include" -I "$ROOT/core/include" -isystem "$DLPACK")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
for header in "$ROOT"/sdk/include/arraybridge/*.h "$ROOT"/core/include/arraybridge/*.h; do
  name=arraybridge/$(basename "$header")
  printf '#include <%s>\n#include <%s>\nint ab_nothing;\n' "$name" "$name" >"$WORK/one.c"
  cp "$WORK/one.c" "$WORK/one.cc"
  gcc -std=c11 -Wall -Wextra -Wpedantic -Werror "${INCLUDES[@]}" -c "$WORK/one.c" -o "$WORK/one.o"
  g++ -std=c++17 -Wall -Wextra -Werror "${INCLUDES[@]}" -c "$WORK/one.cc" -o "$WORK/one.o"
  echo "$name: C11 and C++17"
done
