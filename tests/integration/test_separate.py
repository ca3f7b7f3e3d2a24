"""Plugins are separate: what is missing or broken is skipped alone, with its reason, and all others work."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BUILD = Path(os.environ.get("ARRAYBRIDGE_BUILD_DIR", ""))
FRAMEWORKS = ("numpy", "torch", "tensorflow", "jax", "cupy", "pyclesperanto")

pytestmark = pytest.mark.skipif(not (BUILD / "fakes").is_dir(), reason="ARRAYBRIDGE_BUILD_DIR has no fake plugins")

TO_TORCH = """
import json, sys
import arraybridge
import numpy as np

def to_torch_and_back():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    there = arraybridge.convert(array, "torch")
    there[0, 0] = 9
    return array[0, 0] == 9 and arraybridge.convert(there, "numpy").tolist() == array.tolist()

def refusal(call):
    try:
        call()
    except arraybridge.MemoryConversionError as error:
        return {name: getattr(error, name) for name in ("status", "reason", "hint")} | {"text": str(error)}

def say(verdict):
    print(json.dumps(verdict))
"""


def run(code: str, *options: str, **environment: str) -> Any:
    """What `code` says, in a process of its own."""
    done = subprocess.run(
        [sys.executable, *options, "-c", TO_TORCH + code],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def doctor(**environment: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `arraybridge doctor --fast --json`."""
    done = subprocess.run(
        [sys.executable, "-m", "arraybridge", "doctor", "--fast", "--json"],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment},
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


# ---------------------------------------------------------------- two plugins only


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A build folder in which the numpy and the torch plugin are all there is."""
    folder = tmp_path_factory.mktemp("two")
    for part in ("python/_native.so", "plugins/arraybridge_numpy.so", "plugins/arraybridge_torch.so"):
        (folder / part).parent.mkdir(exist_ok=True)
        shutil.copy(BUILD / part, folder / part)
    return str(folder)


def test_numpy_and_torch_alone_work(two: str) -> None:
    seen = run(
        "say([[one.name for one in arraybridge.backends()], bool(to_torch_and_back())])", ARRAYBRIDGE_BUILD_DIR=two
    )
    assert seen == [["numpy", "torch"], True]


def test_asking_for_what_is_not_there_says_what_is(two: str) -> None:
    seen = run('say(refusal(lambda: arraybridge.convert(np.zeros(3), "jax")))', ARRAYBRIDGE_BUILD_DIR=two)
    assert seen["status"] == "NO_BACKEND"
    assert 'no backend "jax" is loaded' in seen["reason"]
    assert "loaded: numpy, torch" in seen["reason"]
    assert "arraybridge doctor" in seen["hint"]


def test_an_array_of_what_is_not_there_is_refused(two: str) -> None:
    code = """
class ndarray:
    pass
ndarray.__module__ = "cupy"
say(refusal(lambda: arraybridge.convert(ndarray(), "torch")))
"""
    assert "ndarray" in run(code, ARRAYBRIDGE_BUILD_DIR=two)["text"]


def test_doctor_says_which_plugins_are_not_there(two: str) -> None:
    code, found = doctor(ARRAYBRIDGE_BUILD_DIR=two)
    assert code == 0
    loaded = {one["text"] for one in found["findings"] if one["section"] == "plugins" and "loaded" in one["text"]}
    assert {text.partition(" ")[0] for text in loaded} == {"numpy", "torch"}
    lacking = {one["subject"] for one in found["findings"] if "no plugin for it is loaded" in one["text"]}
    assert {"jax", "tensorflow"} <= lacking


# ---------------------------------------------------------------- a framework that is not installed


BLOCKER = """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
"""


def without(*names: str) -> str:
    return f"BLOCKED = {names!r}" + BLOCKER


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax", "pyclesperanto"])
def test_a_missing_framework_is_unavailable(name: str) -> None:
    seen = run(without(name) + f'say(refusal(lambda: arraybridge.convert(np.zeros(3, np.float32), "{name}")))')
    assert seen["status"] == "UNAVAILABLE"
    assert name in seen["reason"]
    assert seen["hint"].startswith("pip install ") and name in seen["hint"]
    assert "pip install" in seen["text"]


def test_without_numpy_everything_else_works() -> None:
    # Not through run(): that imports NumPy.
    code = """
import json, sys
import arraybridge
import torch
there = arraybridge.convert(torch.ones(3), "torch", copy=True)
try:
    arraybridge.convert(there, "numpy")
except arraybridge.MemoryConversionError as error:
    installed = {one.name: one.installed for one in arraybridge.backends()}
    print(json.dumps([there.tolist(), error.status, error.hint, installed["numpy"], installed["torch"]]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import sys\n" + without("numpy") + code],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    values, status, hint, numpy_is_there, torch_is_there = json.loads(done.stdout.splitlines()[-1])
    assert values == [1, 1, 1]
    assert status == "UNAVAILABLE" and hint.startswith("pip install") and "numpy" in hint
    assert (numpy_is_there, torch_is_there) == (False, True)


def test_the_others_work_where_one_framework_is_missing() -> None:
    missing = ("tensorflow", "jax", "cupy", "pyclesperanto")
    code = """
say({"works": bool(to_torch_and_back()), "installed": {one.name: one.installed for one in arraybridge.backends()},
     "details": {one.name: one.detail for one in arraybridge.backends()}})
"""
    seen = run(without(*missing) + code)
    assert seen["works"]
    assert seen["installed"] == {name: name not in missing for name in FRAMEWORKS}
    for name in missing:
        assert "pip install" in seen["details"][name]


def test_a_framework_that_appears_later_is_used() -> None:
    """The failure is not kept: somebody who installs the package in a running notebook goes on."""
    code = """
before = refusal(lambda: arraybridge.convert(np.zeros(3), "torch"))["status"]
sys.meta_path.pop(0)
say([before, bool(to_torch_and_back())])
"""
    assert run(without("torch") + code) == ["UNAVAILABLE", True]


# ---------------------------------------------------------------- broken plugins, one at a time


def place_fake(name: str, folder: Path) -> Path:
    target = folder / f"arraybridge_{name}.so"
    shutil.copy(BUILD / "fakes" / f"fake_{name}.so", target)
    target.chmod(0o644)
    return target


def place_text(folder: Path) -> Path:
    target = folder / "arraybridge_text.so"
    target.write_text("This is no library.\n")
    return target


def place_cut_off(folder: Path) -> Path:
    target = place_fake("good", folder)
    target.write_bytes(target.read_bytes()[:2000])
    return target


def place_empty(folder: Path) -> Path:
    target = folder / "arraybridge_empty.so"
    target.touch()
    return target


def place_in_a_writable_folder(folder: Path) -> Path:
    folder.chmod(folder.stat().st_mode | stat.S_IWOTH)
    return place_fake("good", folder)


def place_writable(folder: Path) -> Path:
    target = place_fake("good", folder)
    target.chmod(0o666)
    return target


def place_dangling(folder: Path) -> Path:
    target = folder / "arraybridge_dangling.so"
    target.symlink_to(folder / "gone.so")
    return target


BROKEN: dict[str, tuple[Any, str, str, str]] = {
    "unresolved_symbol": (None, "UNAVAILABLE", "undefined symbol: symbol_that_no_library_defines", "ldd -r"),
    "newer_major": (None, "INCOMPATIBLE", "built for interface 2.0", "update arraybridge"),
    "create_fails": (None, "UNAVAILABLE", "the fake framework is not at home", "invite it"),
    "missing_slot": (None, "INCOMPATIBLE", "required slot capabilities()", "plugin"),
    "no_descriptor": (None, "INCOMPATIBLE", "does not export arraybridge_plugin", "AB_PLUGIN_DEFINE"),
    "lazy_binding": (None, "REFUSED", "without -z now", "arraybridge_add_plugin()"),
    "wrong_runtime_abi": (None, "INCOMPATIBLE", "built for the Python interface", "install the build"),
    "text": (place_text, "INCOMPATIBLE", "not a shared library", "remove it"),
    "cut_off": (place_cut_off, "INCOMPATIBLE", "cut off", "copy it again"),
    "empty": (place_empty, "INCOMPATIBLE", "not a shared library", "remove it"),
    "writable_folder": (place_in_a_writable_folder, "REFUSED", "others may write", "chmod o-w"),
    "writable_file": (place_writable, "REFUSED", "others may write", "chmod o-w"),
    "dangling": (place_dangling, "", "", ""),
}
"""How each is placed, and what must be said: status, part of the reason, part of the reason and the hint."""


@pytest.fixture
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    place = BROKEN[request.param][0]
    tmp_path.chmod(0o755)
    return place(tmp_path) if place else place_fake(request.param, tmp_path)


@pytest.mark.parametrize("broken", BROKEN, indirect=True)
def test_a_broken_plugin_is_skipped_alone(broken: Path, request: pytest.FixtureRequest) -> None:
    _, status, reason, cure = BROKEN[request.node.callspec.params["broken"]]
    seen = run(
        "say({'works': bool(to_torch_and_back()), 'trace': arraybridge.load_trace(), "
        "'names': [one.name for one in arraybridge.backends()]})",
        ARRAYBRIDGE_PLUGIN_PATH=str(broken.parent),
    )
    assert seen["works"]
    assert set(seen["names"]) == set(FRAMEWORKS)
    rows = [row for row in seen["trace"] if row["path"] == str(broken)]
    assert len(rows) == 1, seen["trace"]
    assert rows[0]["place"] == "environment"
    assert rows[0]["status"] == status if status else rows[0]["status"] != "OK"
    assert reason in rows[0]["reason"] and rows[0]["reason"]
    assert cure in rows[0]["hint"]
    others = [row for row in seen["trace"] if not row["path"].startswith(str(broken.parent))]
    assert all(row["status"] == "OK" for row in others)


@pytest.mark.parametrize(
    "broken", ["unresolved_symbol", "newer_major", "create_fails", "text", "writable_folder"], indirect=True
)
def test_doctor_says_which_why_and_what_to_do(broken: Path, request: pytest.FixtureRequest) -> None:
    _, _, reason, cure = BROKEN[request.node.callspec.params["broken"]]
    code, found = doctor(ARRAYBRIDGE_PLUGIN_PATH=str(broken.parent))
    assert code == 1
    rows = [one for one in found["findings"] if one["section"] == "plugins" and one["severity"] == "problem"]
    assert len(rows) == 1, rows
    # A folder that is refused stands for the files in it.
    assert rows[0]["subject"] == str(broken.parent if cure == "chmod o-w" else broken)
    assert reason in rows[0]["text"]
    assert rows[0]["advice"] and cure in rows[0]["text"] + rows[0]["advice"]


def test_all_broken_at_once_and_a_good_one_between_them(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    places = [tmp_path / name for name in BROKEN]
    for place, (make, *_), name in zip(places, BROKEN.values(), BROKEN, strict=True):
        place.mkdir(mode=0o755)
        make(place) if make else place_fake(name, place)
    good = tmp_path / "good"
    good.mkdir(mode=0o755)
    place_fake("good", good)
    path = os.pathsep.join(map(str, [*places[:6], good, *places[6:], tmp_path / "not there"]))
    seen = run(
        "say([bool(to_torch_and_back()), sorted(one.name for one in arraybridge.backends())])",
        ARRAYBRIDGE_PLUGIN_PATH=path,
    )
    assert seen == [True, sorted([*FRAMEWORKS, "fake_good"])]


def test_a_writable_folder_can_be_trusted(tmp_path: Path) -> None:
    place_in_a_writable_folder(tmp_path)
    seen = run(
        "say([one.name for one in arraybridge.backends()])",
        ARRAYBRIDGE_PLUGIN_PATH=str(tmp_path), ARRAYBRIDGE_TRUST_WRITABLE="1",
    )  # fmt: skip
    assert "fake_good" in seen


# ---------------------------------------------------------------- what is linked


def needed(library: Path) -> set[str]:
    shown = subprocess.run(["readelf", "-d", str(library)], capture_output=True, text=True, check=True).stdout
    return {line.rpartition("[")[2].rstrip("]") for line in shown.splitlines() if "(NEEDED)" in line}


BASE = {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}


def test_the_core_links_the_system_and_libltdl_only() -> None:
    assert needed((BUILD / "core" / "libarraybridge.so").resolve()) <= BASE | {"libltdl.so.7"}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_no_plugin_links_python_or_a_framework(name: str) -> None:
    assert needed(BUILD / "plugins" / f"arraybridge_{name}.so") <= BASE
