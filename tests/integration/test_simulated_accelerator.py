"""Decorated functions and an accelerator that runs out of memory. The accelerator is simulated (tests/fakes)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))

pytestmark = pytest.mark.skipif(
    not (BUILD / "fakes" / "fake_accelerator.so").is_file(), reason="ARRAYBRIDGE_BUILD_DIR has no fake accelerator"
)

TILES = """
HOST, ACCELERATOR = 1, 12
made = []       # where each tile was wanted, in order
failures = {}   # how many more will fail, by place


class Tile(bytearray):
    on = HOST


def make(data, on):
    made.append("host" if on == HOST else "accelerator")
    if failures.get(on, 0) > 0:
        failures[on] -= 1
        raise MemoryError("simulated")
    tile = Tile(data)
    tile.on = on
    return tile
"""

BEFORE = """
import json
import arraybridge, numpy, tiles
from arraybridge import options
from tiles import ACCELERATOR, HOST

there = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
calls = []
decorator = arraybridge.backend("tiles")

def work(image, other=None):
    calls.append([one.on for one in (image, other) if one is not None])
    return image

def out(image):
    return arraybridge.convert(work(image), "numpy")  # a tile has two axes: there are no stacks of them

def said(call):
    try:
        return call()
    except BaseException as error:
        return [type(error).__name__, arraybridge.is_out_of_memory(error), len(getattr(error, "__notes__", ()))]
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs code in a process that has the framework `tiles`, and gives what it assigned to `result`."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(BUILD / "fakes" / "fake_accelerator.so", tmp_path / "plugins" / "arraybridge_tiles.so")
    (tmp_path / "plugins" / "arraybridge_tiles.so").chmod(0o644)
    (tmp_path / "tiles.py").write_text(TILES)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "ARRAYBRIDGE_PLUGIN_PATH": str(tmp_path / "plugins")}

    def in_child(code: str) -> Any:
        code = f"{BEFORE}\n{code}\nprint(json.dumps(result))"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return in_child


def test_arrays_of_the_host_go_to_the_accelerator_only_if_preferred(run: Any) -> None:
    seen = run("""
function = decorator(output_type="numpy")(work)
function(there)
with options(prefer_accelerator=True):
    values = function(there, there).tolist()
    function(arraybridge.convert(there, "tiles"), there)
with options(prefer_accelerator=True):
    decorator(device="cpu")(work)(there)
function(there)
result = [calls, values]
""")
    assert seen == [[[1], [12, 12], [1, 1], [1], [1]], [[0, 1, 2], [3, 4, 5]]]


def test_the_others_follow_the_first_array(run: Any) -> None:
    seen = run("""
function = decorator(work)
function(arraybridge.convert(there, "tiles", gpu_id=0), there)
decorator(gpu_id=0)(work)(there, arraybridge.convert(there, "tiles"))
result = calls
""")
    assert seen == [[12, 12], [12, 1]]  # what is at home stays on its device


@pytest.mark.parametrize("kind", ["plain", "policy", "coroutine", "generator", "slices"])
@pytest.mark.parametrize("failures", range(5))
def test_retries_of_a_conversion_and_of_the_call_do_not_multiply(run: Any, kind: str, failures: int) -> None:
    seen = run(f"""
import asyncio
function = decorator(gpu_id=0)(work)

@decorator(gpu_id=0)
async def waits(image):
    return work(image)

@decorator(gpu_id=0)
def gives(image):
    yield work(image)

tiles.failures[ACCELERATOR] = {failures}
run = {{
    "plain": lambda: function(there),
    "policy": lambda: function(there, dtype_conversion="native"),
    "coroutine": lambda: asyncio.run(waits(there)),
    "generator": lambda: next(gives(there)),
    "slices": lambda: decorator(output_type="numpy", gpu_id=0)(out)(there[None], slice_by_slice=True),
}}["{kind}"]
outcome = said(run)
result = [outcome if isinstance(outcome, list) else "done", tiles.made.count("accelerator"), len(calls)]
""")
    if failures < 3:
        assert seen[0] == "done" and seen[1:] == [failures + 1, 1]
    else:
        assert seen == [["MemoryConversionError", True, 1], 3, 0]


def test_without_recovery_of_its_own_a_call_leaves_it_to_the_conversion(run: Any) -> None:
    seen = run("""
function = decorator(gpu_id=0, idempotent=False)(work)
tiles.failures[ACCELERATOR] = 2
function(there)
result = [tiles.made, len(calls)]
""")
    assert seen == [["accelerator"] * 3, 1]


@pytest.mark.parametrize("kind", ["plain", "policy"])
def test_what_does_not_fit_goes_to_the_host_if_that_is_allowed(run: Any, kind: str) -> None:
    seen = run(f"""
function = decorator(gpu_id=0, host_fallback=True, max_retries=1)(work)
tiles.failures[ACCELERATOR] = 99
function(there, there, **{{"plain": {{}}, "policy": {{"dtype_conversion": "native"}}}}["{kind}"])
result = [tiles.made, calls]
""")
    assert seen == [["accelerator"] * 2 + ["host"] * 2, [[1, 1]]]


def test_a_function_that_dies_on_the_accelerator_ends_on_the_host(run: Any) -> None:
    seen = run("""
@decorator(gpu_id=0, output_type="numpy")
def heavy(image, other):
    calls.append([image.on, other.on])
    if image.on == ACCELERATOR:
        raise MemoryError
    return arraybridge.convert(image, "numpy")

first = said(lambda: heavy(there, there))
with options(host_fallback=True, max_retries=1):
    values = heavy(there, there).tolist()
    stack = numpy.stack([there, there + 1, there + 2])
    slices = heavy(stack, arraybridge.convert(there, "tiles", gpu_id=0), slice_by_slice=True)
result = [first, calls, values, (slices == stack).all().item()]
""")
    assert seen[0] == ["MemoryError", True, 1]
    assert seen[1] == [[12, 12]] * 3 + [[12, 12]] * 2 + [[1, 1]] + [[12, 12]] * 2 + [[1, 1]] * 3
    assert seen[2:] == [[[0, 1, 2], [3, 4, 5]], True]


def test_nothing_is_tried_again_after_the_host(run: Any) -> None:
    seen = run("""
@decorator(gpu_id=0, host_fallback=True)
def heavy(image):
    calls.append(image.on)
    raise MemoryError
result = [said(lambda: heavy(there)), calls]
""")
    assert seen == [["MemoryError", True, 1], [12, 12, 12, 1]]


@pytest.mark.parametrize("flaw", ["", "start", "probe"])
def test_a_backend_that_does_not_start_leaves_the_others_their_place(tmp_path: Path, flaw: str) -> None:
    (tmp_path / "plugins").mkdir()
    for fake, name in (("fake_python", "strips"), ("fake_accelerator", "tiles")):
        shutil.copy(BUILD / "fakes" / f"{fake}.so", tmp_path / "plugins" / f"arraybridge_{name}.so")
        (tmp_path / "plugins" / f"arraybridge_{name}.so").chmod(0o644)
    (tmp_path / "tiles.py").write_text(TILES)
    (tmp_path / "strips.py").write_text("class Strip(bytearray):\n    pass\n")
    code = (
        "import json, numpy, strips, tiles, arraybridge; report = arraybridge.memory_report(clear=True); "
        "print(json.dumps(sorted({f'{one.backend} {one.device}' for one in report if one.device})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
             "ARRAYBRIDGE_PLUGIN_PATH": str(tmp_path / "plugins"), "FAKE_FLAW": flaw},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    seen = json.loads(done.stdout)
    assert [one for one in seen if one.startswith("tiles")] == ["tiles cpu:0", "tiles ext:0"]
    assert any(one.startswith("numpy") for one in seen)
    # a plugin without devices() has the host
    assert [one for one in seen if one.startswith("strips")] == ([] if flaw else ["strips cpu:0"])
