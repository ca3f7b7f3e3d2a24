#!/usr/bin/env bash
# The installed libraries, used by projects that know nothing of this repository: the C example, each plugin by itself,
# and a plugin made from sdk/template as docs/plugin-author.md says it.
# AB_BUILD names another build than build/release; AB_WORK a folder that is kept.
source "$(dirname "${BASH_SOURCE[0]}")/../../scripts/bootstrap.sh"
BUILD=${AB_BUILD:-$ROOT/build/release}
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
    return 0
  fi
  printf 'FAILED  %s\n' "$what"
  sed 's/^/        /' "$WORK/check.log"
  failures=$((failures + 1))
  return 1
}

[ -f "$BUILD/build.ninja" ] || build release
PREFIX=$WORK/prefix
say "cmake --install into a prefix"
rm -rf "$PREFIX"
expect "cmake --install" cmake --install "$BUILD" --prefix "$PREFIX" || exit 1
CONFIG=$(find "$PREFIX" -name arraybridge-config.cmake)
LIBDIR=$(dirname "$(dirname "$(dirname "$CONFIG")")")
for file in "$LIBDIR/libarraybridge.so" "$LIBDIR/libarraybridge.so.1" "$LIBDIR/pkgconfig/arraybridge-sdk.pc" \
  "$PREFIX/include/arraybridge/arraybridge.h" "$PREFIX/include/arraybridge/plugin.h" "$PREFIX/include/arraybridge/python/abpy.h" \
  "$PREFIX/include/dlpack/dlpack.h" "$PREFIX/share/arraybridge/template/array_plugin.c" \
  "$PREFIX/share/arraybridge/plugin-author.md"; do
  expect "${file#"$PREFIX/"}" test -s "$file" || true
done
expect "no installed CMake or pkg-config file names the sources" \
  bash -c "! grep -rl -e '$ROOT' -e '$BUILD' '$PREFIX' --include='*.cmake' --include='*.pc'" || true

# configure_and_build SOURCE BUILD [cmake arguments]: from outside of the repository.
configure_and_build() {
  local source=$1 build=$2
  shift 2
  cmake -S "$source" -B "$build" -G Ninja "$@" && cmake --build "$build"
}

say "the C example, with find_package"
cp -r "$ROOT/examples/c" "$WORK/c"
if expect "configures and builds" configure_and_build "$WORK/c" "$WORK/c-build" -DCMAKE_PREFIX_PATH="$PREFIX"; then
  expect "its test passes" ctest --test-dir "$WORK/c-build" --output-on-failure --no-tests=error || true
fi
expect "a plugin built with pkg-config and no CMake" bash -c "
  cc -shared -fPIC -fvisibility=hidden -Wl,-z,now \
    \$(PKG_CONFIG_PATH='$LIBDIR/pkgconfig' pkg-config --cflags arraybridge-sdk) \
    '$WORK/c/samples_plugin.c' -o '$WORK/arraybridge_samples.so'
  readelf --dyn-syms -W '$WORK/arraybridge_samples.so' | grep -w arraybridge_plugin" || true

say "each plugin by itself"
mkdir -p "$WORK/plugins"
for plugin in numpy torch tensorflow jax pyclesperanto cupy; do
  cp -r "$ROOT/plugins/$plugin" "$WORK/plugins/$plugin"
  expect "$plugin configures and builds" configure_and_build "$WORK/plugins/$plugin" "$WORK/plugins/$plugin-build" \
    -DCMAKE_PREFIX_PATH="$PREFIX" -DPython_EXECUTABLE="$PYTHON" || continue
  expect "$plugin installs" cmake --install "$WORK/plugins/$plugin-build" --prefix "$WORK/alone" || continue
  expect "$plugin lies where plugins are looked for" \
    bash -c "find '$WORK/alone' -path '*/arraybridge/plugins/arraybridge_$plugin.so' | grep ." || true
done

# The package as it was built, with no plugin but those that were just built alone.
say "the plugins that were built alone, in use"
mkdir -p "$WORK/package/python" "$WORK/package/plugins"
cp "$BUILD/python/_native.so" "$WORK/package/python/"
find "$WORK/alone" -name 'arraybridge_*.so' -exec cp {} "$WORK/package/plugins/" \;
shim() { PYTHONPATH=$ROOT/python ARRAYBRIDGE_BUILD_DIR=$WORK/package "$PYTHON" "$@"; }
expect "all six load, NumPy to torch and back" shim -c '
import arraybridge
import numpy as np
names = sorted(one.name for one in arraybridge.backends())
assert names == ["cupy", "jax", "numpy", "pyclesperanto", "tensorflow", "torch"], arraybridge.load_trace()
array = np.arange(6, dtype=np.float32)
tensor = arraybridge.convert(array, "torch")
tensor[0] = 9
assert array[0] == 9 and np.array_equal(arraybridge.convert(tensor, "numpy"), array)' || true

say "a plugin from sdk/template, against the prefix (wheel.sh builds it against the Python package)"
cp -r "$PREFIX/share/arraybridge/template" "$WORK/template"
if expect "configures and builds" configure_and_build "$WORK/template" "$WORK/template/build" \
  -DCMAKE_PREFIX_PATH="$PREFIX" -DPython_EXECUTABLE="$PYTHON"; then
  export ARRAYBRIDGE_PLUGIN_PATH=$WORK/template/build/plugins
  expect "is found and shares its memory" shim "$ROOT/tests/install/use_template.py" || true
  expect "doctor lists it" bash -c "PYTHONPATH='$ROOT/python' ARRAYBRIDGE_BUILD_DIR='$WORK/package' \
    '$PYTHON' -m arraybridge doctor --fast | grep -E 'ok +.*arraybridge_array.so'" || true
fi

if [ "$failures" -ne 0 ]; then echo "$failures checks failed"; exit 1; fi
echo "all checks passed"
