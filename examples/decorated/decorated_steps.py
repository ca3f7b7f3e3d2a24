# SPDX-License-Identifier: MIT
"""The decorated functions. This file runs unchanged on this arraybridge and on the older releases 0.5.

Volumes have the axes z, y, x; lengths are in voxels, intensities in the units of the image. No decorator says anything
of dtypes, so the default holds in both: ``preserve``, results get the dtype of the first array.
"""

from __future__ import annotations

from typing import Any

import arraybridge
import jax
import jax.numpy as jnp
import pyclesperanto as cle
import torch

SIGMA = 1.0
"""Of the Gaussian, voxels. pyclesperanto repeats the edge voxel outside the image."""
BINOMIAL = (0.25, 0.5, 0.25)
"""The layer's weights along one axis. They add up to 1: the layer keeps the units of the image."""


def smoothing_layer() -> torch.nn.Conv3d:
    """Make a layer as networks have them, with weights whose effect is known."""
    layer = torch.nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    line = torch.tensor(BINOMIAL)
    with torch.no_grad():
        layer.weight[0, 0] = line[:, None, None] * line[:, None] * line
    return layer.requires_grad_(False)


LAYER = smoothing_layer()


@arraybridge.pyclesperanto
def blur(image: Any) -> Any:
    """Gaussian blur in three dimensions: float32, as pyclesperanto computes it."""
    return cle.gaussian_blur(image, sigma_x=SIGMA, sigma_y=SIGMA, sigma_z=SIGMA)


@arraybridge.torch
def smooth(image: Any) -> Any:
    """Apply the layer: float32, as torch's convolutions are."""
    return LAYER(image.float()[None, None])[0, 0]


@arraybridge.torch
def grow(labels: Any) -> Any:
    """Let each label grow by one voxel, the larger label where two meet: float32, since torch pools nothing else."""
    return torch.nn.functional.max_pool3d(labels.float()[None, None], 3, stride=1, padding=1)[0, 0]


@arraybridge.jax
def measure(image: Any, labels: Any) -> Any:
    """Measure each label from 1 on: mean intensities, float32, and volumes in voxels."""
    index = labels.ravel().astype(jnp.int32)
    count = int(index.max()) + 1
    sums = jax.ops.segment_sum(image.ravel().astype(jnp.float32), index, count)[1:]
    volumes = jax.ops.segment_sum(jnp.ones(index.shape, jnp.float32), index, count)[1:]
    return sums / jnp.maximum(volumes, 1), volumes
