"""Times stacks beside the frameworks' own calls, interleaved in one run.

Usage::

    python benchmarks/stacks.py [--json FILE] [--rounds 40] [--strict FACTOR]

Each row has ours and the framework's own way, both as the minimum over rounds that take turns, and what the issue
allows. For work slice by slice the row is the time per slice that is added to the framework's own loop, which indexes
the array and calls the same function; stacking the results is not part of it. With ``--strict 1.5`` the exit code is 1
if a row is above 1.5 times its bar (machines are shared and noisy).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import arraybridge

arraybridge.prepare()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

Call = Callable[[], Any]
SLICES = 200


def best_of(calls: list[Call], rounds: int, repeats: int) -> list[float]:
    """The minimum mean time of each call, ns; the calls take turns, so that noise meets all alike."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    for _ in range(rounds):
        for index, call in enumerate(calls):
            start = time.perf_counter_ns()
            for _ in range(repeats):
                call()
            best[index] = min(best[index], (time.perf_counter_ns() - start) / repeats)
    return best


def row(name: str, ours: float, own: float, value: float, bar: float | None, unit: str) -> dict[str, Any]:
    return {"name": name, "ours_ns": ours, "own_ns": own, "value": value, "bar": bar, "unit": unit}


def stacking(rounds: int) -> list[dict[str, Any]]:
    """Sixteen 512x512 float32 slices into one array."""
    slices = [np.random.default_rng(seed).random((512, 512), dtype=np.float32) for seed in range(16)]
    tensors = [torch.from_numpy(one) for one in slices]
    rows = []
    for name, given, own, bar in [
        ("stack 16 of 512² numpy", slices, lambda: np.stack(slices), 1.15),
        ("stack 16 of 512² torch", tensors, lambda: torch.stack(tensors), None),
    ]:
        target = name.rsplit(" ", 1)[-1]
        theirs, ours = best_of([own, lambda g=given, t=target: arraybridge.stack_slices(g, t)], rounds, 3)
        rows.append(row(name, ours, theirs, ours / theirs, bar, "times"))
    theirs, ours = best_of(
        [lambda: torch.from_numpy(np.stack(slices)), lambda: arraybridge.stack_slices(slices, "torch")], rounds, 3
    )
    rows.append(row("stack 16 of 512² numpy -> torch", ours, theirs, ours / theirs, None, "times"))
    return rows


def unstacking(rounds: int) -> list[dict[str, Any]]:
    """A stack of 64 slices."""
    volume = np.random.default_rng(0).random((64, 256, 256), dtype=np.float32)

    def to_torch() -> list[Any]:
        tensor = torch.from_numpy(volume)
        return [tensor[index] for index in range(64)]

    array, tensor = jnp.array(volume), tf.constant(volume)
    ways: list[tuple[str, Call, Call, float | None]] = [
        ("unstack 64 numpy -> torch", to_torch, lambda: arraybridge.unstack_slices(volume, "torch"), 1.3),
        (
            "unstack 64 numpy -> numpy",
            lambda: [volume[index] for index in range(64)],
            lambda: arraybridge.unstack_slices(volume, "numpy"),
            None,
        ),
        (
            "unstack 64 jax -> jax",
            lambda: jax.block_until_ready(jnp.unstack(array)),
            lambda: jax.block_until_ready(arraybridge.unstack_slices(array, "jax")),
            None,
        ),
        (
            "unstack 64 tensorflow -> tensorflow",
            lambda: tf.unstack(tensor),
            lambda: arraybridge.unstack_slices(tensor, "tensorflow"),
            None,
        ),
    ]
    rows = []
    for name, own, call, bar in ways:
        theirs, ours = best_of([own, call], rounds, 3)
        rows.append(row(name, ours, theirs, ours / theirs, bar, "times"))
    return rows


def slice_wise(rounds: int) -> list[dict[str, Any]]:
    """What each slice costs beyond the framework's own indexing, the function and the stacking of its result."""
    base = np.random.default_rng(0).random((SLICES, 16, 16), dtype=np.float32)

    def nothing(one: Any) -> None:
        return None

    def same(one: Any) -> Any:
        return one

    rows = []
    for name, image in [("numpy", base), ("torch", torch.from_numpy(base)), ("tensorflow", tf.constant(base)),
                        ("jax", jnp.array(base))]:  # fmt: skip
        def own(image: Any = image) -> list[Any]:
            return [nothing(image[index]) for index in range(SLICES)]

        bare, loop = arraybridge.slice_by_slice(nothing), arraybridge.slice_by_slice(same)
        pieces = arraybridge.unstack_slices(image, name)
        theirs, ours, whole, stacked = best_of(
            [own, lambda b=bare, i=image: b(i), lambda w=loop, i=image: w(i),
             lambda p=pieces, n=name: arraybridge.stack_slices(p, n)],
            max(3, rounds // 4), 1,
        )  # fmt: skip
        rows.append(row(f"slice by slice {name}", ours, theirs, (ours - theirs) / SLICES, 1000, "ns/slice"))
        rows.append(row(f"slice by slice {name}, stacked", whole, theirs + stacked,
                        (whole - theirs - stacked) / SLICES, 1000, "ns/slice"))  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--strict", type=float)
    options = parser.parse_args()
    rows = [*stacking(options.rounds), *unstacking(options.rounds), *slice_wise(options.rounds)]
    print(f"{'':40}{'ours':>12}{'own':>12}{'':>10}{'bar':>8}")
    for one in rows:
        bar = "" if one["bar"] is None else f"{one['bar']:g}"
        print(f"{one['name']:40}{one['ours_ns'] / 1e3:>9.1f} µs{one['own_ns'] / 1e3:>9.1f} µs"
              f"{one['value']:>10.2f}{bar:>8} {one['unit']}")  # fmt: skip
    if options.json:
        machine = {"python": platform.python_version(), "cpus": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    above = [one for one in rows if one["bar"] is not None and one["value"] > one["bar"] * (options.strict or 1)]
    for one in above:
        print(f"above its bar: {one['name']}: {one['value']:.2f} {one['unit']}, {one['bar']:g} allowed")
    return 1 if above and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
