#!/usr/bin/env bash
# Runs every test of the project on a bare machine and ends with one line: N passed, N failed, N skipped.
#   scripts/test.sh            everything
#   scripts/test.sh quick      without the sanitizer build, the install test and the long matrices
source "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
MODE=${1:-full}

install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_OPENCL[@]}" "${PACKAGES_CHECKS[@]}"
RESULTS=$ROOT/build/results
rm -rf "$RESULTS" && mkdir -p "$RESULTS"

# check NAME COMMAND…: one named check; its output is kept and shown when it fails.
check() {
  local name=$1 status=passed
  shift
  "$@" >"$RESULTS/$name.log" 2>&1 || status=failed
  printf '%s\t%s\n' "$status" "$name" >>"$RESULTS/checks.tsv"
  printf '  %-34s %s\n' "$name" "$status"
  [ "$status" = passed ] || sed 's/^/    /' "$RESULTS/$name.log"
}

# How many processes of pytest: one for each core, as far as there are 3 GB for each, which imports all frameworks.
workers() {
  local memory
  memory=$(awk '$1 == "MemAvailable:" {print int($2 / 3000000)}' /proc/meminfo)
  printf '%s\n' "$(nproc)" "${memory:-2}" 4 | sort -n | head -n 1 | sed 's/^0$/1/'
}

# unit_tests PRESET: the C suite; each Check test is counted.
unit_tests() {
  local preset=$1
  say "C tests ($preset)"
  rm -f "$ROOT/build/$preset"/tap/*.tap
  (cd "$ROOT" && ctest --preset "$preset" --output-junit "$RESULTS/ctest-$preset.xml") >"$RESULTS/ctest-$preset.log" 2>&1 ||
    tail -n 60 "$RESULTS/ctest-$preset.log"
  mkdir -p "$RESULTS/tap-$preset"
  cp "$ROOT/build/$preset"/tap/*.tap "$RESULTS/tap-$preset/" 2>/dev/null || true
}

# frameworks NAME MARKS [pytest's options]: the tests with these marks. A run that did not come to its end has failed.
frameworks() {
  local name=$1 marks=$2 status
  shift 2
  [ "$MODE" = full ] || marks="$marks and not slow"
  "$PYTHON" -m pytest -q -p no:cacheprovider --tb=short -rs --durations=5 -m "$marks" "$@" \
    --junitxml="$RESULTS/pytest-$name.xml" "$ROOT/tests/integration" >"$RESULTS/pytest-$name.log" 2>&1 && status=0 || status=$?
  tail -n 60 "$RESULTS/pytest-$name.log"
  [ "$status" -le 1 ] || printf 'failed\tpytest-%s: ended with %s\n' "$name" "$status" >>"$RESULTS/checks.tsv"
}

# The C code under sanitizers needs dlpack.h only: it is built and tested while the frameworks are being installed.
make_venv "$ROOT/scripts/requirements-sanitizers.txt"
make_venv "$ROOT/scripts/requirements.txt" >"$RESULTS/pip.log" 2>&1 &
INSTALLING=$!
trap 'kill $(jobs -p) 2>/dev/null' EXIT # if what follows fails
if [ "$MODE" = full ]; then
  build asan-ubsan
  unit_tests asan-ubsan
fi
wait "$INSTALLING" || { cat "$RESULTS/pip.log"; exit 1; }
cat "$RESULTS/pip.log"

build release
unit_tests release

say "the code itself"
check headers-compile-alone "$ROOT/scripts/check-headers.sh"
check exported-symbols "$ROOT/scripts/check-symbols.sh" "$ROOT/build/release"
check include-arrows "$ROOT/scripts/check-arrows.sh"
check clang-format bash -c "cd '$ROOT' && git ls-files '*.c' '*.h' | xargs clang-format --dry-run --Werror"
check ruff "$VENV/bin/ruff" check "$ROOT/python" "$ROOT/tests" "$ROOT/scripts" "$ROOT/examples" "$ROOT/benchmarks"
check mypy bash -c "cd '$ROOT/python' && '$VENV/bin/mypy' --strict arraybridge"

say "real images for the example, and the older releases beside this one"
check example-images "$PYTHON" "$ROOT/examples/decorated/sample_images.py" "$ROOT/build/images"
[ "$MODE" = quick ] ||
  check compare env PYTHON="$PYTHON" ARRAYBRIDGE_BUILD_DIR="$ROOT/build/release" sh "$ROOT/scripts/compare.sh" \
    --write "$RESULTS/compared.md"

say "the real frameworks"
export ARRAYBRIDGE_BUILD_DIR=$ROOT/build/release PYTHONPATH=$ROOT/python
frameworks together "not alone" -n "$(workers)"
frameworks alone "alone"
unset ARRAYBRIDGE_BUILD_DIR PYTHONPATH

if [ "$MODE" = full ]; then
  say "speed, against the frameworks' own calls (the bars are met if the log says so; a ratio 1.6 times its bar fails)"
  for benchmark in arrows decorators scaling stacks; do
    ARRAYBRIDGE_BUILD_DIR=$ROOT/build/release PYTHONPATH=$ROOT/python check "benchmark-$benchmark" \
      "$PYTHON" "$ROOT/benchmarks/$benchmark.py" --rounds 15 --strict 1.6 --json "$RESULTS/$benchmark.json"
    cat "$RESULTS/benchmark-$benchmark.log"
  done

  say "fuzzing for 20 seconds; installed, and used from outside; installed into an empty environment"
  check fuzz "$ROOT/scripts/fuzz.sh" 20 >"$RESULTS/fuzz.txt" & # on one core
  FUZZING=$!
  check install-outside-consumer "$ROOT/tests/install/consumer.sh"
  wait "$FUZZING"
  cat "$RESULTS/fuzz.txt"
  check install-wheel "$ROOT/tests/install/wheel.sh" # times an import: alone
fi
[ -n "$(command -v nvidia-smi)" ] || printf 'skipped\ttests/gpu\tno NVIDIA GPU on this machine\n' >>"$RESULTS/checks.tsv"

exec "$PYTHON" "$ROOT/scripts/summary.py" "$RESULTS"
