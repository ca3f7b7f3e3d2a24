"""Importing arraybridge and converting leave the process as it was, but for the two variables that are documented."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from environment_child import FRAMEWORKS

CHILD = Path(__file__).with_name("environment_child.py")
OURS = {"tensorflow": ("TF_FORCE_GPU_ALLOW_GROWTH", "true"), "jax": ("XLA_PYTHON_CLIENT_PREALLOCATE", "false")}
"""The two variables, by the framework before whose first import they are set."""


def run(what: str, **environment: str) -> dict[str, Any]:
    inherited = {name: value for name, value in os.environ.items() if name not in dict(OURS.values())}
    inherited.update(environment)
    call = [sys.executable, str(CHILD), what]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300, env=inherited)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_importing_changes_nothing_and_imports_no_framework() -> None:
    assert run("import") == {"changes": {}, "frameworks": [], "threads": 0}


@pytest.fixture(scope="module")
def asked() -> dict[str, dict[str, Any]]:
    """What changes when arraybridge is asked for a framework, beside what the framework itself changes."""
    return {name: run(name) for name in FRAMEWORKS}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_asking_for_a_framework_changes_what_its_import_changes(asked: dict[str, Any], name: str) -> None:
    ours, alone = asked[name]["ours"]["changes"], asked[name]["alone"]["changes"]
    before, after = ours.pop("environment", [{}, {}])
    _, wanted = alone.pop("environment", [before, before])
    added = dict(OURS.values())
    # JAX comes along with others where they import it themselves: either variable may be there, with its value.
    assert {key: value for key, value in after.items() if added.get(key) != value} == wanted
    if name in OURS:
        assert after[OURS[name][0]] == OURS[name][1]
    assert {key: value for key, value in ours.items() if alone.get(key) != value} == {}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_no_other_framework_is_imported(asked: dict[str, Any], name: str) -> None:
    others = set(FRAMEWORKS) - {name}
    extra = set(asked[name]["ours"]["modules"]) - set(asked[name]["alone"]["modules"])
    assert not extra & (others | {"cupy"})


@pytest.mark.parametrize("values", [{}, {"XLA_PYTHON_CLIENT_PREALLOCATE": "true"}])
def test_a_variable_that_the_user_set_stays(values: dict[str, str]) -> None:
    _, after = run("jax", **values)["ours"]["changes"].get("environment", [{}, values])
    expected = values.get("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    assert after["XLA_PYTHON_CLIENT_PREALLOCATE"] == expected


def test_conversions_leave_every_setting() -> None:
    assert run("settings") == {"changes": {}}
