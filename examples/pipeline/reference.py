# SPDX-License-Identifier: MIT
"""The same pipeline in NumPy and SciPy alone, in double precision: what the demo is measured against."""

from __future__ import annotations

import numpy as np
from chain import Result
from numpy.typing import NDArray
from scipy import ndimage
from stages import BINS, CUT, GROWTH, ROUNDS, SEED_LEVEL, SEED_SIGMA, SIGMA


def otsu(values: NDArray[np.float64]) -> float:
    """Give the threshold that parts the values best into two classes."""
    counts, edges = np.histogram(values, BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = counts.cumsum()[:-1]
    above = values.size - below
    sums = (counts * centres).cumsum()
    between = below * above * (sums[:-1] / below - (sums[-1] - sums[:-1]) / above) ** 2
    return float(centres[between.argmax()])


def grow(labels: NDArray[np.int32], foreground: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Let the labels grow back into the foreground."""
    for _ in range(GROWTH):
        near = ndimage.maximum_filter(labels, 3, mode="constant")
        labels = np.where((labels == 0) & foreground, near, labels)
    return labels


def measure(labels: NDArray[np.int32], image: NDArray[np.float32]) -> NDArray[np.float64]:
    """Measure each object: (objects, 6), columns as in ``stages.COLUMNS``."""
    index = np.arange(1, labels.max() + 1)
    exact = image.astype(np.float64)
    volume = ndimage.sum_labels(np.ones_like(exact), labels, index)
    mean = ndimage.mean(exact, labels, index)
    centroid = ndimage.center_of_mass(np.ones_like(exact), labels, index)
    inside = np.zeros(labels.shape, bool)
    inside[1:-1, 1:-1, 1:-1] = True
    cut = np.isin(index, labels[~inside])
    return np.column_stack([volume, mean, np.array(centroid), cut])


def group(measurements: NDArray[np.float64]) -> NDArray[np.int32]:
    """Part the whole objects into small and large ones."""
    whole = measurements[:, 5] == 0
    result = np.full(len(whole), CUT, np.int32)
    if not whole.any():
        return result
    features = np.column_stack([np.log(measurements[:, 0]), measurements[:, 1]])[whole]
    features = features - features.mean(axis=0)
    spread = features.std(axis=0)
    features = np.divide(features, spread, out=np.zeros_like(features), where=spread > 0)
    centres = features[[features[:, 0].argmin(), features[:, 0].argmax()]]
    for _ in range(ROUNDS):
        groups = ((features[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.array([features[groups == k].mean(axis=0) if (groups == k).any() else [0, 0] for k in (0, 1)])
    result[whole] = groups
    return result


def run(image: NDArray[np.float32]) -> Result:
    """Run the whole pipeline."""
    blurred = ndimage.gaussian_filter(image.astype(np.float64), SIGMA, mode="nearest", truncate=4.0)
    threshold = otsu(blurred)
    foreground = blurred > threshold
    smooth = ndimage.gaussian_filter(foreground.astype(np.float64), SEED_SIGMA, mode="nearest", truncate=4.0)
    cores = smooth > SEED_LEVEL
    core_labels, _ = ndimage.label(cores, np.ones((3, 3, 3)))
    labels = grow(core_labels, foreground)
    measurements = measure(labels, image)
    return Result(blurred, threshold, foreground, cores, labels, measurements, group(measurements))
