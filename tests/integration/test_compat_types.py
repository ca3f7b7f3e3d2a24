"""What was imported from the older modules is known to type checkers, with its types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import arraybridge
import pytest

pytest.importorskip("mypy")

PACKAGE = Path(arraybridge.__file__).parent
COMPARE = Path(__file__).parents[1] / "compare"
OLDER = [path.stem for path in (PACKAGE / "compat").glob("*.py") if path.stem != "__init__"]

USER = """
from arraybridge.converters import convert_memory, detect_memory_type
from arraybridge.devices import HOST, AcceleratorDevice
from arraybridge.types import MemoryType

reveal_type(detect_memory_type)
reveal_type(MemoryType.TORCH)
reveal_type(AcceleratorDevice(0))
name: str = detect_memory_type(object())
wrong: int = MemoryType.TORCH
there = convert_memory(object(), MemoryType.NUMPY, MemoryType.TORCH, HOST)
"""


def check(code: str, folder: Path) -> list[str]:
    """What ``mypy --strict`` says of a user's file, which lies outside of the package."""
    (folder / "user.py").write_text(code)
    installed = "site-packages" in PACKAGE.parts  # then mypy finds it by its py.typed
    environment = {**os.environ, "MYPYPATH": "" if installed else str(PACKAGE.parent)}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary", "user.py"],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout.splitlines()


def imports(path: Path) -> set[str]:
    """All ``from arraybridge… import …`` of a file, those inside of functions too, one name each."""
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return {
        f"from {node.module} import {one.name} as {node.module.replace('.', '_')}_{one.name}"
        for node in found
        if node.module is not None and node.module.split(".")[0] == "arraybridge"
        for one in node.names
    }


def test_older_modules_have_types(tmp_path: Path) -> None:
    said = check(USER, tmp_path)
    notes = [line.partition("Revealed type is ")[2] for line in said if "note" in line]
    assert "str" in notes[0] and "def (data" in notes[0]
    assert "MemoryType.TORCH" in notes[1] and "AcceleratorDevice" in notes[2]
    errors = [line for line in said if "error" in line]
    assert len(errors) == 1 and "user.py:10" in errors[0] and "MemoryType" in errors[0], said


def test_each_import_of_older_code_is_known(tmp_path: Path) -> None:
    lines = sorted(set().union(*(imports(COMPARE / name) for name in ("cases_02.py", "cases_05.py"))))
    assert len(lines) > 60
    modules = [f"import arraybridge.{name}" for name in OLDER]
    assert check("\n".join([*modules, *lines]), tmp_path) == []


def test_each_older_module_is_shown_to_type_checkers() -> None:
    assert sorted(path.stem for path in PACKAGE.glob("*.pyi")) == sorted(OLDER)
