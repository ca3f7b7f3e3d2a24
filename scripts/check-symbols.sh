#!/usr/bin/env bash
# What the libraries export and what they are linked to, compared with what they should be.
#   check-symbols.sh BUILD           compare
#   check-symbols.sh BUILD update    write the list anew (look at the difference before you commit it)
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$1
LIST=$ROOT/core/exported-symbols.txt
status=0

library=$(find "$BUILD" -name 'libarraybridge.so.*.*' -type f | head -n 1)
symbols() { nm -D --defined-only "$1" | awk '$2 != "A" {sub("@.*", "", $3); print $3}' | sort; }
needed() { readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | sort; }

if [ "${2:-}" = update ]; then symbols "$library" >"$LIST"; fi
diff -u "$LIST" <(symbols "$library") || { echo "libarraybridge exports another set of symbols"; status=1; }

for entry in $(needed "$library"); do
  case $entry in
    libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | libltdl.so.7 | ld-linux-*) ;;
    *) echo "libarraybridge needs $entry"; status=1 ;;
  esac
done
for plugin in "$BUILD"/plugins/*.so; do
  [ "$(symbols "$plugin")" = arraybridge_plugin ] || { echo "$plugin exports more than its descriptor"; status=1; }
  readelf -d "$plugin" | grep -Eq 'BIND_NOW|Flags:.*NOW' || { echo "$plugin is not linked with -z now"; status=1; }
  for entry in $(needed "$plugin"); do
    case $entry in
      libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | ld-linux-*) ;;
      *) echo "$plugin needs $entry"; status=1 ;;
    esac
  done
  echo "$(basename "$plugin"): $(needed "$plugin" | tr '\n' ' ')"
done
exit $status
