#!/usr/bin/env bash
# The arrows between folders: plugins -> sdk; core -> sdk; sdk -> nothing; python and conformance -> core's public
# header and sdk. An include that goes another way is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
status=0

# forbid FOLDER PATTERN WHY [EXCEPT]: no include below FOLDER may match PATTERN, but for files that match EXCEPT.
forbid() {
  local found
  found=$(grep -rnE --include='*.c' --include='*.h' "#[[:space:]]*include[[:space:]]+[\"<]$2" "$1" 2>/dev/null |
    grep -vE "${4:-^$}" || true)
  [ -z "$found" ] && return 0
  printf '%s: %s\n%s\n' "$1" "$3" "$found"
  status=1
}

internals='(core/src/|\.\./.*core/|bridge\.h|registry\.h|backend\.h|conversion\.h|route\.h|tensor\.h|device/)'
for folder in plugins sdk python/native conformance; do
  forbid "$folder" "$internals" "includes an internal of the core"
done
for folder in plugins sdk core; do
  forbid "$folder" '.*plugins/' "includes a file of a plugin"
done
forbid sdk 'arraybridge/arraybridge\.h' "the sdk knows no core"
forbid plugins 'arraybridge/arraybridge\.h' "a plugin knows the sdk only"
forbid core '(Python\.h|numpy/|abpy\.h)' "the core knows no language or framework"
forbid core 'cuda[A-Za-z_]*\.h' "the CUDA headers are the CUDA layer's" '^core/src/device/cuda[a-z_]*\.[hc]:'
exit $status
