# Sourced by the other scripts: brings a bare Debian or Ubuntu machine to where the project builds.
# Sets ROOT, VENV and PYTHON. Everything it makes lies in $ROOT/.venv and $ROOT/build.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${ARRAYBRIDGE_VENV:-$ROOT/.venv}
PYTHON=$VENV/bin/python

say() { printf '\n== %s\n' "$*"; }

# ---------------------------------------------------------------- system packages

PACKAGES_BUILD=(gcc g++ make cmake ninja-build pkg-config libltdl-dev check python3 python3-venv python3-dev)
PACKAGES_OPENCL=(pocl-opencl-icd ocl-icd-opencl-dev opencl-headers)
PACKAGES_CHECKS=(clang clang-format libclang-rt-14-dev)

missing_packages() {
  local package
  for package in "$@"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$package"
  done
}

install_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "This script installs packages with apt-get only. Please install by hand what corresponds to: $*" >&2
    echo "Then set ARRAYBRIDGE_NO_INSTALL=1 and run it again." >&2
    [ -n "${ARRAYBRIDGE_NO_INSTALL:-}" ] || exit 1
    return 0
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Missing: ${missing[*]}. Run as root, or install sudo." >&2; exit 1; }
    as_root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# ---------------------------------------------------------------- Python

# The first interpreter that is 3.11 or later.
find_python() {
  local candidate
  for candidate in "${ARRAYBRIDGE_PYTHON:-}" python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    command -v "$candidate"
    return 0
  done
  echo "Python 3.11 or later is needed (set ARRAYBRIDGE_PYTHON)." >&2
  exit 1
}

# make_venv REQUIREMENTS: the environment with the frameworks; done once for each list of requirements.
make_venv() {
  local requirements=$1 stamp
  stamp=$VENV/requirements-$(basename "$requirements")
  [ -x "$PYTHON" ] || "$(find_python)" -m venv "$VENV"
  cmp -s "$requirements" "$stamp" && return 0
  say "installing the Python packages of $(basename "$requirements") (a few minutes the first time)"
  "$PYTHON" -m pip install -qq --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$stamp"
}

# ---------------------------------------------------------------- building

# build PRESET [cmake arguments]: configures and builds; prints what went wrong only.
build() {
  local preset=$1 log
  shift
  mkdir -p "$ROOT/build"
  log=$ROOT/build/$preset.log
  say "building ($preset)"
  (cd "$ROOT" && cmake --preset "$preset" -DPython_EXECUTABLE="$PYTHON" "$@" && cmake --build --preset "$preset") \
    >"$log" 2>&1 || { cat "$log"; exit 1; }
}
