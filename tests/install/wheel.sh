#!/usr/bin/env bash
# `pip install` of a clean copy into an empty environment, and what must work there before any framework is installed.
# Then a plugin is made from the template with the very commands of docs/plugin-author.md.
# AB_WORK names an empty folder that is kept; otherwise a temporary one is made and removed.
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/bootstrap.sh"
WORK=${AB_WORK:-$(mktemp -d)}
[ -n "${AB_WORK:-}" ] || trap 'rm -rf "$WORK"' EXIT
unset PYTHONPATH ARRAYBRIDGE_BUILD_DIR ARRAYBRIDGE_PLUGIN_PATH
failures=0

# expect WHAT COMMAND…: one check; its output is shown when it fails.
expect() {
  local what=$1
  shift
  if "$@" >"$WORK/check.log" 2>&1; then
    printf 'ok      %s\n' "$what"
  else
    printf 'FAILED  %s\n' "$what"
    sed 's/^/        /' "$WORK/check.log"
    failures=$((failures + 1))
  fi
}

# What git knows, as it is on the disk; without git, everything but what was built.
clean_copy() {
  mkdir -p "$1"
  if git -C "$ROOT" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
    git -C "$ROOT" ls-files -z --cached --others --exclude-standard |
      tar -C "$ROOT" --null --ignore-failed-read -cf - -T - | tar -C "$1" -xf -
  else
    tar -C "$ROOT" --exclude=./build --exclude=./.venv --exclude=./.git -cf - . | tar -C "$1" -xf -
  fi
}

say "a clean copy, pip install into an empty environment"
clean_copy "$WORK/source"
INTERPRETER=$PYTHON
[ -x "$INTERPRETER" ] || INTERPRETER=$(find_python)
"$INTERPRETER" -m venv --clear "$WORK/venv"
FRESH=$WORK/venv/bin
"$FRESH/pip" install -q --disable-pip-version-check "$WORK/source" >"$WORK/pip.log" 2>&1 ||
  { cat "$WORK/pip.log"; echo "FAILED  pip install"; exit 1; }
cd "$WORK" # nothing of the sources is in reach

say "no framework is installed"
expect "import arraybridge" "$FRESH/python" -c 'import arraybridge; print(arraybridge.__version__)'
expect "no framework comes with it" "$FRESH/python" -c '
from importlib.util import find_spec
names = ("numpy", "torch", "tensorflow", "jax", "cupy", "pyclesperanto")
assert not [name for name in names if find_spec(name)], "the environment is not empty"'
expect "all six plugins load" "$FRESH/python" -c '
import arraybridge
wanted = ["cupy", "jax", "numpy", "pyclesperanto", "tensorflow", "torch"]
names = sorted(one.name for one in arraybridge.backends())
assert names == wanted, names
assert not any(one.installed for one in arraybridge.backends())'
expect "arraybridge info --json --no-devices" bash -c \
  "'$FRESH/arraybridge' info --json --no-devices | '$FRESH/python' -m json.tool"
expect "arraybridge doctor --fast" "$FRESH/arraybridge" doctor --fast
expect "python -m arraybridge --version" "$FRESH/python" -m arraybridge --version

say "the import"
expect "under 15 ms, no framework in sys.modules" "$FRESH/python" -c '
import json, subprocess, sys
CODE = """
import sys, time
start = time.perf_counter()
import arraybridge
took = time.perf_counter() - start
import json
names = {"numpy", "torch", "tensorflow", "jax", "cupy", "pyclesperanto", "rich"}
print(json.dumps([took * 1e3, sorted(names & set(sys.modules))]))
"""
runs = [json.loads(subprocess.check_output([sys.executable, "-c", CODE])) for _ in range(20)]
best = min(took for took, _ in runs)
print(f"best of {len(runs)}: {best:.1f} ms")
assert best < 15, f"best of {len(runs)}: {best:.1f} ms"
assert not any(names for _, names in runs), runs'
cat "$WORK/check.log"

say "what the wheel holds"
PACKAGE=$("$FRESH/python" -c 'import arraybridge, os; print(os.path.dirname(arraybridge.__file__))')
for file in lib/libarraybridge.so.1 _native.so command/__init__.py include/arraybridge/arraybridge.h \
  include/arraybridge/plugin.h include/arraybridge/types.h include/arraybridge/python/abpy.h include/dlpack/dlpack.h \
  lib/cmake/arraybridge/arraybridge-config.cmake lib/cmake/arraybridge-sdk/arraybridge-sdk-config.cmake \
  lib/cmake/arraybridge-sdk/ArraybridgePlugin.cmake share/arraybridge/template/CMakeLists.txt \
  share/arraybridge/template/array_plugin.c share/arraybridge/template/README.md share/arraybridge/plugin-author.md \
  plugins/arraybridge_{numpy,torch,tensorflow,jax,pyclesperanto,cupy}.so; do
  expect "$file" test -s "$PACKAGE/$file"
done
expect "py.typed" test -e "$PACKAGE/py.typed"
expect "nothing of the build is left in it" bash -c \
  "! grep -rlaF -e '$WORK/source' --include='*.so*' --include='*.cmake' --include='*.pc' --include='*.py' '$PACKAGE'"
expect "no link that leads out of it" bash -c "! find '$PACKAGE' -xtype l | grep ."
expect "LICENSE" bash -c "ls '$PACKAGE'/../arraybridge-*.dist-info/licenses/LICENSE"

say "with NumPy"
"$FRESH/pip" install -q --disable-pip-version-check numpy >"$WORK/pip.log" 2>&1 ||
  { cat "$WORK/pip.log"; echo "FAILED  pip install numpy"; exit 1; }
expect "NumPy to NumPy, copied and not" "$FRESH/python" -c '
import arraybridge
import numpy as np
array = np.arange(24, dtype=np.int16).reshape(4, 6)[::-1, ::2]
copy = arraybridge.convert(array, "numpy", copy=True)
assert type(copy) is np.ndarray and copy.dtype == array.dtype
assert np.array_equal(copy, array) and not np.shares_memory(copy, array)
assert np.shares_memory(arraybridge.convert(array, "numpy"), array)'
expect "a missing framework names its pip install" "$FRESH/python" -c '
import arraybridge
import numpy as np
try:
    arraybridge.convert(np.zeros(3), "torch")
except arraybridge.MemoryConversionError as error:
    assert error.status == "UNAVAILABLE" and "pip install torch" in error.hint, vars(error)
else:
    raise SystemExit("converted to a framework that is not there")'
expect "doctor sees NumPy" bash -c "'$FRESH/arraybridge' doctor --fast | grep -E 'ok +numpy +[0-9]'"

say "a plugin from the template, as docs/plugin-author.md has it"
# block N: the N-th block of shell commands of the page, as it stands there.
block() {
  awk -v wanted="$1" '/^```sh$/ {n++; inside = 1; next} /^```$/ {inside = 0} inside && n == wanted' \
    "$WORK/source/docs/plugin-author.md"
}
cp -r "$PACKAGE/share/arraybridge/template" "$WORK/template"
(
  cd "$WORK/template"
  # As a reader has it: the environment is active, and the commands are pasted one after the other.
  printf 'export PATH=%q:$PATH\nset -ex\n' "$FRESH"
  block 1
  printf 'test -s build/plugins/arraybridge_array.so\n'
  block 2
  printf 'python %q\n' "$WORK/source/tests/install/use_template.py"
) >"$WORK/paste.sh"
expect "its commands, pasted" bash -c "cd '$WORK/template' && bash '$WORK/paste.sh'"
export ARRAYBRIDGE_PLUGIN_PATH=$WORK/template/build/plugins
expect "doctor lists it" bash -c "'$FRESH/arraybridge' doctor --fast | grep -E 'ok .*arraybridge_array.so'"

if [ "$failures" -ne 0 ]; then echo "$failures checks failed"; exit 1; fi
echo "all checks passed"
