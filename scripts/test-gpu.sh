#!/usr/bin/env bash
# Builds, runs tests/gpu and benchmarks/gpu.py on a machine with an NVIDIA GPU, and leaves one results file:
# build/results/gpu.json (and gpu.txt for people). One call, nothing from outside: no package index, no apt.
#   scripts/test-gpu.sh        exit code 0: all right, or "skipped" as there is no GPU; 1: anything else
#
# What the machine lacks is taken from a folder of wheels and .debs, into build/gpu and nowhere else. Fill it where
# there is a network:
#   pip download --no-deps --only-binary=:all: --python-version 3.12 --platform manylinux_2_28_x86_64 \
#     --platform manylinux2014_x86_64 -d FOLDER apache-tvm-ffi array-api-compat …
#   (cd FOLDER && apt-get download libltdl7 libltdl-dev)
# What is not there either is named in the results, and what needs it is skipped.
#
#   ARRAYBRIDGE_WHEELS         that folder
#   ARRAYBRIDGE_PYTHON         the interpreter that has the frameworks (default: python3)
#   ARRAYBRIDGE_BUILD_DIR      a build of this tree: nothing is built then
#   ARRAYBRIDGE_RESULTS        where the results go (default: build/results)
#   ARRAYBRIDGE_GPU_LIMIT      seconds for everything together (default: 540)
#   ARRAYBRIDGE_GPU_ATTEMPTS   how often each schedule of streams is tried (default: 200)
source "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
PYTHON=${ARRAYBRIDGE_PYTHON:-$(command -v python3 || true)}
WHEELS=${ARRAYBRIDGE_WHEELS:-}
RESULTS=${ARRAYBRIDGE_RESULTS:-$ROOT/build/results}
LIMIT=${ARRAYBRIDGE_GPU_LIMIT:-540}
ENDING=10 # seconds kept back for the end
PARTS=$RESULTS/gpu
WORK=$ROOT/build/gpu

[ -n "$PYTHON" ] || { echo "skipped: no python3 on this machine"; exit 0; }

rm -rf "$PARTS" "$RESULTS/gpu.json" "$RESULTS/gpu.txt"
mkdir -p "$PARTS"
gather() { "$PYTHON" "$ROOT/scripts/gpu_results.py" "$RESULTS" "$@"; }

"$PYTHON" "$ROOT/scripts/gpu_machine.py" >"$PARTS/machine.json" && status=0 || status=$?
if [ "$status" -eq 3 ]; then
  gather || true
  echo "skipped: $("$PYTHON" -c 'import json, sys; print(json.load(sys.stdin).get("reason", ""))' <"$PARTS/machine.json")"
  exit 0
fi
[ "$status" -eq 0 ] || exit 1

# ---------------------------------------------------------------- what the machine lacks

SITE=$WORK/site
PREFIX=$WORK/prefix
export PYTHONPATH=$SITE${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# missing NAME WHAT: goes into the results.
missing() {
  printf '%s\t%s\n' "$1" "$2" >>"$PARTS/missing.tsv"
  echo "missing: $1 ($2)"
}

has_module() {
  "$PYTHON" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)' "$1" 2>/dev/null
}

# The newest cuda.h of a wheel, as CMake looks for it, or of a toolkit.
has_cuda_header() {
  "$PYTHON" - <<'END' || [ -e "${CUDA_HOME:-/usr/local/cuda}/include/cuda.h" ]
import glob, importlib.util, sys
spec = importlib.util.find_spec("nvidia")
roots = list(spec.submodule_search_locations or []) if spec else []
sys.exit(not any(glob.glob(f"{root}/*/include/cuda.h") for root in roots))
END
}

# take PACKAGE: from the folder of wheels, without what it depends on: that is the machine's, or named by itself.
take() {
  # Isolated: a configuration of pip may name further places.
  [ -n "$WHEELS" ] && PIP_CONFIG_FILE=/dev/null "$PYTHON" -m pip --isolated install -q --disable-pip-version-check \
    --no-index --find-links "$WHEELS" --no-deps --no-compile --target "$SITE" "$1" >>"$PARTS/packages.log" 2>&1
}

# need MODULE PACKAGE WHAT: the module is there, or comes from the folder, or is missing.
need() {
  has_module "$1" && return 0
  take "$2" && has_module "$1" && return 0
  missing "$2" "$3"
}

take_packages() {
  need tvm_ffi apache-tvm-ffi "dlpack.h: nothing can be built"
  has_cuda_header || { take nvidia-cuda-runtime && has_cuda_header; } ||
    missing nvidia-cuda-runtime "cuda.h: the CUDA layer is built without CUDA"
  local pair name
  for pair in iniconfig:iniconfig packaging:packaging pluggy:pluggy pygments:pygments pytest:pytest; do
    need "${pair%:*}" "${pair#*:}" "no test can run"
  done
  for pair in mdurl:mdurl markdown_it:markdown-it-py rich:rich array_api_compat:array-api-compat; do
    need "${pair%:*}" "${pair#*:}" "arraybridge needs it for tables or dtype policies"
  done
  need ml_dtypes ml_dtypes "no bfloat16, no float8"
  for name in numpy torch cupy jax tensorflow; do
    has_module "$name" || missing "$name" "what needs this framework is skipped"
  done
  for pair in toolz:toolz pyclesperanto_opencl:pyclesperanto-opencl pyclesperanto:pyclesperanto; do
    need "${pair%:*}" "${pair#*:}" "pyclesperanto is left out"
  done
}

has_ltdl() { echo '#include <ltdl.h>
int main(void) { return lt_dlinit(); }' | cc "$@" -x c - -lltdl -o "$PARTS/ltdl" 2>/dev/null; }

# libltdl from .debs, unpacked beside the build: the system stays as it is, and no root is needed.
LTDL=()
take_ltdl() {
  has_ltdl && return 0
  local deb folder
  mkdir -p "$PREFIX"
  for deb in "${WHEELS:-/nowhere}"/libltdl*.deb; do
    [ -e "$deb" ] && dpkg -x "$deb" "$PREFIX"
  done
  for folder in "$PREFIX"/usr/lib/*/ "$PREFIX"/usr/lib/; do
    [ -e "$folder/libltdl.so" ] && has_ltdl "-I$PREFIX/usr/include" "-L$folder" || continue
    LTDL=(-DLTDL_LIBRARY="${folder%/}/libltdl.so" -DLTDL_INCLUDE_DIR="$PREFIX/usr/include")
    return 0
  done
  missing libltdl-dev "nothing can be built"
}

# ---------------------------------------------------------------- steps, each with its own limit

CHILD=
stop() {
  [ -z "$CHILD" ] || kill "$CHILD" 2>/dev/null || true
  printf 'failed\tthe run\t%s\twas stopped from outside\n' "$SECONDS" >>"$PARTS/steps.tsv"
  gather >/dev/null || true
  exit 1
}
trap stop TERM INT HUP
gather --watch $$ >/dev/null 2>&1 &
WATCH=$!
trap 'kill "$WATCH" 2>/dev/null || true' EXIT

# outcome STATUS LIMIT: what an exit status means. 5 is pytest's "nothing to run": the whole file was skipped.
outcome() {
  case $1 in
    0) printf 'passed\t' ;;
    5) printf 'skipped\tnothing in it could run here' ;;
    124 | 137) printf 'failed\tstopped after its limit of %s s' "$2" ;;
    *) printf 'failed\tended with %s' "$1" ;;
  esac
}

# show LOG: what went wrong, of a parallel build as well.
show() {
  { grep -nE 'error:|\*\*\*|CMake Error|Error running' "$1" | head -n 10 || true; tail -n 30 "$1"; } | sed 's/^/    /'
}

# step NAME LIMIT COMMAND…: returns 0 if it passed. Its output is in PARTS/NAME.log; shown when it fails.
step() {
  local name=$1 limit=$2 begun=$SECONDS left status=0 word detail
  shift 2
  left=$((LIMIT - SECONDS - ENDING))
  if [ "$left" -lt 5 ]; then
    printf 'skipped\t%s\t0\tno time was left of %s s\n' "$name" "$LIMIT" >>"$PARTS/steps.tsv"
    return 1
  fi
  [ "$limit" -lt "$left" ] || limit=$left
  timeout -k 5 "$limit" "$@" >"$PARTS/$name.log" 2>&1 &
  CHILD=$!
  wait "$CHILD" || status=$?
  CHILD=
  IFS=$'\t' read -r word detail < <(outcome "$status" "$limit"; echo)
  printf '%s\t%s\t%s\t%s\n' "$word" "$name" $((SECONDS - begun)) "$detail" >>"$PARTS/steps.tsv"
  printf '  %-14s %s (%s s) %s\n' "$name" "$word" $((SECONDS - begun)) "$detail"
  [ "$word" != failed ] || show "$PARTS/$name.log"
  [ "$word" = passed ]
}

compile() {
  local generator="Unix Makefiles" build=$WORK/build
  command -v ninja >/dev/null && generator=Ninja
  # Another generator than the last time: a folder of its own.
  build=$build-${generator%% *}
  local cmake=(cmake)
  command -v cmake >/dev/null || cmake=("$PYTHON" -m cmake)
  "${cmake[@]}" -S "$ROOT" -B "$build" -G "$generator" -DCMAKE_BUILD_TYPE=Release -DARRAYBRIDGE_TESTS=OFF \
    -DPython_EXECUTABLE="$PYTHON" ${LTDL[@]+"${LTDL[@]}"} && "${cmake[@]}" --build "$build" --parallel "$(nproc)" &&
    ln -sfn "$build" "$WORK/current"
}

# How long each file of tests may take, seconds; one that is not named here 90.
limit_of() {
  case $1 in
    test_order) echo 240 ;;
    test_memory) echo 150 ;;
    *) echo 90 ;;
  esac
}

# In this order: what tells most comes before the time runs out.
test_files() {
  local name
  for name in test_pairs test_order test_memory; do
    [ ! -e "$ROOT/tests/gpu/$name.py" ] || echo "$name"
  done
  for name in "$ROOT"/tests/gpu/test_*.py; do
    name=$(basename "$name" .py)
    case $name in test_pairs | test_order | test_memory) ;; *) echo "$name" ;; esac
  done
}

say "what the machine lacks"
take_packages
if [ -z "${ARRAYBRIDGE_BUILD_DIR:-}" ]; then
  take_ltdl
  say "building"
  export -f compile
  export ROOT WORK PYTHON
  step build 240 bash -c "$(declare -p LTDL); set -e; compile" || { touch "$PARTS/ended"; gather || true; exit 1; }
  export ARRAYBRIDGE_BUILD_DIR=$WORK/current
fi
# Once more: with the versions of what was taken from the folder.
"$PYTHON" "$ROOT/scripts/gpu_machine.py" >"$PARTS/machine-now.json" && mv "$PARTS/machine-now.json" "$PARTS/machine.json"
export PYTHONPATH=$ROOT/python:$PYTHONPATH

say "tests and benchmark"
for name in $(test_files); do
  ARRAYBRIDGE_GPU_CHECKS=$PARTS/checks-$name.jsonl step "$name" "$(limit_of "$name")" \
    "$PYTHON" -m pytest -q -p no:cacheprovider --tb=short -rs "$ROOT/tests/gpu/$name.py" || true
done
if has_module cupy && has_module torch && has_module jax; then
  step benchmark 200 "$PYTHON" "$ROOT/benchmarks/gpu.py" --strict 1 --json "$PARTS/benchmark.json" || true
else
  printf 'skipped\tbenchmark\t0\tit needs CuPy, torch and JAX\n' >>"$PARTS/steps.tsv"
fi

touch "$PARTS/ended"
kill "$WATCH" 2>/dev/null || true
wait "$WATCH" 2>/dev/null || true
gather && status=0 || status=$?
echo
cat "$RESULTS/gpu.txt"
exit "$status"
