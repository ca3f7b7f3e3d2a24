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
from crossing import REPEATS, Crossing
from rich.console import Console
from rich.table import Table
from stages import COLUMNS

NAMES = {"numpy": "NumPy", "jax": "JAX", "tensorflow": "TensorFlow"}
PACKAGES = ("arraybridge", "numpy", "pyclesperanto", "torch", "jax", "tensorflow", "tensorflow-cpu")
GROUPS = ("small", "large")


def shown_size(count: int) -> str:
    """Bytes in a unit that fits: ``15.7 MB``."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


def shown_time(seconds: float) -> str:
    """A time in milliseconds, or in microseconds below one."""
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def handovers(crossings: list[Crossing]) -> Table:
    """One line a hand-over."""
    table = Table(title="Hand-overs", title_justify="left", title_style="bold", pad_edge=False)
    for heading in ("", "array", "from", "to"):
        table.add_column(heading, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("arraybridge", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("the frameworks' own call")
    table.add_column("time", justify="right", no_wrap=True)
    for number, crossing in enumerate(crossings, 1):
        record = crossing.record
        table.add_row(
            str(number),
            crossing.what,
            NAMES.get(record.source, record.source),
            NAMES.get(record.target, record.target),
            shown_size(record.bytes),
            "shared" if record.bytes_copied == 0 else f"{shown_size(record.bytes_copied)} copied",
            shown_time(crossing.seconds),
            crossing.own_call,
            shown_time(crossing.own_seconds),
        )
    total, own = sum(each.seconds for each in crossings), sum(each.own_seconds for each in crossings)
    copied = sum(each.record.bytes_copied for each in crossings)
    size = sum(each.record.bytes for each in crossings)
    table.add_section()
    table.add_row("", "together", "", "", shown_size(size), f"{shown_size(copied)} copied", shown_time(total), "", shown_time(own))
    return table


def footnotes(crossings: list[Crossing]) -> list[str]:
    """Why something was copied, and how it was measured."""
    notes = [
        f"{number}: copied because {'; '.join(reason for _, reason in each.record.declined if reason)}."
        for number, each in enumerate(crossings, 1)
        if each.record.bytes_copied and each.record.declined
    ]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return [
        *notes,
        f"Times: ours is the one call that the pipeline made; theirs is the best of {REPEATS} in the same run. Kernels "
        "have ended before a hand-over starts, and each arrow was used once before on a small part of the image.",
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
    table = Table(title="The same in NumPy and SciPy", title_justify="left", title_style="bold", pad_edge=False)
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
        show(Console(file=file, width=140, color_system=None), crossings, checks)


def show(console: Console, crossings: list[Crossing], checks: list[Check]) -> None:
    """Print both tables."""
    console.print(handovers(crossings))
    for note in footnotes(crossings):
        console.print(note, highlight=False)
    console.print()
    console.print(agreement(checks))


def write_measurements(path: Path, result: Result) -> None:
    """Write one line an object: lengths in voxels, intensities in the units of the image."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "volume_voxels", "mean_intensity", *(f"centroid_{axis}" for axis in COLUMNS[2:]), "group"])
        for label, (row, group) in enumerate(zip(result.measurements, result.groups, strict=True), 1):
            writer.writerow([label, int(row[0]), *np.round(row[1:].astype(float), 2).tolist(), GROUPS[group]])
