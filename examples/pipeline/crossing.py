# SPDX-License-Identifier: MIT
"""Hand-overs: each goes through ``arraybridge.convert``, and is timed beside what the frameworks offer themselves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import arraybridge
import jax
import jax.numpy as jnp
import numpy as np
import pyclesperanto as cle
import tensorflow as tf
import torch

Own = dict[str, Callable[[Any], Any]]

OWN_CALLS: dict[tuple[str, str], Own] = {
    ("numpy", "pyclesperanto"): {"cle.push(x)": cle.push},
    ("pyclesperanto", "torch"): {"torch.from_numpy(x.get())": lambda x: torch.from_numpy(x.get())},
    ("torch", "pyclesperanto"): {"cle.push(x.numpy())": lambda x: cle.push(x.numpy())},
    ("pyclesperanto", "jax"): {
        "jnp.asarray(x.get())": lambda x: jnp.asarray(x.get()).block_until_ready(),
        "jax.dlpack.from_dlpack(x.get())": lambda x: jax.dlpack.from_dlpack(x.get()).block_until_ready(),
    },
    ("torch", "jax"): {"jax.dlpack.from_dlpack(x)": lambda x: jax.dlpack.from_dlpack(x).block_until_ready()},
    ("numpy", "jax"): {
        "jnp.asarray(x)": lambda x: jnp.asarray(x).block_until_ready(),
        "jax.dlpack.from_dlpack(x)": lambda x: jax.dlpack.from_dlpack(x).block_until_ready(),
    },
    ("jax", "tensorflow"): {
        "tf.constant(np.asarray(x))": lambda x: tf.constant(np.asarray(x)),
        "tf…dlpack.from_dlpack(x.__dlpack__())": lambda x: tf.experimental.dlpack.from_dlpack(x.__dlpack__()),
    },
    ("tensorflow", "numpy"): {"x.numpy()": lambda x: x.numpy(), "np.from_dlpack(x)": np.from_dlpack},
    ("jax", "numpy"): {"np.asarray(x)": np.asarray, "np.from_dlpack(x)": np.from_dlpack},
}
"""What a user writes without arraybridge, for each arrow of the pipeline."""

RUNS = 4
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
    """All hand-overs of a run, in order. ``turn``: who is first; ours in run 0."""

    def __init__(self, turn: int = 0) -> None:
        self.log: list[tuple[str, list[arraybridge.ConversionRecord], dict[str, float]]] = []
        self.turn = turn

    def hand(self, what: str, array: Any, target: str) -> Any:
        """Give ``array`` to the framework ``target`` and remember how that went."""
        source = arraybridge.detect_memory_type(array)
        kept: list[Any] = []

        def ours(x: Any) -> None:
            kept.append(arraybridge.convert(x, target))

        calls = {"": ours, **OWN_CALLS[source, target]}
        order = list(calls)
        first = self.turn % len(order)
        listening = arraybridge.records() if self.turn == 0 else nullcontext([])  # it takes some time: once is enough
        with listening as records:
            times = {name: timed(calls[name], array) for name in order[first:] + order[:first]}
        self.log.append((what, records, times))
        return kept[0]


def best(runs: list[Crossings]) -> list[Crossing]:
    """Give the hand-overs as the first run recorded them, with the best times of all runs."""
    result = []
    for same in zip(*(run.log for run in runs), strict=True):
        what, records, names = same[0]
        times = {name: min(each[2][name] for each in same) for name in names}
        ours = times.pop("")
        call = min(times, key=times.__getitem__)
        result.append(Crossing(what, records[0], ours, call, times[call]))
    return result


def timed(call: Callable[[Any], Any], argument: Any) -> float:
    """Seconds that one call takes; what it gives is dropped afterwards."""
    start = perf_counter()
    result = call(argument)
    seconds = perf_counter() - start
    del result
    return seconds
