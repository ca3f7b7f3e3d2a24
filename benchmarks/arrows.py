"""Times every arrow between the installed frameworks beside the frameworks' own calls, interleaved in one run.

Usage::

    python benchmarks/arrows.py [--json FILE] [--plot FILE] [--rounds 40] [--strict FACTOR]

For each arrow the table has: ours and the fastest public call (ns for a 4x4 float32, the minimum over interleaved
rounds), their ratio, and the bar that the ratio must stay under. From pyclesperanto a hundred different arrays take
turns: the first conversion of a buffer has to map it, and one that is converted again and again is cheap. A 64 MiB
array follows, as an absolute time. With ``--strict 1.5`` the exit code is 1 if a ratio is above 1.5 times its bar
(machines are shared and noisy).
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import platform
import subprocess
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
import pyclesperanto as cle  # noqa: E402
import tensorflow as tf  # noqa: E402
import torch  # noqa: E402

Call = Callable[[], Any]
NAMES = ["numpy", "torch", "tensorflow", "jax", "pyclesperanto"]
BARS = {("numpy", "torch"): 0.9, ("torch", "numpy"): 0.6, **{("pyclesperanto", name): 1.2 for name in NAMES}}


def aligned(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Float32 ones on a 64-byte boundary, so that no framework has to copy."""
    memory = np.zeros(int(np.prod(shape)) * 4 + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array = memory[start : start + int(np.prod(shape)) * 4].view(np.float32).reshape(shape)
    array[...] = 1
    return array


def arrays(shape: tuple[int, ...]) -> dict[str, Any]:
    """The same array in every framework, made by the frameworks."""
    base = aligned(shape)
    return {
        "numpy": base,
        "torch": torch.from_numpy(aligned(shape)),
        "tensorflow": tf.constant(base),
        "jax": jnp.array(base).block_until_ready(),
        "pyclesperanto": cle.push(base),
    }


def public_calls(x: dict[str, Any]) -> dict[tuple[str, str], list[Call]]:
    """The public ways from one framework to another, as documentation shows them."""
    a, t, j, f = x["numpy"], x["torch"], x["jax"], x["tensorflow"]
    to_tf, from_tf = tf.experimental.dlpack.from_dlpack, tf.experimental.dlpack.to_dlpack
    return {
        ("numpy", "torch"): [lambda: torch.from_numpy(a), lambda: torch.as_tensor(a)],
        ("numpy", "tensorflow"): [lambda: tf.constant(a), lambda: to_tf(a.__dlpack__())],
        ("numpy", "jax"): [lambda: jnp.asarray(a), lambda: jax.device_put(a), lambda: jax.dlpack.from_dlpack(a)],
        ("numpy", "pyclesperanto"): [lambda: cle.push(a)],
        ("torch", "numpy"): [lambda: t.numpy(), lambda: np.asarray(t)],
        ("torch", "tensorflow"): [lambda: to_tf(t.__dlpack__()), lambda: tf.constant(t.numpy())],
        ("torch", "jax"): [lambda: jax.dlpack.from_dlpack(t), lambda: jnp.asarray(t.numpy())],
        ("torch", "pyclesperanto"): [lambda: cle.push(t.numpy())],
        ("tensorflow", "numpy"): [lambda: f.numpy(), lambda: np.asarray(f), lambda: np.from_dlpack(f)],
        ("tensorflow", "torch"): [lambda: torch.from_dlpack(from_tf(f)), lambda: torch.from_dlpack(f)],
        ("tensorflow", "jax"): [lambda: jax.dlpack.from_dlpack(f), lambda: jnp.asarray(f.numpy())],
        ("tensorflow", "pyclesperanto"): [lambda: cle.push(f.numpy())],
        ("jax", "numpy"): [lambda: np.asarray(j), lambda: np.from_dlpack(j)],
        ("jax", "torch"): [lambda: torch.from_dlpack(j)],
        ("jax", "tensorflow"): [lambda: to_tf(j.__dlpack__()), lambda: tf.constant(np.asarray(j))],
        ("jax", "pyclesperanto"): [lambda: cle.push(np.asarray(j))],
    }


def block(call: Call, count: int) -> float:
    """Mean time of ``count`` calls, ns."""
    start = time.perf_counter_ns()
    for _ in range(count):
        call()
    return (time.perf_counter_ns() - start) / count


def usable(call: Call) -> bool:
    """Whether the public call works at all here."""
    try:
        call()
    except Exception:
        return False
    return True


def interleaved(calls: list[Call], rounds: int) -> list[float]:
    """The minimum over rounds for each call, ns; the calls take turns, so that noise meets all alike."""
    best = [float("inf")] * len(calls)
    for call in calls:
        block(call, 50)  # the first calls fill caches
    counts = [max(5, min(5000, int(3e6 / max(block(call, 20), 50)))) for call in calls]
    for _ in range(rounds):
        for index, call in enumerate(calls):
            best[index] = min(best[index], block(call, counts[index]))
    return best


def small(rounds: int) -> list[dict[str, Any]]:
    """One row for each ordered pair, 4x4 float32."""
    x = arrays((4, 4))
    convert = arraybridge.convert
    rows = []
    for (source, target), calls in public_calls(x).items():
        calls = [call for call in calls if usable(call)]
        ours, *theirs = interleaved([lambda a=x[source], t=target: convert(a, t), *calls], rounds)
        bar = BARS.get((source, target), 1.0)
        rows.append(
            {
                "source": source,
                "target": target,
                "ours_ns": ours,
                "public_ns": min(theirs),
                "ratio": ours / min(theirs),
                "bar": bar,
            }
        )
        gc.collect()
    return rows


def many(rounds: int) -> list[dict[str, Any]]:
    """From pyclesperanto, 100 arrays in turn: the first conversion of a buffer has to map it."""
    turns = itertools.cycle([cle.push(aligned((4, 4))) for _ in range(100)])
    public: dict[str, list[Call]] = {
        "numpy": [lambda: next(turns).get(), lambda: cle.pull(next(turns))],
        "torch": [lambda: torch.from_numpy(next(turns).get())],
        "tensorflow": [lambda: tf.constant(next(turns).get())],
        "jax": [lambda: jnp.asarray(next(turns).get())],
    }
    rows = []
    for target, calls in public.items():
        ours, *theirs = interleaved([lambda t=target: arraybridge.convert(next(turns), t), *calls], rounds)
        bar = BARS["pyclesperanto", target]
        rows.append({"source": "pyclesperanto", "target": target, "ours_ns": ours, "public_ns": min(theirs),
                     "ratio": ours / min(theirs), "bar": bar})  # fmt: skip
        gc.collect()
    return rows


def same(rounds: int) -> list[dict[str, Any]]:
    """Same framework in and out."""
    x = arrays((4, 4))
    rows = []
    for name in NAMES:
        (ours,) = interleaved([lambda a=x[name], n=name, convert=arraybridge.convert: convert(a, n)], rounds)
        rows.append({"source": name, "target": name, "ours_ns": ours, "bound_ns": 150})
    return rows


def large(rounds: int) -> list[dict[str, Any]]:
    """64 MiB of float32: the time of a crossing that shares, us."""
    x = arrays((16, 1024, 1024))
    rows = []
    for source in NAMES:
        for target in NAMES:
            if source == target:
                continue
            times = []
            for _ in range(max(rounds, 15)):
                start = time.perf_counter_ns()
                result = arraybridge.convert(x[source], target)
                times.append((time.perf_counter_ns() - start) / 1e3)
                del result
            with arraybridge.records() as log:
                arraybridge.convert(x[source], target)
            rows.append(
                {
                    "source": source,
                    "target": target,
                    "best_us": min(times),
                    "median_us": sorted(times)[len(times) // 2],
                    "copied": log[0].copied,
                    "bound_us": 100,
                }
            )
    return rows


def import_time() -> dict[str, Any]:
    """`import arraybridge` in fresh processes, ms, and what it brought with it."""
    code = (
        "import sys, time; before = set(sys.modules); start = time.perf_counter(); import arraybridge; "
        "print((time.perf_counter() - start) * 1e3, "
        "sorted({'numpy', 'torch', 'tensorflow', 'jax', 'pyclesperanto', 'cupy'} & set(sys.modules)))"
    )
    outputs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout for _ in range(15)]
    times = [float(output.split()[0]) for output in outputs]
    return {
        "best_ms": min(times),
        "median_ms": sorted(times)[7],
        "bound_ms": 15,
        "frameworks": outputs[0].split(" ", 1)[1].strip(),
    }


def versions() -> dict[str, str]:
    """What the numbers belong to."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "torch": torch.__version__,
        "jax": jax.__version__,
        "tensorflow": tf.__version__,
        "pyclesperanto": cle.__version__,
        "arraybridge": arraybridge.__version__,
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def show(results: dict[str, Any]) -> None:
    """The tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print("  ".join(f"{key} {value}" for key, value in results["versions"].items()))
    table = Table(title="4x4 float32, ns; the minimum over interleaved rounds")
    for column in ("arrow", "ours", "fastest public", "ratio", "bar", ""):
        table.add_column(column, justify="left" if column in ("arrow", "") else "right")
    for row in results["small"]:
        met = row["ratio"] <= row["bar"]
        table.add_row(
            f"{row['source']} -> {row['target']}",
            f"{row['ours_ns']:,.0f}",
            f"{row['public_ns']:,.0f}",
            f"{row['ratio']:.2f}",
            f"{row['bar']:.1f}",
            "met" if met else "[bold]missed[/bold]",
        )
    for row in results["same"]:
        met = row["ours_ns"] <= row["bound_ns"]
        table.add_row(
            f"{row['source']} -> {row['target']}",
            f"{row['ours_ns']:,.0f}",
            "",
            "",
            f"{row['bound_ns']} ns",
            "met" if met else "[bold]missed[/bold]",
        )
    console.print(table)
    table = Table(title="64 MiB float32 on a 64-byte boundary, us")
    for column in ("arrow", "best", "median", "bound", ""):
        table.add_column(column, justify="left" if column in ("arrow", "") else "right")
    for row in results["large"]:
        table.add_row(
            f"{row['source']} -> {row['target']}",
            f"{row['best_us']:,.1f}",
            f"{row['median_us']:,.1f}",
            str(row["bound_us"]),
            "copied" if row["copied"] else "shared",
        )
    console.print(table)
    imported = results["import"]
    console.print(
        f"import arraybridge: best {imported['best_ms']:.1f} ms, median {imported['median_ms']:.1f} ms, "
        f"bound {imported['bound_ms']} ms; frameworks imported with it: {imported['frameworks']}"
    )


def plot(results: dict[str, Any], path: Path) -> None:
    """Ours beside the fastest public call, two dots an arrow: a logarithmic axis has no zero for bars to start from."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = results["small"]
    figure, axes = pyplot.subplots(figsize=(9, 7), layout="constrained")
    places = np.arange(len(rows))
    ours, public = ([row[name] / 1e3 for row in rows] for name in ("ours_ns", "public_ns"))
    axes.hlines(places, ours, public, color="#dddddd", linewidth=2, zorder=1)
    axes.scatter(public, places, s=45, label="fastest public call", color="#d55e00", marker="s", zorder=2)
    axes.scatter(ours, places, s=45, label="arraybridge", color="#0072b2", zorder=3)
    axes.set_yticks(places, [f"{row['source']} → {row['target']}" for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    axes.set_xlabel("time of one hand-over of a 4×4 float32, µs (logarithmic); from pyclesperanto 100 arrays in turn")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def main() -> int:
    """Measures, shows, and compares with the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--strict", type=float, help="fail if a ratio or time is above this many times its bar")
    arguments = parser.parse_args()
    results = {
        "versions": versions(),
        "small": small(arguments.rounds) + many(arguments.rounds),
        "same": same(arguments.rounds),
        "large": large(arguments.rounds),
        "import": import_time(),
    }
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))
    if arguments.plot:
        plot(results, arguments.plot)
    if arguments.strict is None:
        return 0
    factor = arguments.strict
    worst = [
        f"{row['source']} -> {row['target']}: {row['ratio']:.2f}"
        for row in results["small"]
        if row["ratio"] > factor * row["bar"]
    ]
    worst += [
        f"{row['source']}: {row['ours_ns']:.0f} ns"
        for row in results["same"]
        if row["ours_ns"] > factor * row["bound_ns"]
    ]
    worst += [
        f"{row['source']} -> {row['target']}: {row['best_us']:.0f} us"
        for row in results["large"]
        if row["best_us"] > factor * row["bound_us"] or row["copied"]
    ]
    if results["import"]["best_ms"] > factor * results["import"]["bound_ms"] or results["import"]["frameworks"] != "[]":
        worst.append(f"import: {results['import']}")
    for line in worst:
        print(f"too slow, or copied: {line}")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
