# SPDX-License-Identifier: MIT
"""The quantities of images, labels and measurements, and whether they survived."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from decorated_steps import BINOMIAL, SIGMA
from numpy.typing import NDArray
from release_run import Outcome, Release
from sample_images import Sample, three_labels
from scipy import ndimage

STEPS = {
    "blurred": "Gaussian blur, pyclesperanto",
    "smoothed": "convolution layer, torch",
}
"""The steps whose result is an image, by the field of an Outcome."""
ROUNDING = 0.6
"""How far a voxel may be from the reference in grey values: 0.5 by rounding, the rest by computing in float32."""


@dataclass(frozen=True)
class Quantities:
    """Of one image; all of it in its own units."""

    sample: str
    step: str  # "input", or a key of STEPS
    release: str  # "" for the input
    dtype: str
    minimum: float
    mean: float
    maximum: float
    integrated: float  # sum over all voxels

    @classmethod
    def of(cls, sample: str, step: str, release: str, image: NDArray[np.generic]) -> Quantities:
        """Take them from an image, in double precision."""
        total = float(image.sum(dtype=np.float64))
        low, high = float(image.min()), float(image.max())
        return cls(sample, step, release, str(image.dtype), low, total / image.size, high, total)


@dataclass(frozen=True)
class Check:
    """One comparison with NumPy and SciPy in double precision."""

    sample: str
    what: str
    value: float
    limit: float
    unit: str

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit; NaN does not."""
        return bool(self.value <= self.limit)


def all_quantities(samples: list[Sample], releases: list[Release]) -> list[Quantities]:
    """Give the quantities of each input and of what each release made of it."""
    rows = []
    for sample in samples:
        rows.append(Quantities.of(sample.name, "input", "", sample.image))
        for step in STEPS:
            for release in releases:
                image = getattr(release.outcomes[sample.name], step)
                rows.append(Quantities.of(sample.name, step, release.version, image))
    return rows


def present(sample: Sample) -> NDArray[np.intp]:
    """Give the labels that occur, without 0, in ascending order."""
    return np.unique(sample.labels)[1:].astype(np.intp)


def true_means(sample: Sample) -> NDArray[np.float64]:
    """Give the mean intensity of each object in the input, in the order of ``present``."""
    return np.asarray(ndimage.mean(sample.image.astype(np.float64), sample.labels, present(sample)))


def found_means(sample: Sample, outcome: Outcome) -> NDArray[np.float64]:
    """Give the mean intensity of each object as measured, in the order of ``present``."""
    return outcome.means[present(sample) - 1].astype(np.float64)


def expected_images(sample: Sample) -> dict[str, NDArray[np.float64]]:
    """Compute the steps in NumPy and SciPy."""
    exact = sample.image.astype(np.float64)
    smoothed = exact
    for axis in range(exact.ndim):
        smoothed = ndimage.convolve1d(smoothed, BINOMIAL, axis, mode="nearest")
    return {"blurred": ndimage.gaussian_filter(exact, SIGMA, mode="nearest"), "smoothed": smoothed}


def check_labels(name: str, what: str, before: NDArray[np.unsignedinteger], after: NDArray[np.generic]) -> Check:
    """Count the voxels whose label is not what SciPy says."""
    wrong = int((ndimage.maximum_filter(before, 3, mode="constant") != after).sum())
    return Check(name, what, wrong + (before.dtype != after.dtype), 0, "voxels")


def check_sample(sample: Sample, outcome: Outcome) -> list[Check]:
    """Compare all that one release made of one sample."""
    expected = expected_images(sample)
    checks = [
        Check(sample.name, f"{text}: largest difference", difference(getattr(outcome, step), expected[step]), ROUNDING,
              "grey values")
        for step, text in STEPS.items()
    ]  # fmt: skip
    index = present(sample)
    reference = ndimage.mean(expected["smoothed"], sample.labels, index)
    relative = 100 * np.abs(found_means(sample, outcome) / reference - 1).max()
    volumes = ndimage.sum_labels(np.ones(sample.labels.shape), sample.labels, index)
    return [
        *checks,
        Check(sample.name, "mean intensity of each object, JAX: largest difference", relative, 0.1, "%"),
        Check(sample.name, "volumes, JAX: largest difference", difference(outcome.volumes[index - 1], volumes), 0,
              "voxels"),
        check_labels(sample.name, "labels grown, torch: wrong", sample.labels, outcome.grown),
        check_labels(sample.name, "three labels grown, torch: wrong", three_labels(sample.labels), outcome.three_grown),
    ]  # fmt: skip


def difference(found: NDArray[np.generic], expected: NDArray[np.float64]) -> float:
    """Give the largest difference of two images."""
    return float(np.abs(found.astype(np.float64) - expected).max())


def write_quantities(path: Path, rows: list[Quantities]) -> None:
    """Write one line an image."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Quantities.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(vars(row) for row in rows)


def write_objects(path: Path, samples: list[Sample], releases: list[Release]) -> None:
    """Write one line an object: its volume in voxels, its mean intensity in the input and as each release measured."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "label", "volume", "input", *(release.version for release in releases)])
        for sample in samples:
            outcomes = [release.outcomes[sample.name] for release in releases]
            columns = [true_means(sample), *(found_means(sample, outcome) for outcome in outcomes)]
            volumes = outcomes[0].volumes[present(sample) - 1]
            for label, volume, *means in zip(present(sample), volumes, *columns, strict=True):
                writer.writerow([sample.name, label, int(volume), *(f"{mean:.6g}" for mean in means)])
