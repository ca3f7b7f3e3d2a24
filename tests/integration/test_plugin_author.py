"""What the author of a plugin is told about its defects: by errors, and by the command ``arraybridge``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from arraybridge.command.children import Outcome
from arraybridge.command.clash import judge_together

BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))

pytestmark = pytest.mark.skipif(
    not (BUILD / "fakes" / "fake_python.so").is_file(), reason="ARRAYBRIDGE_BUILD_DIR has no fake Python plugin"
)

CASES = """
import json
import arraybridge, numpy, strips

strip = strips.Strip(numpy.arange(1, 7, dtype=numpy.float32).tobytes())
there = numpy.arange(1, 7, dtype=numpy.float32).reshape(2, 3)

def said(call):
    try:
        return call()
    except arraybridge.MemoryConversionError as error:
        return {"status": error.status, "reason": error.reason, "hint": error.hint, "cause": repr(error.__cause__)}

print(json.dumps({
    "out": said(lambda: arraybridge.convert(strip, "numpy").tolist()),
    "copied": said(lambda: arraybridge.convert(strip, "numpy", copy=True).tolist()),
    "into": said(lambda: list(memoryview(arraybridge.convert(there, "strips")).cast("f"))),
    "line": said(lambda: arraybridge.convert(there.ravel(), "strips") and "made"),
    "plan": said(lambda: arraybridge.plan(there.ravel(), "strips").reason),
    "describe": said(lambda: arraybridge.describe(strip).backend),
    "probed": [one.probed for one in arraybridge.backends() if one.name == "strips"],
    "devices": said(lambda: [one.device for one in arraybridge.list_devices("strips")]),
}))
"""


@pytest.fixture
def strips(tmp_path: Path) -> dict[str, str]:
    """An environment with the framework `strips` and its plugin, alone in a folder."""
    (tmp_path / "plugins").mkdir()
    shutil.copy(BUILD / "fakes" / "fake_python.so", tmp_path / "plugins" / "arraybridge_strips.so")
    (tmp_path / "plugins" / "arraybridge_strips.so").chmod(0o644)
    (tmp_path / "strips.py").write_text("class Strip(bytearray):\n    pass\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": paths, "ARRAYBRIDGE_PLUGIN_PATH": str(tmp_path / "plugins")}


def run(environment: dict[str, str], flaw: str = "", code: str = CASES, **more: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
        env={**environment, "FAKE_FLAW": flaw, **more},
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def doctor(environment: dict[str, str], flaw: str, *options: str) -> tuple[int, list[dict[str, str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "arraybridge", "doctor", "--json", *options], capture_output=True, text=True,
        timeout=300, env={**environment, "FAKE_FLAW": flaw},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)["findings"]


VALUES = [[1, 2, 3], [4, 5, 6]]


def test_a_sound_plugin_converts(strips: dict[str, str]) -> None:
    for more in ({}, {"FAKE_TENSOR": "1"}):
        seen = run(strips, **more)
        assert seen["out"] == seen["copied"] == VALUES and seen["into"] == [1, 2, 3, 4, 5, 6]
        assert seen["devices"] == ["cpu:0"] and seen["probed"] == ["OK"]
        assert seen["line"]["reason"] == seen["plan"] == "1 dimension; strips needs at least 2"


@pytest.mark.parametrize(
    ("slot", "way"),
    [("start", "out"), ("describe", "out"), ("to_dlpack", "out"), ("capabilities", "into"), ("from_host", "into"),
     ("recognizes", "out"), ("describe", "describe"), ("start", "devices")],
)  # fmt: skip
def test_an_exception_left_pending_is_blamed_on_its_slot(strips: dict[str, str], slot: str, way: str) -> None:
    seen = run(strips, slot)[way]
    assert seen["status"] == "INTERNAL"
    assert seen["reason"] == f"strips: {slot}() left an exception pending: RuntimeError: left by {slot}"
    assert "abpy_error()" in seen["hint"] and seen["cause"] == f"RuntimeError('left by {slot}')"


JUDGES = """
import gc, json
import arraybridge

def judged(error):
    try:
        verdict = arraybridge.is_out_of_memory(error)
        for _ in range(3):  # what is not lost comes as soon as Python code runs
            gc.collect()
        return {"verdict": verdict}
    except BaseException as raised:
        return {"raised": repr(raised), "context": repr(raised.__context__)}

def calls():
    made = []
    def fail(image):
        made.append(image)
        raise RuntimeError("CUDA out of memory. Tried to allocate")
    try:
        arraybridge.numpy(fail)([1])
    except BaseException as raised:
        return {"raised": repr(raised), "calls": len(made)}

print(json.dumps({"none": judged(KeyError("x")), "memory": judged(MemoryError()), "calls": calls()}))
"""


def test_a_wish_to_stop_that_is_oom_leaves_comes_out(strips: dict[str, str]) -> None:
    seen = run(strips, "is_oom is interrupted", JUDGES)
    assert seen["none"]["raised"] == "KeyboardInterrupt('in is_oom')"
    assert seen["memory"] == {"verdict": True}, "judged before any plugin was asked"
    assert seen["calls"] == {"raised": "KeyboardInterrupt('in is_oom')", "calls": 1}


def test_an_ordinary_exception_that_is_oom_leaves_is_dropped(strips: dict[str, str]) -> None:
    assert run(strips, "is_oom", JUDGES)["none"] == {"verdict": False}


def test_the_quickest_way_finds_who_left_an_exception(strips: dict[str, str]) -> None:
    warm = CASES.replace('"out": ', '"first": said(lambda: arraybridge.convert(strip, "numpy").tolist()),\n    "out": ')
    seen = run(strips, "describe", warm, FAKE_TENSOR="1")
    assert seen["out"]["reason"] == "strips: describe() left an exception pending: RuntimeError: left by describe"


def test_a_create_that_leaves_an_exception_does_not_load(strips: dict[str, str]) -> None:
    code, found = doctor(strips, "create", "--fast")
    told = [one for one in found if "create() left an exception pending" in one["text"]]
    assert code == 1 and [one["severity"] for one in told] == ["problem"]


def test_wrong_strides_and_extents_are_refused(strips: dict[str, str]) -> None:
    assert "to_dlpack() counts elements" in run(strips, "to_dlpack in bytes")["out"]["reason"]
    seen = run(strips, "describe in elements")
    assert "describe() counts bytes" in seen["out"]["reason"] and "describe() counts bytes" in seen["copied"]["reason"]
    for more in ({}, {"FAKE_TENSOR": "1"}):
        seen = run(strips, "extent", **more)
        assert "reaches 5999976 bytes past the memory that describe() named (24 bytes)" in seen["out"]["reason"]


def test_a_failure_without_a_word_names_its_slot(strips: dict[str, str]) -> None:
    seen = run(strips, "silence")["into"]
    assert seen["reason"] == "strips: from_host() returned FRAMEWORK and said nothing (use abpy_error)"


def test_an_unknown_object_hints_at_plugins_that_did_not_load(strips: dict[str, str]) -> None:
    code = """
import json, arraybridge
try:
    arraybridge.convert(object(), "numpy")
except arraybridge.MemoryConversionError as error:
    print(json.dumps(str(error)))
"""
    assert run(strips, "create", code).endswith("; 1 plugin did not load: arraybridge doctor")
    assert "did not load" not in run(strips, "", code)


# ---------------------------------------------------------------- the command


def of(found: list[dict[str, str]], subject: str) -> dict[str, str]:
    (one,) = [one for one in found if one["subject"] == subject and one["section"] in ("frameworks", "clashes")]
    return one


@pytest.mark.parametrize("flaw", ["", "no probe"])
def test_doctor_finds_a_sound_plugin_healthy(strips: dict[str, str], flaw: str) -> None:
    code, found = doctor(strips, flaw, "--fast")
    assert code == 0
    assert ("its plugin has no probe()" in of(found, "strips")["text"]) == (flaw == "no probe")
    code, found = doctor(strips, flaw)
    assert code == 0 and of(found, "strips")["severity"] == "ok" and "cpu:0" in of(found, "strips")["text"]
    # 3 × 5 values are too many for a strip: no fault of the plugin.
    assert "strips not: " in of(found, "all in one process")["text"]


def test_doctor_finds_what_a_plugin_leaves_pending(strips: dict[str, str]) -> None:
    code, found = doctor(strips, "probe", "--fast")
    assert code == 1 and "probe() left an exception pending" in of(found, "strips")["text"]
    code, found = doctor(strips, "start")
    assert code == 1 and "start() left an exception pending" in of(found, "strips")["text"]
    code, found = doctor(strips, "capabilities")
    assert code == 1 and "capabilities() left an exception" in of(found, "all in one process")["text"]


def test_a_backend_for_c_programs_is_told_as_one(strips: dict[str, str]) -> None:
    folder = Path(strips["ARRAYBRIDGE_PLUGIN_PATH"])
    shutil.copy(BUILD / "fakes" / "fake_good.so", folder / "arraybridge_fake_good.so")
    code, found = doctor(strips, "", "--fast")
    assert code == 0 and of(found, "fake_good")["text"] == "for C programs; Python cannot reach it"


def test_new_plugin_names_the_file_that_has_the_name(strips: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "arraybridge", "new-plugin", "strips", "--into", str(tmp_path / "new")],
        capture_output=True, text=True, timeout=120, env=strips,
    )  # fmt: skip
    assert done.returncode == 2 and "arraybridge_strips.so" in done.stdout + done.stderr


def test_a_plugin_in_place_of_our_own_is_a_problem() -> None:
    from arraybridge.command import paths
    from arraybridge.command.doctor import judge_plugins

    ours = os.path.realpath(paths.find()["plugins"])
    row = {"status": "UNSUPPORTED", "path": f"{ours}/arraybridge_numpy.so", "place": "library", "name": "numpy",
           "version": "1", "reason": "already provided by /else/arraybridge_numpy.so", "hint": "-"}  # fmt: skip
    loaded = {**row, "status": "OK", "path": "/else/arraybridge_numpy.so", "reason": "", "hint": ""}
    found = {one.subject: one for one in judge_plugins([loaded, row])}
    assert found[row["path"]].severity == "problem" and "own plugin for numpy" in found[row["path"]].text
    other = {**row, "path": "/other/arraybridge_numpy.so"}
    assert {one.subject: one.severity for one in judge_plugins([loaded, other])}[other["path"]] == "note"


def test_changed_values_are_a_problem() -> None:
    across = {"name": "strips", "across": {"error": "sent [1, 2] as float32, got [1, 0] as float32"}}
    found = judge_together(["numpy", "strips"], Outcome([across], "", ""))
    assert found.severity == "problem" and "numpy -> strips -> numpy: sent [1, 2]" in found.text
