"""Times scaling of float32 images to integers beside NumPy's ``astype``, interleaved in one run, one thread each.

Usage::

    python benchmarks/scaling.py [--json FILE] [--rounds 40] [--size 2048] [--strict FACTOR]

For each pair and rule the table has: ours and ``astype`` of the same image (ms, the minimum over interleaved rounds),
their ratio, and the bar it must stay under where there is one. With ``--strict 1.5`` the exit code is 1 if a ratio is
above 1.5 times its bar (machines are shared and noisy). The NumPy expressions that people write instead are shown too.
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

import arraybridge
import numpy as np
from arraybridge._library import native

Call = Callable[[], Any]
BARS = {("uint8", "clip"): 1.3, ("uint8", "minmax"): 2.5}
RULES = ["clip", "minmax", "unit", "exact", "wrap"]


def images(size: int) -> dict[str, np.ndarray[Any, Any]]:
    """An image for each rule, such that its values need no error: grey values, fractions, whole numbers."""
    rng = np.random.default_rng(1)
    grey = rng.random((size, size), np.float32) * 255
    return {
        "clip": grey,
        "minmax": grey,
        "unit": rng.random((size, size), np.float32),
        "exact": np.rint(grey) // 2,
        "wrap": grey,
        "saturating": grey * 1.5 - 60,
    }


def expression(x: np.ndarray[Any, Any], target: str) -> np.ndarray[Any, Any]:
    """What clip is in NumPy."""
    info = np.iinfo(target)
    return np.clip(np.rint(x), info.min, info.max).astype(target)


def interleaved(calls: list[Call], rounds: int) -> list[float]:
    """The minimum over rounds for each call, ms; the calls take turns, so that noise meets all alike."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()  # the first call touches memory
    for _ in range(rounds):
        for index, call in enumerate(calls):
            start = time.perf_counter_ns()
            call()
            best[index] = min(best[index], (time.perf_counter_ns() - start) / 1e6)
    return best


def measure(size: int, rounds: int) -> list[dict[str, Any]]:
    """One row for each target and rule."""
    rows = []
    pictures = images(size)
    for target in ("uint8", "uint16", "int16", "int32"):
        for rule in [*RULES, "saturating"]:
            x = pictures[rule]
            word = "clip" if rule == "saturating" else rule
            calls: list[Call] = [
                lambda x=x, target=target, word=word: native.scale(x, "numpy", target, word),
                lambda x=pictures["clip"], target=target: x.astype(target),
            ]
            if word == "clip":
                calls.append(lambda x=x, target=target: expression(x, target))
            ours, plain, *numpy = interleaved(calls, rounds)
            rows.append(
                {
                    "target": target,
                    "rule": rule,
                    "ours_ms": ours,
                    "astype_ms": plain,
                    "expression_ms": numpy[0] if numpy else None,
                    "ratio": ours / plain,
                    "bar": BARS.get((target, rule)),
                }
            )
    return rows


def versions() -> dict[str, str]:
    """What the numbers belong to."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "arraybridge": arraybridge.__version__,
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def show(results: dict[str, Any]) -> None:
    """The table."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print("  ".join(f"{key} {value}" for key, value in results["versions"].items()))
    size = results["size"]
    table = Table(title=f"{size}x{size} float32 to integers, one thread, ms; the minimum over interleaved rounds")
    for column in ("to", "rule", "ours", "astype", "rint, clip, astype", "ratio to astype", "bar", ""):
        table.add_column(column, justify="left" if column in ("to", "rule", "") else "right")
    for row in results["rows"]:
        bar = row["bar"]
        table.add_row(
            row["target"],
            row["rule"],
            f"{row['ours_ms']:.2f}",
            f"{row['astype_ms']:.2f}",
            f"{row['expression_ms']:.2f}" if row["expression_ms"] else "",
            f"{row['ratio']:.2f}",
            f"{bar:.1f}" if bar else "",
            "" if not bar else "met" if row["ratio"] <= bar else "[bold]missed[/bold]",
        )
    console.print(table)


def main() -> int:
    """Measures, shows, and compares with the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--strict", type=float, help="fail if a ratio is above this many times its bar")
    arguments = parser.parse_args()
    with arraybridge.options(threads=1):
        rows = measure(arguments.size, arguments.rounds)
    results = {"versions": versions(), "size": arguments.size, "rows": rows}
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))
    if arguments.strict is None:
        return 0
    worst = [row for row in rows if row["bar"] and row["ratio"] > arguments.strict * row["bar"]]
    for row in worst:
        print(f"too slow: float32 -> {row['target']}, {row['rule']}: {row['ratio']:.2f} times astype")
    return 1 if worst else 0


if __name__ == "__main__":
    sys.exit(main())
