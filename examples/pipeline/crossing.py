# SPDX-License-Identifier: MIT
"""Hand-overs: each goes through ``arraybridge.convert``, and is timed beside what the frameworks offer themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import perf_counter
from typing import Any

import arraybridge
import jax.numpy as jnp
import numpy as np
import pyclesperanto as cle
import tensorflow as tf
import torch

OWN_CALLS: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("numpy", "pyclesperanto"): ("cle.push(x)", cle.push),
    ("pyclesperanto", "torch"): ("torch.from_numpy(cle.pull(x))", lambda x: torch.from_numpy(cle.pull(x))),
    ("torch", "pyclesperanto"): ("cle.push(x.numpy())", lambda x: cle.push(x.numpy())),
    ("pyclesperanto", "jax"): ("jnp.asarray(cle.pull(x))", lambda x: jnp.asarray(cle.pull(x)).block_until_ready()),
    ("torch", "jax"): ("jnp.asarray(x.numpy())", lambda x: jnp.asarray(x.numpy()).block_until_ready()),
    ("numpy", "jax"): ("jnp.asarray(x)", lambda x: jnp.asarray(x).block_until_ready()),
    ("jax", "tensorflow"): ("tf.constant(np.asarray(x))", lambda x: tf.constant(np.asarray(x))),
    ("tensorflow", "numpy"): ("x.numpy()", lambda x: x.numpy()),
    ("jax", "numpy"): ("np.asarray(x)", np.asarray),
}
"""What a user writes without arraybridge, for each arrow of the pipeline."""

RUNS = 3
"""How often the pipeline runs for the times: frameworks keep what they have converted, so each run makes new arrays."""


@dataclass(frozen=True)
class Crossing:
    """One hand-over as it was done."""

    what: str
    record: arraybridge.ConversionRecord
    seconds: float  # the whole call, seen from Python
    own_call: str
    own_seconds: float


class Crossings:
    """All hand-overs of a run, in order."""

    def __init__(self) -> None:
        self.log: list[Crossing] = []

    def hand(self, what: str, array: Any, target: str) -> Any:
        """Give ``array`` to the framework ``target`` and remember how that went."""
        with arraybridge.records() as records:
            start = perf_counter()
            result = arraybridge.convert(array, target)
            seconds = perf_counter() - start
        record = records[-1]
        text, call = OWN_CALLS[record.source, record.target]
        self.log.append(Crossing(what, record, seconds, text, timed(call, array)))
        return result


def medians(runs: list[Crossings]) -> list[Crossing]:
    """Give the hand-overs of the last run, with the median times of all runs."""
    return [
        replace(
            same[-1],
            seconds=median(each.seconds for each in same),
            own_seconds=median(each.own_seconds for each in same),
        )
        for same in zip(*(run.log for run in runs), strict=True)
    ]


def timed(call: Callable[[Any], Any], argument: Any) -> float:
    """Seconds that one call takes."""
    start = perf_counter()
    call(argument)
    return perf_counter() - start
