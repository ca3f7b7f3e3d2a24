# SPDX-License-Identifier: MIT
"""The pipeline: five frameworks, every arrow between them an ``arraybridge.convert``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import arraybridge
import numpy as np
import stages
from crossing import Crossings
from nuclei import Unusable
from numpy.typing import NDArray

STEPS = (
    "pyclesperanto: Gaussian blur",
    "torch: Otsu threshold",
    "pyclesperanto: cores, connected components",
    "JAX: growing back, measuring",
    "TensorFlow: k-means",
)


@dataclass(frozen=True)
class Result:
    """What came out, in NumPy arrays; volumes with axes z, y, x, objects in the order of their labels from 1."""

    blurred: NDArray[np.float32]
    threshold: float
    foreground: NDArray[np.bool_]
    cores: NDArray[np.uint8]
    labels: NDArray[np.uint32]
    measurements: NDArray[np.float32]  # (objects, 6), columns as in stages.COLUMNS
    groups: NDArray[np.int32]  # (objects,), 0 small, 1 large, 2 cut by the edge of the image


def run(image: NDArray[np.float32], crossings: Crossings, say: Callable[[str], None] = lambda step: None) -> Result:
    """Run the whole pipeline; ``say`` hears the name of each step before it starts."""
    hand = crossings.hand

    say(STEPS[0])
    blurred = stages.blur(hand("image", image, "pyclesperanto"))

    say(STEPS[1])
    blurred = hand("blurred", blurred, "torch")
    foreground, threshold = stages.segment(blurred)

    say(STEPS[2])
    cores = stages.find_cores(hand("mask", foreground, "pyclesperanto"))
    core_labels = stages.label(cores)

    say(STEPS[3])
    # All hand-overs first: JAX computes behind one's back, and a hand-over would have to wait for that.
    core_labels = hand("core labels", core_labels, "jax")
    foreground_here, image_here = hand("mask", foreground, "jax"), hand("image", image, "jax")
    labels = stages.grow(core_labels, foreground_here)
    count = int(labels.max())
    if count == 0:
        raise Unusable("no object was found: nothing in the image is bright and wide enough to be a nucleus")
    measurements = stages.measure(labels, image_here, count).block_until_ready()

    say(STEPS[4])
    groups = stages.group(hand("measurements", measurements, "tensorflow"))

    return Result(
        blurred=arraybridge.convert(blurred, "numpy"),
        threshold=threshold,
        foreground=arraybridge.convert(foreground, "numpy") != 0,
        cores=arraybridge.convert(cores, "numpy"),
        labels=hand("labels", labels, "numpy"),
        measurements=hand("measurements", measurements, "numpy"),
        groups=hand("groups", groups, "numpy"),
    )
