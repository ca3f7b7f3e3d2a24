"""A plugin whose arrays have no x[i]: stacks, batches, recovery, and what it says itself when something cannot be."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "plugin-author.md"
BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))

pytestmark = pytest.mark.skipif(
    not (BUILD / "fakes" / "fake_grids.so").is_file(), reason="ARRAYBRIDGE_BUILD_DIR has no fake plugin of grids"
)

GRIDS = """
class OutOfGrids(Exception):
    pass

class Grid:
    secret = False
    def __init__(self, shape, dtype, data):
        self.shape, self.dtype, self.data = shape, dtype, data

def trim():
    raise RuntimeError("the pool is locked")
"""

BEFORE = """
import arraybridge as ab, grids, numpy as np

def grid(array):
    return ab.convert(array, "grids")

def read(x):
    return ab.convert(x, "numpy").tolist()

def raised(call, kind=ab.MemoryConversionError):
    try:
        got = call()
    except kind as error:
        return error
    raise AssertionError(f"gave {got!r}")

def secret():
    one = grid(np.zeros((2, 3), np.float32))
    one.secret = True
    return one

SECRET = "a secret grid shows nothing"
DEEP = np.arange(24, dtype=np.int64).reshape(4, 2, 3)
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Runs code in a process that has the framework `grids` and its plugin."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(BUILD / "fakes" / "fake_grids.so", tmp_path / "plugins" / "arraybridge_grids.so")
    (tmp_path / "plugins" / "arraybridge_grids.so").chmod(0o644)
    (tmp_path / "grids.py").write_text(GRIDS)
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": paths, "ARRAYBRIDGE_PLUGIN_PATH": str(tmp_path / "plugins")}

    def go(code: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", BEFORE + code], capture_output=True, text=True, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return go


def test_arrays_without_items_are_processed_in_slices_and_batches(run: Any) -> None:
    run("""
seen = []
def work(x):
    seen.append(tuple(x.shape))
    return x
for batch in (None, 1, 3, 9):
    seen.clear()
    result = ab.process_slices(grid(DEEP), work, batch=batch)
    assert type(result) is grids.Grid and read(result) == DEEP.tolist()
    assert seen == {None: [(2, 3)] * 4, 1: [(1, 2, 3)] * 4, 3: [(3, 2, 3), (1, 2, 3)], 9: [(4, 2, 3)]}[batch]
flat = ab.process_slices(grid(np.arange(5)), lambda x: x, batch=2, slice_ndim=0)
assert read(flat) == [0, 1, 2, 3, 4]
made = ab.backend("grids")(lambda x: x, output_type="grids", batch=2)(DEEP, slice_by_slice=True)
assert read(made) == DEEP.tolist()
""")


def test_batches_are_halved_after_out_of_memory(run: Any) -> None:
    run("""
seen = []
def work(x):
    seen.append(x.shape[0])
    if x.shape[0] > 1:
        raise grids.OutOfGrids("out of grids: wanted a lot")
    return x
assert read(ab.process_slices(grid(DEEP), work, batch=4, recovery=True)) == DEEP.tolist()
assert seen[0] == 4 and 2 in seen and seen[-4:] == [1, 1, 1, 1], seen
""")


def test_the_plugin_says_why_an_array_is_for_no_stack(run: Any) -> None:
    run("""
for call in (
    lambda: ab.stack_slices([secret()], "grids"),
    lambda: ab.stack_slices([grid(np.zeros((2, 3), np.float32)), secret()], "grids"),
    lambda: ab.stack_slices([secret()], "numpy"),
    lambda: ab.unstack_slices(secret(), "grids", slice_ndim=1),
    lambda: ab.unstack_slices(secret(), "numpy", slice_ndim=1),
    lambda: ab.process_slices(secret(), lambda x: x, slice_ndim=1),
    lambda: ab.process_slices(secret(), lambda x: x, slice_ndim=1, batch=1),
    lambda: ab.process_slices(grid(DEEP), lambda x: secret()),
    lambda: ab.scale(secret(), "uint8"),
):
    error = raised(call)
    assert SECRET in error.reason and error.hint == "pass grid.reveal()", str(error)
mixed = [grid(np.zeros((2, 3), np.float32)), secret()]
assert raised(lambda: ab.stack_slices(mixed, "grids")).reason == f"slice 1: {SECRET}"
""")


def test_an_unsigned_integer_does_not_wrap_where_a_signed_one_holds_it(run: Any) -> None:
    run("""
values = np.array([1, 70000], np.uint32)
for casting in ("safe", "same_kind", "unsafe"):
    made = ab.convert(values, "grids", casting=casting)
    assert made.dtype == "int64" and read(made) == [1, 70000], (casting, made.dtype)
assert 'dtype="int64", casting="safe"' in raised(lambda: ab.convert(values, "grids")).hint
got = []
ab.backend("grids")(lambda x: got.append((x.dtype, read(x))))(values)
assert got == [("int64", [1, 70000])]
""")


def test_the_reason_that_capabilities_give_is_shown(run: Any) -> None:
    run("""
why = "grids takes nothing there: grids only copy from the host"
assert why in str(raised(lambda: ab.convert(DEEP, "grids", copy=False)))
assert why in str(ab.plan(DEEP, "grids"))
with ab.records() as log:
    grid(DEEP)
assert any(reason == why for _, reason in log[0].declined), log[0].declined
""")


def test_the_note_says_that_a_cache_could_not_be_cleared(run: Any) -> None:
    run("""
def full():
    raise grids.OutOfGrids("out of grids: wanted a lot")
grid(DEEP)
error = raised(lambda: ab.run_with_recovery(full), grids.OutOfGrids)
note = "".join(error.__notes__)
assert "clearing caches failed: grids.trim: RuntimeError: the pool is locked" in note, note
report = ab.memory_report(clear=True)
row = next(one for one in report if one.backend == "grids")
assert row.returned is None and row.pooled is None and "the pool is locked" in row.clear_reason
assert "0 B" not in next(line for line in str(report).splitlines() if line.startswith("grids"))
""")


def test_work_that_was_on_the_host_is_not_repeated_there(run: Any) -> None:
    run("""
calls = []
def full(*arrays):
    calls.append(len(arrays))
    raise grids.OutOfGrids("out of grids: wanted a lot")
raised(lambda: ab.run_with_recovery(full, grid(DEEP), DEEP, max_retries=1, host_fallback=True), grids.OutOfGrids)
assert len(calls) == 2, calls
calls.clear()
decorated = ab.backend("grids")(full, host_fallback=True, max_retries=1)
raised(lambda: decorated(DEEP), grids.OutOfGrids)
assert len(calls) == 2, calls
calls.clear()
raised(lambda: decorated(DEEP, slice_by_slice=True), grids.OutOfGrids)
assert len(calls) == 2, calls
calls.clear()
raised(lambda: ab.run_with_recovery(full, max_retries=1, host_fallback=True), grids.OutOfGrids)
assert len(calls) == 3, "nothing says where this worked"
assert ab.run_with_recovery(full, DEEP, max_retries=0, host_fallback=lambda x: "elsewhere") == "elsewhere"
""")


def test_hints_for_dtypes_name_what_the_target_has(run: Any) -> None:
    run("""
error = raised(lambda: ab.scale(grid(DEEP), "float64"))
assert "casting" not in error.hint and "float32" in error.hint, str(error)
mixed = [np.zeros((2, 3), np.int64), np.zeros((2, 3), np.float32)]
error = raised(lambda: ab.stack_slices(mixed, "grids"))
assert "float64" not in error.hint and 'dtype="float32"' in error.hint, str(error)
assert read(ab.stack_slices(mixed, "grids", dtype="float32", casting="same_kind"))[0] == [[0, 0, 0]] * 2
""")


def test_what_the_guide_has_to_try_is_true(run: Any) -> None:
    block = next(one for one in GUIDE.read_text().split("```python\n") if "memory_report(clear=True)" in one)
    code = block.partition("```")[0].replace('"ring"', '"grids"')
    run("import arraybridge\n" + code.replace('ring.OutOfMemory("out of ring', 'grids.OutOfGrids("out of grids'))
