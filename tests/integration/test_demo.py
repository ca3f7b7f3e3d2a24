"""The demo: on a part of a made image it agrees with NumPy and SciPy, writes what it says, and would tell if not."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

PIPELINE = Path(__file__).parents[2] / "examples" / "pipeline"
SIZE, CROP = 112, 96

CHILD = """
import json, runpy, sys
from pathlib import Path

pipeline, image, output = sys.argv[1:4]
sys.path.insert(0, pipeline)


def run(folder):
    sys.argv = ["pipeline.py", "--image", image, "--crop", "{crop}", "--output", str(Path(output, folder))]
    try:
        runpy.run_path(str(Path(pipeline, "pipeline.py")), run_name="__main__")
    except SystemExit as end:
        return end.code


good = run("good")
import stages

# A volume that is wrong by a thousand voxels: what a hand-over that changes numbers would do.
measure = stages.measure
stages.measure = lambda labels, *rest: measure(labels, *rest).at[0, 0].add(1000)
print("\\n" + json.dumps({{"good": good, "spoilt": run("spoilt")}}))
"""


def nuclei() -> np.ndarray[Any, Any]:
    """Balls of two sizes on a grid, apart from each other, one cut by the edge, some noise: uint16, axes z, y, x."""
    z, y, x = np.ogrid[:SIZE, :SIZE, :SIZE]
    image = np.random.default_rng(3).normal(200, 10, (SIZE,) * 3)
    centres = [(i, j, k) for i in (24, 72) for j in (24, 72) for k in (24, 72)]
    for number, (i, j, k) in enumerate(centres):
        image[(z - i) ** 2 + (y - j) ** 2 + (x - k) ** 2 < (16 if number % 2 else 20) ** 2] += 1000
    image[(z - 48) ** 2 + (y - 48) ** 2 + x**2 < 16**2] += 1000
    return image.round().astype(np.uint16)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int], str]:
    """One process runs the demo twice: as it is, and with a measurement spoilt on the way."""
    folder = tmp_path_factory.mktemp("demo")
    tifffile.imwrite(folder / "nuclei.tif", nuclei())
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(crop=CROP), str(PIPELINE), str(folder / "nuclei.tif"), str(folder)],
        capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


def test_it_agrees_with_numpy_and_scipy(demo: tuple[Path, dict[str, int], str]) -> None:
    folder, codes, output = demo
    assert codes["good"] == 0, output
    table = (folder / "good" / "table.txt").read_text("utf-8")
    assert "DIFFERS" not in table and table.count("agrees") == 8


def test_a_spoilt_result_is_told(demo: tuple[Path, dict[str, int], str]) -> None:
    folder, codes, output = demo
    assert codes["spoilt"] == 1, output
    assert "DIFFERS" in (folder / "spoilt" / "table.txt").read_text("utf-8")


def test_every_handover_is_in_the_table(demo: tuple[Path, dict[str, int], str]) -> None:
    table = (demo[0] / "good" / "table.txt").read_text("utf-8")
    names = ["NumPy", "pyclesperanto", "torch", "JAX", "TensorFlow", "NumPy"]
    for source, target in pairwise(names):
        assert f"{source} → {target}" in table


def test_the_picture_and_the_measurements_are_written(demo: tuple[Path, dict[str, int], str]) -> None:
    picture = (demo[0] / "good" / "pipeline.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 20_000
    with (demo[0] / "good" / "measurements.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    assert sorted(row["group"] for row in rows) == ["cut by the edge"] + ["large"] * 4 + ["small"] * 4
    assert [row["centroid_x"] for row in rows if float(row["centroid_x"]) < 10] == [
        row["centroid_x"] for row in rows if row["group"] == "cut by the edge"
    ]


def test_it_says_nothing_but_what_it_should(demo: tuple[Path, dict[str, int], str]) -> None:
    for noise in ("oneDNN", "absl", "Warning", "Traceback"):
        assert noise not in demo[2]


def refusal(folder: Path, *arguments: str) -> str:
    """What the demo says to an image that it cannot use."""
    done = subprocess.run(
        [sys.executable, str(PIPELINE / "pipeline.py"), *arguments, "--output", str(folder / "out")],
        capture_output=True, text=True, timeout=240, env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_an_image_that_is_of_no_use_is_told_in_a_line(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path, "--image", str(tmp_path / "nope.tif"))
    (tmp_path / "text.tif").write_text("no TIFF")
    assert "cannot read" in refusal(tmp_path, "--image", str(tmp_path / "text.tif"))
    tifffile.imwrite(tmp_path / "flat.tif", np.ones((40, 50), np.uint16))
    assert "40 × 50 (2-D)" in refusal(tmp_path, "--image", str(tmp_path / "flat.tif"))
    speck = np.zeros((24, 24, 24), np.uint8)
    speck[12, 12, 12] = 255
    tifffile.imwrite(tmp_path / "speck.tif", speck)
    assert "no object was found" in refusal(tmp_path, "--image", str(tmp_path / "speck.tif"))


def test_help_of_the_script_installs_and_builds_nothing() -> None:
    done = subprocess.run(
        ["bash", str(PIPELINE.parents[1] / "scripts" / "demo.sh"), "--help"],
        capture_output=True, text=True, timeout=20, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.startswith("usage:") and "==" not in done.stdout
