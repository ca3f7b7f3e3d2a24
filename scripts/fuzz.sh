#!/usr/bin/env bash
# Fuzzes what the core does with tensors and descriptions it is given: fuzz.sh [SECONDS]
source "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
DLPACK=$(sed -n 's/^DLPACK_INCLUDE_DIR:[A-Z]*=//p' "$ROOT/build/release/CMakeCache.txt")
WORK=$ROOT/build/fuzz
mkdir -p "$WORK/corpus"
clang -std=c11 -D_GNU_SOURCE -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
  -DAB__WATCH_ALLOCATIONS -I "$ROOT/core/include" -I "$ROOT/sdk/include" -I "$ROOT/core/src" -I "$DLPACK" \
  "$ROOT/tests/fuzz/fuzz_tensor.c" "$ROOT"/core/src/*.c "$ROOT"/core/src/*/*.c \
  -lltdl -ldl -lm -lpthread -o "$WORK/fuzz_tensor"
"$WORK/fuzz_tensor" -max_total_time="${1:-20}" -artifact_prefix="$WORK/" "$WORK/corpus"
