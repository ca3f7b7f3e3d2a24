# SPDX-License-Identifier: MIT
"""Does the result agree with the reference? Each check is a number beside its limit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from chain import Result
from numpy.typing import NDArray


@dataclass(frozen=True)
class Check:
    """One comparison."""

    what: str
    value: float
    limit: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the value keeps the limit; NaN does not."""
        return bool(self.value <= self.limit)


def partners(labels: NDArray[np.uint32], reference: NDArray[np.int32]) -> NDArray[np.intp] | None:
    """Say for each reference object which of ours it is, from 0; None unless they pair off one to one."""
    count = int(reference.max())
    if int(labels.max()) != count or count == 0:
        return None
    overlap = np.zeros((count + 1, count + 1), np.int64)
    np.add.at(overlap, (reference.ravel(), labels.ravel()), 1)
    best = overlap[1:, 1:].argmax(axis=1)
    return best if len(set(best.tolist())) == count else None


def compare(ours: Result, reference: Result) -> list[Check]:
    """Compare all that was computed. The frameworks calculate in float32, the reference in float64."""
    scale = float(np.ptp(reference.blurred))
    blur_error = float(np.abs(ours.blurred - reference.blurred).max())
    checks = [
        Check("blurred image, largest difference / range", blur_error / scale, 1e-6),
        Check("threshold, difference / range", abs(ours.threshold - reference.threshold) / scale, 1e-6),
        Check("mask, voxels that differ", 100 * np.mean(ours.foreground != reference.foreground), 0.001, "%"),
        Check("objects, difference in number", abs(len(ours.groups) - len(reference.groups)), 0),
    ]
    best = partners(ours.labels, reference.labels)
    if best is None:
        return [*checks, Check("objects that have no partner", np.nan, 0)]
    found, expected = ours.measurements[best].astype(np.float64), reference.measurements
    relative = 100 * np.abs(found[:, :2] / expected[:, :2] - 1)
    return [
        *checks,
        Check("volumes, largest difference", relative[:, 0].max(), 0.1, "%"),
        Check("mean intensities, largest difference", relative[:, 1].max(), 0.1, "%"),
        Check("centroids, largest distance", np.linalg.norm((found - expected)[:, 2:5], axis=1).max(), 0.02, "voxels"),
        Check("objects in another group", int((ours.groups[best] != reference.groups).sum()), 0),
    ]
