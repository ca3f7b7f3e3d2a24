# SPDX-License-Identifier: MIT
"""Decorated functions over two images and their labels: the quantities survive. ``python decorated_example.py --help``.

Exit codes: 0 all agrees with NumPy and SciPy, 1 something does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=Path, required=True, help="folder that sample_images.py has filled")
    parser.add_argument("--peer", type=Path, help="folder with an older release, from: pip install --target")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for what is written")
    return parser.parse_args()


def main() -> int:
    """Run the steps, compare, write."""
    options = arguments()
    console = Console()
    with console.status("importing the frameworks") as status:
        import quantities
        import quantity_picture
        import quantity_table
        import release_run
        import sample_images

        samples = sample_images.load(options.images)
        status.update("running the steps")
        releases = [release_run.run_here(samples)]
        if options.peer is not None:
            status.update(f"running the same steps on the release in {options.peer}")
            releases.append(release_run.run_older(options.images, options.peer))
        status.update("comparing with NumPy and SciPy")
        outcomes = releases[0].outcomes
        checks = [check for sample in samples for check in quantities.check_sample(sample, outcomes[sample.name])]
        rows = quantities.all_quantities(samples, releases)
        status.update("drawing")
        options.output.mkdir(parents=True, exist_ok=True)
        quantity_picture.draw(options.output / "decorated.png", samples, releases)
        quantity_table.write_text(options.output / "quantities.txt", samples, releases, rows, checks)
        quantities.write_quantities(options.output / "quantities.csv", rows)
        quantities.write_objects(options.output / "objects.csv", samples, releases)

    if not console.is_terminal:  # a pipe has no width of its own: 80 would cut the tables
        console.width = max(console.width, quantity_table.WIDE)
    quantity_table.show(console, samples, releases, rows, checks)
    for name in ("decorated.png", "quantities.txt", "quantities.csv", "objects.csv"):
        console.print(f"  {(options.output / name).resolve()}", highlight=False, soft_wrap=True)
    return 0 if all(check.passed for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
