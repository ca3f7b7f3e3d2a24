#!/bin/sh
# SPDX-License-Identifier: MIT
# Runs one list of cases on arraybridge 0.2.9, on 0.5.2 and on this tree, and says where they differ and who is right.
#
#   scripts/compare.sh [--write FILE.md] [WORD …]      only cases whose name has one of the words
#
# PYTHON: the interpreter, with the frameworks that the cases need (default: python3). ARRAYBRIDGE_BUILD_DIR: a build of
# this tree (default: build). Each release is installed into a folder of its own below build/compare, without the
# frameworks, which all three share; each case runs in a child process, which may die.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
folder=${ARRAYBRIDGE_COMPARE_DIR:-$root/build/compare}
build=${ARRAYBRIDGE_BUILD_DIR:-$root/build}
write=
if [ "${1:-}" = --write ]; then
  write=$2
  shift 2
fi
export TF_CPP_MIN_LOG_LEVEL=3

install() { # version, the pure Python packages that it needs
  [ -e "$folder/$1/arraybridge/__init__.py" ] && return
  version=$1
  shift
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$folder/$version" \
    "arraybridge==$version" "$@"
}

run() { # name, PYTHONPATH, words…
  name=$1
  path=$2
  shift 2
  echo "running the cases on $name" >&2
  PYTHONPATH=$path "$python" "$root/tests/compare/run_cases.py" "$folder/$name.json" "$@" >"$folder/$name.log" 2>&1 || {
    tail -5 "$folder/$name.log" >&2
    exit 1
  }
}

mkdir -p "$folder"
install 0.2.9 metaclass-registry
install 0.5.2 metaclass-registry python-introspect annotated-types
(unset ARRAYBRIDGE_BUILD_DIR; run 0.2.9 "$folder/0.2.9" "$@")
(unset ARRAYBRIDGE_BUILD_DIR; run 0.5.2 "$folder/0.5.2" "$@")
ARRAYBRIDGE_BUILD_DIR=$build
export ARRAYBRIDGE_BUILD_DIR
run here "$root/python" "$@"
"$python" "$root/tests/compare/table.py" "$folder" ${write:+"$write"}
