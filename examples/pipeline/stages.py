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
from torch.nn.functional import max_pool3d

SIGMA = 2.0
"""Of the Gaussian. pyclesperanto cuts it off at 4 sigma and repeats the edge voxel outside the image."""
EROSION = 13
"""Edge of the cube that parts touching nuclei, voxels."""
GROWTH = 20
"""How far what erosion left may grow back, voxels; more than half of EROSION, since dents need longer."""
BINS = 256
"""Of the histogram that the threshold is taken from."""
ROUNDS = 10
"""Of k-means. It stands still long before."""

COLUMNS = ("volume", "mean", "z", "y", "x")
"""Of the table of measurements."""

# ---------------------------------------------------------------- pyclesperanto


def blur(image: Any) -> Any:
    """Gaussian blur in three dimensions."""
    return finished(cle.gaussian_blur(image, sigma_x=SIGMA, sigma_y=SIGMA, sigma_z=SIGMA))


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


def segment(blurred: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Give what lies above the threshold (bool), its eroded cores (uint8), and the threshold."""
    threshold = otsu(blurred)
    foreground = blurred > threshold
    background = (~foreground).float()[None, None]
    # The largest value in a cube, one axis after the other. Outside of the image counts as foreground.
    for edges in ((EROSION, 1, 1), (1, EROSION, 1), (1, 1, EROSION)):
        background = max_pool3d(background, edges, stride=1, padding=[edge // 2 for edge in edges])
    return foreground, (background[0, 0] == 0).to(torch.uint8), threshold


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
        return jnp.where((labels == 0) & foreground, neighbours_maximum(labels), labels)

    return lax.fori_loop(0, GROWTH, spread, cores)


@partial(jax.jit, static_argnames="count")
def measure(labels: jax.Array, image: jax.Array, count: int) -> jax.Array:
    """Measure each object: float32 (count, 5), the columns as in ``COLUMNS``."""

    def total(values: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(values.ravel(), labels.ravel(), count + 1)[1:]

    volume = total(jnp.ones(labels.shape, jnp.float32))
    places = [lax.broadcasted_iota(jnp.float32, labels.shape, axis) for axis in range(labels.ndim)]
    sums = jnp.stack([total(image), *map(total, places)], axis=1)
    return jnp.concatenate([volume[:, None], sums / volume[:, None]], axis=1)


# ---------------------------------------------------------------- TensorFlow


def group(measurements: tf.Tensor) -> tf.Tensor:
    """Part the objects into small (0) and large (1) ones: k-means on standardised log volume and mean intensity."""
    features = tf.stack([tf.math.log(measurements[:, 0]), measurements[:, 1]], axis=1)
    features -= tf.reduce_mean(features, axis=0)
    features = tf.math.divide_no_nan(features, tf.math.reduce_std(features, axis=0))
    centres = tf.gather(features, [tf.argmin(features[:, 0]), tf.argmax(features[:, 0])])
    for _ in range(ROUNDS):
        distances = tf.reduce_sum((features[:, None] - centres[None]) ** 2, axis=2)
        groups = tf.argmin(distances, axis=1, output_type=tf.int32)
        centres = tf.math.unsorted_segment_mean(features, groups, 2)
    return groups
