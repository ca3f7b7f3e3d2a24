# SPDX-License-Identifier: MIT
"""The tables of the demo: the hand-overs, and the comparison with the reference."""

from __future__ import annotations

import csv
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from agreement import Check
from chain import Result
from crossing import RUNS, Crossing
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

NAMES = {"numpy": "NumPy", "jax": "JAX", "tensorflow": "TensorFlow"}
PACKAGES = ("arraybridge", "numpy", "pyclesperanto", "torch", "jax", "tensorflow", "tensorflow-cpu")
UNITS = ("volume_voxels", "mean_intensity", "centroid_z", "centroid_y", "centroid_x")
GROUPS = ("small", "large", "cut by the edge")
WIDE = 126
"""Characters in a line that the whole table needs."""


def shown_size(count: int) -> str:
    """Bytes in a unit that fits: ``15.7 MB``."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def shown_time(seconds: float) -> str:
    """A time in milliseconds, or in microseconds below one."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds * 1e3:.0f} ms"


def handovers(crossings: list[Crossing], *, wide: bool) -> Table:
    """One line a hand-over; a wide table has the sizes and the calls that ours is compared with, too."""
    gap = (0, 1, 0, 0) if wide else 0
    table = Table(title="Hand-overs", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=gap)
    table.add_column("array", no_wrap=True)
    table.add_column("from → to", no_wrap=True)
    table.add_column("route", no_wrap=True)
    table.add_column("copied", justify="right", no_wrap=True)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("theirs", justify="right", no_wrap=True)
    if wide:
        table.add_column("size", justify="right", no_wrap=True)
        table.add_column("theirs is", no_wrap=True)
    for crossing in crossings:
        record = crossing.record
        cells = (
            crossing.what,
            f"{NAMES.get(record.source, record.source)} → {NAMES.get(record.target, record.target)}",
            record.mechanism,
            shown_size(record.bytes_copied),
            shown_time(crossing.seconds),
            shown_time(crossing.own_seconds),
        )
        table.add_row(*cells, *((shown_size(record.bytes), crossing.own_call) if wide else ()))
    copied, size, ours, theirs = totals(crossings)
    table.add_section()
    cells = ("together", "", "", shown_size(copied), shown_time(ours), shown_time(theirs))
    table.add_row(*cells, *((shown_size(size), "") if wide else ()))
    return table


def totals(crossings: list[Crossing]) -> tuple[int, int, float, float]:
    """Bytes copied, bytes in all, seconds of ours, seconds of the frameworks' own calls."""
    return (
        sum(each.record.bytes_copied for each in crossings),
        sum(each.record.bytes for each in crossings),
        sum(each.seconds for each in crossings),
        sum(each.own_seconds for each in crossings),
    )


def footnotes(crossings: list[Crossing]) -> list[str]:
    """Why something was copied, and how it was measured."""
    notes = [
        f"{each.what} → {each.record.target}: copied because {'; '.join(reason for _, reason in each.record.declined)}."
        for each in crossings
        if each.record.bytes_copied and each.record.declined
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        *notes,
        f"Times: the best of {RUNS} runs of the pipeline. Ours and the frameworks' own calls get the same array in "
        "turn, another one first in each run: whoever is first pays for what the framework then keeps. Where there are "
        "several public calls, the fastest counts. Kernels have ended before a hand-over starts, and a run on a small "
        "image has started everything.",
        f"Machine: {processor()}, {cores} cores, {platform.system()}, Python {platform.python_version()}; "
        + ", ".join(filter(None, map(name_and_version, PACKAGES)))
        + ".",
    ]


def name_and_version(package: str) -> str:
    """``numpy 2.4.6``; empty for one that is not installed under that name (tensorflow has several)."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def processor() -> str:
    """What the processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def agreement(checks: list[Check]) -> Table:
    """One line a check."""
    title = "The same in NumPy and SciPy"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("compared", no_wrap=True)
    table.add_column("found", justify="right")
    table.add_column("allowed", justify="right")
    table.add_column("")
    for check in checks:
        verdict = "agrees" if check.passed else "DIFFERS"
        table.add_row(
            check.what,
            f"{check.value:.2g} {check.unit}".strip(),
            f"{check.limit:g} {check.unit}".strip(),
            verdict,
            style="" if check.passed else "bold red",
        )
    return table


def write_text(path: Path, crossings: list[Crossing], checks: list[Check]) -> None:
    """Write both tables as plain text."""
    with path.open("w", encoding="utf-8") as file:
        show(Console(file=file, width=WIDE, color_system=None), crossings, checks)


def show(console: Console, crossings: list[Crossing], checks: list[Check]) -> None:
    """Print both tables."""
    console.print(handovers(crossings, wide=console.width >= WIDE))
    for note in footnotes(crossings):
        console.print(note, highlight=False)
    console.print()
    console.print(agreement(checks))


def write_measurements(path: Path, result: Result) -> None:
    """Write one line an object: lengths in voxels, intensities in the units of the image."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", *UNITS, "group"])
        for label, (row, group) in enumerate(zip(result.measurements, result.groups, strict=True), 1):
            writer.writerow([label, int(row[0]), *np.round(row[1:5].astype(float), 2).tolist(), GROUPS[group]])
