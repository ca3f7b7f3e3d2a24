"""The example of decorated functions: quantities survive it, on made images and on the real ones where they are.

The real ones are looked for in ``ARRAYBRIDGE_EXAMPLE_IMAGES`` or ``build/images`` (examples/decorated/README.md says
how they come there), the older release where ``scripts/compare.sh`` leaves it.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "decorated"
IMAGES = Path(os.environ.get("ARRAYBRIDGE_EXAMPLE_IMAGES", ROOT / "build" / "images"))
PEER = Path(os.environ.get("ARRAYBRIDGE_COMPARE_DIR", ROOT / "build" / "compare"), "0.5.2")
needs_peer = pytest.mark.skipif(not (PEER / "arraybridge").exists(), reason=f"no older release in {PEER}")
needs_images = pytest.mark.skipif(not (IMAGES / "img3d.tif").exists(), reason=f"no images in {IMAGES}")
CHECKS = 12

CHILD = """
import json, runpy, sys
from contextlib import nullcontext
from pathlib import Path

example, images, output, peer, spoil = sys.argv[1:6]
sys.path.insert(0, example)


def run(folder, *more):
    sys.argv = ["decorated_example.py", "--images", images, "--output", str(Path(output, folder)), *more]
    try:
        runpy.run_path(str(Path(example, "decorated_example.py")), run_name="__main__")
    except SystemExit as end:
        return end.code


codes = {"good": run("good", *(["--peer", peer] if peer else []))}
if spoil:
    import arraybridge

    # What the older release does, asked for: the comparison has to notice.
    with arraybridge.options(scaling="minmax"):
        codes["stretched"] = run("stretched")
print("\\n" + json.dumps(codes))
"""


@dataclass(frozen=True)
class Done:
    """What a run has left."""

    folder: Path
    codes: dict[str, Any]
    output: str

    def text(self, run: str) -> str:
        return (self.folder / run / "quantities.txt").read_text("utf-8")

    def images(self, run: str) -> dict[tuple[str, str, bool], dict[str, str]]:
        """The lines of quantities.csv by sample, step, and whether they are of the older release."""
        with (self.folder / run / "quantities.csv").open(encoding="utf-8") as file:
            return {(row["sample"], row["step"], row["release"] == "0.5.2"): row for row in csv.DictReader(file)}

    def objects(self, run: str, sample: str) -> list[list[float]]:
        """Label, volume and mean intensities of each object of a sample."""
        with (self.folder / run / "objects.csv").open(encoding="utf-8") as file:
            return [[float(cell) for cell in row[1:]] for row in csv.reader(file) if row[0] == sample]


def run_example(images: Path, folder: Path, *, peer: bool, spoil: bool) -> Done:
    arguments = [str(EXAMPLE), str(images), str(folder), str(PEER) if peer else "", "yes" if spoil else ""]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, timeout=400,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Done(folder, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr)


def balls(shape: tuple[int, int, int], radius: int, pitch: int) -> np.ndarray[Any, Any]:
    """Labels of balls on a grid: uint16, axes z, y, x."""
    labels = np.zeros(shape, np.uint16)
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    half = pitch // 2
    centres = [(i, j, k) for i in (shape[0] // 2,) for j in range(half, shape[1], pitch)
               for k in range(half, shape[2], pitch)]  # fmt: skip
    for number, (i, j, k) in enumerate(centres, 1):
        labels[(z - i) ** 2 + (y - j) ** 2 + (x - k) ** 2 < radius**2] = number
    return labels


def make_images(folder: Path) -> None:
    """An image with the narrow range of StarDist's and one with the whole range of uint16, with their labels."""
    random = np.random.default_rng(4)
    for image, mask, shape, radius, low, high, dtype in (
        ("img3d.tif", "mask3d.tif", (15, 40, 38), 6, 104, 375, np.uint16),
        ("nuclei.tif", "nuclei_label.tif", (20, 60, 64), 8, 0, 65535, np.uint32),
    ):
        labels = balls(shape, radius, 20)
        brightness = 0.3 + 0.1 * (labels > 0) + 0.3 * labels / labels.max()
        values = np.clip(random.normal(brightness, 0.05), 0, 1)
        values.flat[0], values.flat[-1] = 0, 1
        tifffile.imwrite(folder / image, (low + (high - low) * values).round().astype(np.uint16))
        tifffile.imwrite(folder / mask, labels.astype(dtype))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("made")
    make_images(folder)
    return run_example(folder, folder, peer=False, spoil=True)


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Beside the older release; the real images where they are."""
    folder = tmp_path_factory.mktemp("beside")
    real = (IMAGES / "img3d.tif").exists()
    if not real:
        make_images(folder)
    return run_example(IMAGES if real else folder, folder, peer=True, spoil=False)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Done:
    if (PEER / "arraybridge").exists():
        return request.getfixturevalue("beside")  # type: ignore[no-any-return]
    return run_example(IMAGES, tmp_path_factory.mktemp("real"), peer=False, spoil=False)


def test_a_pipe_gets_whole_tables(made: Done) -> None:
    """A pipe has no width of its own: what goes there is what stands in the file."""
    lines = [line.rstrip() for line in made.text("good").splitlines() if line.strip()]
    assert lines and [line for line in lines if line not in made.output] == []


def check_survived(done: Done) -> None:
    assert done.codes["good"] == 0, done.output
    assert "DIFFERS" not in done.text("good") and done.text("good").count("agrees") == CHECKS
    rows = done.images("good")
    for sample in ("StarDist", "nuclei"):
        before = rows[sample, "input", False]
        for step in ("blurred", "smoothed"):
            after = rows[sample, step, False]
            assert after["dtype"] == before["dtype"] == "uint16"
            assert float(before["minimum"]) <= float(after["minimum"])
            assert float(after["maximum"]) <= float(before["maximum"])
            for quantity in ("mean", "integrated"):
                assert float(after[quantity]) == pytest.approx(float(before[quantity]), rel=2e-3)
        # Smoothing takes something from small objects; to the tenth of a percent it is the example that compares.
        assert all(found == pytest.approx(true, rel=0.15) for _, _, true, found, *_ in done.objects("good", sample))


def check_picture(path: Path) -> None:
    """Eight panels and more have something to see: no cell of the grid is of one colour alone."""
    from matplotlib.image import imread

    picture = imread(path)[..., :3]
    assert picture.shape[0] > 900 and picture.shape[1] > 1200
    for row in np.array_split(picture[picture.shape[0] // 10 :], 3):
        for cell in np.array_split(row, 4, axis=1):
            assert cell.std() > 0.02


# ---------------------------------------------------------------- made images


def test_quantities_of_made_images_survive(made: Done) -> None:
    check_survived(made)


def test_the_narrow_range_stays_narrow(made: Done) -> None:
    row = made.images("good")["StarDist", "smoothed", False]
    assert 104 <= float(row["minimum"]) < float(row["maximum"]) <= 375


def test_a_stretch_is_told(made: Done) -> None:
    assert made.codes["stretched"] == 1, made.output
    text = made.text("stretched")
    assert "DIFFERS" in text and "0 85 170 255" in text
    assert float(made.images("stretched")["StarDist", "smoothed", False]["maximum"]) == 65535


def test_the_picture_is_drawn_and_the_older_release_said_to_be_absent(made: Done) -> None:
    check_picture(made.folder / "good" / "decorated.png")
    assert "No older release beside it" in made.text("good") and "0.5.2" not in made.text("good")


def test_it_says_nothing_but_what_it_should(made: Done) -> None:
    for noise in ("Warning", "Traceback", "warn"):
        assert noise not in made.output


def test_a_folder_without_a_release_is_refused(tmp_path: Path) -> None:
    make_images(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(EXAMPLE)!r})\nfrom pathlib import Path\nimport release_run\n"
    code += f"release_run.run_older(Path({str(tmp_path)!r}), Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "there is no arraybridge in" in done.stderr


# ---------------------------------------------------------------- real images, and the older release


@needs_images
def test_quantities_of_the_real_images_survive(real: Done) -> None:
    check_survived(real)
    rows = real.images("good")
    before = rows["StarDist", "input", False]
    assert (float(before["minimum"]), float(before["maximum"])) == (104, 375)
    assert len(real.objects("good", "StarDist")) == 51 and len(real.objects("good", "nuclei")) == 20


@needs_peer
def test_the_older_release_stretches(beside: Done) -> None:
    rows = beside.images("good")
    for sample in ("StarDist", "nuclei"):
        stretched = rows[sample, "smoothed", True]
        assert (float(stretched["minimum"]), float(stretched["maximum"])) == (0, 65535)
    narrow, true = rows["StarDist", "smoothed", True], rows["StarDist", "input", False]
    assert float(narrow["integrated"]) > 50 * float(true["integrated"])
    assert "0 1 2 3" in beside.text("good") and "0 85 170 255" in beside.text("good")


@needs_peer
def test_the_older_release_stands_in_the_picture_and_ours_survives_beside_it(beside: Done) -> None:
    check_survived(beside)
    check_picture(beside.folder / "good" / "decorated.png")
    assert "No older release" not in beside.text("good")
