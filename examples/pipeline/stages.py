# SPDX-License-Identifier: MIT
"""What each framework computes. Every function takes and gives arrays of one framework only.

All volumes have the axes z, y, x; lengths are in voxels, intensities in the units of the image.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pyclesperanto as cle
import tensorflow as tf
import torch
from jax import lax

SIGMA = 2.0
"""Of the Gaussian. pyclesperanto cuts it off at 4 sigma and repeats the edge voxel outside the image."""
SEED_SIGMA = 6.0
"""Of the Gaussian that smooths the mask, voxels: holes in nuclei vanish, bridges between them grow thin."""
SEED_LEVEL = 0.85
"""What of the smoothed mask (0 to 1) is a core. Half way up lies a straight edge; above it touching nuclei part."""
GROWTH = 25
"""How far cores may grow back into the mask, voxels."""
BINS = 256
"""Of the histogram that the threshold is taken from."""
ROUNDS = 10
"""Of k-means. It stands still long before."""

COLUMNS = ("volume", "mean", "z", "y", "x", "cut")
"""Of the table of measurements. cut: 1 if the object reaches the edge of the image and may go on beyond it, else 0."""
CUT = 2
"""The group of those; the others are small (0) or large (1)."""

# ---------------------------------------------------------------- pyclesperanto


def blur(image: Any) -> Any:
    """Gaussian blur in three dimensions."""
    return finished(cle.gaussian_blur(image, sigma_x=SIGMA, sigma_y=SIGMA, sigma_z=SIGMA))


def find_cores(mask: Any) -> Any:
    """Give what lies well inside of a mask (uint8, 0 and 1): one part for each nucleus, if all goes well."""
    smooth = cle.gaussian_blur(mask, sigma_x=SEED_SIGMA, sigma_y=SEED_SIGMA, sigma_z=SEED_SIGMA)
    return finished(cle.greater_constant(smooth, scalar=SEED_LEVEL))


def label(mask: Any) -> Any:
    """Number the connected parts of a mask (26 neighbours): uint32, 0 outside."""
    return finished(cle.connected_component_labeling(mask, connectivity="box"))


def finished(array: Any) -> Any:
    """Wait for the queue by reading one element, so that the time of a kernel is not taken for that of a hand-over."""
    array[0, 0, 0]
    return array


# ---------------------------------------------------------------- torch


def otsu(values: torch.Tensor) -> float:
    """Give the threshold that parts the values best into two classes (Otsu 1979, doi:10.1109/TSMC.1979.4310076)."""
    low, high = values.aminmax()
    counts = torch.histc(values, BINS, low.item(), high.item()).double()
    width = (high.double() - low.double()) / BINS
    centres = low.double() + width * (torch.arange(BINS) + 0.5)
    below = counts.cumsum(0)
    above = below[-1] - below
    weighted = (counts * centres).cumsum(0)
    # The variance between the classes; the last place has nothing above it.
    between = below * above * (weighted / below - (weighted[-1] - weighted) / above) ** 2
    return float(centres[between[:-1].argmax()])


def segment(blurred: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Give what lies above Otsu's threshold (uint8, 0 and 1: pyclesperanto knows no bool), and the threshold."""
    threshold = otsu(blurred)
    return (blurred > threshold).to(torch.uint8), threshold


# ---------------------------------------------------------------- JAX


def neighbours_maximum(labels: jax.Array) -> jax.Array:
    """Give the largest label in the cube of 27 around each voxel: three passes, one an axis."""
    for axis in range(labels.ndim):
        size = labels.shape[axis]
        padded = jnp.pad(labels, [(1, 1) if other == axis else (0, 0) for other in range(labels.ndim)])
        windows = [lax.slice_in_dim(padded, start, start + size, axis=axis) for start in range(3)]
        labels = jnp.maximum(jnp.maximum(windows[0], windows[1]), windows[2])
    return labels


@jax.jit
def grow(cores: jax.Array, foreground: jax.Array) -> jax.Array:
    """Let the labels grow back into the foreground."""

    def spread(_: int, labels: jax.Array) -> jax.Array:
        return jnp.where((labels == 0) & (foreground != 0), neighbours_maximum(labels), labels)

    return lax.fori_loop(0, GROWTH, spread, cores)


@partial(jax.jit, static_argnames="count")
def measure(labels: jax.Array, image: jax.Array, count: int) -> jax.Array:
    """Measure each object: float32 (count, 6), the columns as in ``COLUMNS``."""

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values.ravel(), labels.ravel(), count + 1)[1:]

    volume = total(jnp.ones(labels.shape, jnp.float32))
    places = [lax.broadcasted_iota(jnp.float32, labels.shape, axis) for axis in range(labels.ndim)]
    sums = jnp.stack([total(image), *map(total, places)], axis=1)
    last = [place == size - 1 for place, size in zip(places, labels.shape, strict=True)]
    at_edge = sum((place == 0) | end for place, end in zip(places, last, strict=True)) > 0
    cut = total(at_edge.astype(jnp.float32)) > 0
    return jnp.concatenate([volume[:, None], sums / volume[:, None], cut[:, None]], axis=1)


# ---------------------------------------------------------------- TensorFlow


def group(measurements: tf.Tensor) -> tf.Tensor:
    """Part the whole objects into small (0) and large (1) ones; those that the edge of the image cuts are CUT (2).

    k-means on standardised log volume and mean intensity.
    """
    whole = measurements[:, 5] == 0
    if not tf.reduce_any(whole):
        return tf.fill(tf.shape(whole), CUT)
    places = tf.where(whole)
    features = tf.stack([tf.math.log(measurements[:, 0]), measurements[:, 1]], axis=1)[whole]
    features -= tf.reduce_mean(features, axis=0)
    features = tf.math.divide_no_nan(features, tf.math.reduce_std(features, axis=0))
    centres = tf.gather(features, [tf.argmin(features[:, 0]), tf.argmax(features[:, 0])])
    for _ in range(ROUNDS):
        distances = tf.reduce_sum((features[:, None] - centres[None]) ** 2, axis=2)
        groups = tf.argmin(distances, axis=1, output_type=tf.int32)
        centres = tf.math.unsorted_segment_mean(features, groups, 2)
    return tf.tensor_scatter_nd_update(tf.fill(tf.shape(whole), CUT), places, groups)
