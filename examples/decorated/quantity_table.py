# SPDX-License-Identifier: MIT
"""The tables: quantities before and after, labels before and after, objects, and the comparison with SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from quantities import STEPS, Check, Quantities, found_means, present, true_means
from release_run import Release
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from sample_images import Sample, three_labels

WIDE = 118
"""Characters in a line of the file, and of a pipe."""
OBJECTS = 5
"""How many objects of each sample the table shows."""


def empty(title: str) -> Table:
    """Make a table without rows."""
    return Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))


def shown(value: float) -> str:
    """Give a number of at most seven places: ``198.0``, ``2.134e+07``."""
    if value == int(value) and abs(value) < 1e7:
        return f"{int(value)}"
    return f"{value:.1f}" if abs(value) < 1e6 else f"{value:.4g}"


def changed(after: float, before: float) -> str:
    """Say by how much a quantity has changed: in percent, or how many times larger it is."""
    if after > 3 * before:
        return f"x {after / before:.0f}"
    return f"{100 * (after / before - 1):+.2f} %"


def images_table(rows: list[Quantities], ours: str) -> Table:
    """One line an image; the change is that of the integrated intensity, and so of the mean."""
    table = empty("Intensities, in grey values: integrated is the sum over all voxels")
    for name in ("sample", "step", "arraybridge", "dtype"):
        table.add_column(name, no_wrap=True)
    for name in ("min", "mean", "max", "integrated", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    before = rows[0]
    for row in rows:
        if row.step == "input":
            before = row
            table.add_section()
        numbers = map(shown, (row.minimum, row.mean, row.maximum, row.integrated))
        change = "" if row is before else changed(row.integrated, before.integrated)
        text = STEPS.get(row.step, row.step)
        style = "" if row.release in ("", ours) else "red"
        table.add_row(row.sample, text, row.release, row.dtype, *numbers, change, style=style)
    return table


def values(labels: NDArray[np.generic]) -> str:
    """List the labels that occur, shortened."""
    found = np.unique(labels)
    if len(found) <= 5:
        return " ".join(map(str, found))
    return f"{found[0]} {found[1]} {found[2]} … {found[-1]} ({len(found)} values)"


def labels_table(samples: list[Sample], releases: list[Release]) -> Table:
    """One line a label image."""
    table = empty("Labels, grown by one voxel in torch")
    table.add_column("sample")
    table.add_column("dtype", no_wrap=True)
    table.add_column("before", no_wrap=True)
    for release in releases:
        table.add_column(release.version)
    for sample in samples:
        for field, name, before in (
            ("grown", sample.name, sample.labels),
            ("three_grown", f"{sample.name}, three of them", three_labels(sample.labels)),
        ):
            after = [values(getattr(release.outcomes[sample.name], field)) for release in releases]
            table.add_row(name, str(before.dtype), values(before), *after)
    return table


def objects_table(samples: list[Sample], releases: list[Release]) -> Table:
    """Show the first objects of each sample. The measurement is one of the smoothed image, so a little lower."""
    table = empty(f"Mean intensity of the first {OBJECTS} objects, measured in JAX on the smoothed image")
    table.add_column("sample")
    for name in ("label", "in the input", *(release.version for release in releases)):
        table.add_column(name, justify="right")
    for sample in samples:
        columns = [found_means(sample, release.outcomes[sample.name]) for release in releases]
        rows = zip(present(sample), true_means(sample), *columns, strict=True)
        for label, *means in list(rows)[:OBJECTS]:
            table.add_row(sample.name, str(label), *(f"{mean:.1f}" for mean in means))
        table.add_section()
    return table


def checks_table(checks: list[Check], ours: str) -> Table:
    """One line a check."""
    table = empty(f"arraybridge {ours} beside the same steps in NumPy and SciPy, double precision")
    table.add_column("sample")
    table.add_column("compared", no_wrap=True)
    table.add_column("found", justify="right", no_wrap=True)
    table.add_column("allowed", justify="right", no_wrap=True)
    table.add_column("")
    for check in checks:
        numbers = (f"{check.value:.2g} {check.unit}", f"{check.limit:g} {check.unit}")
        verdict = "agrees" if check.passed else "DIFFERS"
        table.add_row(check.sample, check.what, *numbers, verdict, style="" if check.passed else "bold red")
    return table


def show(
    console: Console, samples: list[Sample], releases: list[Release], rows: list[Quantities], checks: list[Check]
) -> None:
    """Print all tables."""
    ours = releases[0].version
    for table in (
        images_table(rows, ours),
        labels_table(samples, releases),
        objects_table(samples, releases),
        checks_table(checks, ours),
    ):
        console.print(table)
    if len(releases) == 1:
        console.print("No older release beside it: --peer FOLDER says where one is.")


def write_text(
    path: Path, samples: list[Sample], releases: list[Release], rows: list[Quantities], checks: list[Check]
) -> None:
    """Write them as plain text."""
    with path.open("w", encoding="utf-8") as file:
        show(Console(file=file, width=WIDE, color_system=None), samples, releases, rows, checks)
