# SPDX-License-Identifier: MIT
"""A 3-D image goes through NumPy, pyclesperanto, torch, JAX, TensorFlow and back: ``python pipeline.py --help``.

Exit codes: 0 the result agrees with NumPy and SciPy, 1 it does not, 2 the image or the command line is of no use.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# TensorFlow and XLA write about their build otherwise; the line on oneDNN comes at any log level (TensorFlow 2.21).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import arraybridge
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

# Before TensorFlow is imported: its LLVM symbols would otherwise disturb OpenCL on the CPU.
arraybridge.prepare()

def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image", type=Path, help="a TIFF stack, axes z, y, x (default: nuclei.tif)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for what is written")
    parser.add_argument("--crop", type=int, metavar="N", help="only the first N voxels of each axis: quicker")
    options = parser.parse_args()
    if options.crop is not None and options.crop < 2:
        parser.error(f"--crop {options.crop}: at least 2 voxels")
    return options


def progress_on(console: Console) -> Progress:
    """One line for each step, with the seconds it took."""
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}", table_column=None),
        BarColumn(bar_width=12),
        TimeElapsedColumn(),
        console=console,
    )


class Steps:
    """Tells a progress display which step runs: starting one ends the one before."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def start(self, text: str) -> None:
        """Show a new step."""
        self.end()
        self._progress.add_task(text, total=None)

    def end(self) -> None:
        """Mark the last step as done."""
        for task in self._progress.tasks:
            if not task.finished:
                self._progress.update(task.id, total=1, completed=1)


def main() -> int:
    """Run the demo; say in one line what is wrong with an image."""
    import nuclei

    options = arguments()
    try:
        return demonstrate(options, Console())
    except nuclei.Unusable as problem:
        print(f"pipeline.py: {problem}", file=sys.stderr)
        return 2


def demonstrate(options: argparse.Namespace, console: Console) -> int:
    """Run the pipeline, compare, draw, and print the tables."""
    import nuclei

    image = nuclei.load(options.image or nuclei.nuclei_path())
    image = image[(slice(options.crop),) * 3].copy() if options.crop else image
    with progress_on(console) as progress:
        steps = Steps(progress)
        steps.start("importing the frameworks")
        import agreement
        import chain
        import handover_table
        import picture
        import reference
        from crossing import RUNS, Crossings, best

        steps.start("warming up on a small image")
        chain.run(nuclei.made(), Crossings())

        runs = [Crossings(turn) for turn in range(RUNS)]
        result = chain.run(image, runs[0], steps.start)
        steps.start(f"{RUNS - 1} more runs, for the times")
        for again in runs[1:]:
            chain.run(image, again)
        crossings = best(runs)
        steps.start("the same in NumPy and SciPy")
        checks = agreement.compare(result, reference.run(image))
        steps.start("drawing")
        options.output.mkdir(parents=True, exist_ok=True)
        picture.draw(options.output / "pipeline.png", image, result)
        handover_table.write_text(options.output / "table.txt", crossings, checks)
        handover_table.write_measurements(options.output / "measurements.csv", result)
        steps.end()

    console.print()
    handover_table.show(console, crossings, checks)
    agreed = all(check.passed for check in checks)
    console.print()
    verdict = "[green]the result agrees.[/]" if agreed else "[bold red]THE RESULT DOES NOT AGREE.[/]"
    console.print(f"{len(result.groups)} objects; {verdict}")
    for name in ("pipeline.png", "table.txt", "measurements.csv"):
        console.print(f"  {(options.output / name).resolve()}", highlight=False, soft_wrap=True)
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
