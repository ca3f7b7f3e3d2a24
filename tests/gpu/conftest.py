"""Options of the tests on a GPU, and a line in a file for each check as it begins and ends.

    python -m pytest tests/gpu --attempts 20

``ARRAYBRIDGE_GPU_CHECKS`` names the file. What a check has measured (``record_property``) goes there, too. A process
that dies or is stopped leaves what it has done, and which check it was at.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKS = os.environ.get("ARRAYBRIDGE_GPU_CHECKS", "")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often a schedule of streams is tried."""
    default = int(os.environ.get("ARRAYBRIDGE_GPU_ATTEMPTS", "200"))
    parser.addoption("--attempts", type=int, default=default, help=f"times each schedule is tried (default {default})")


@pytest.fixture
def attempts(request: pytest.FixtureRequest) -> int:
    """How often to try."""
    return int(request.config.getoption("--attempts"))


def _write(event: dict[str, Any]) -> None:
    if not CHECKS:
        return
    with Path(CHECKS).open("a") as file:
        file.write(json.dumps(event) + "\n")


def _name(nodeid: str) -> str:
    return nodeid.rpartition("/")[2]


def _reason(report: Any) -> str:
    """Of a skip its words, of a failure its last line that says something."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
    return lines[0][1:].strip() if lines else report.longreprtext.strip()[-300:]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A check that begins is unfinished until its outcome follows."""
    _write({"check": _name(item.nodeid)})
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The outcome of a check: its own, or that of what went wrong before or after it."""
    if report.when != "call" and report.outcome == "passed":
        return
    event: dict[str, Any] = {"check": _name(report.nodeid), "outcome": report.outcome}
    event["seconds"] = round(report.duration, 3)
    if report.outcome != "passed":
        event["reason"] = _reason(report)
    if report.user_properties:
        event["measured"] = dict(report.user_properties)
    _write(event)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that is skipped as a whole, or cannot be read."""
    if report.outcome != "passed":
        _write({"check": _name(report.nodeid), "outcome": report.outcome, "reason": _reason(report)})


@pytest.fixture(autouse=True)
def _nothing_is_left_over() -> Iterator[None]:
    """Releases that wait are done between checks, so that one check's memory is not another's."""
    yield
    import arraybridge

    deadline = time.monotonic() + 20
    while arraybridge.pending()[0] and time.monotonic() < deadline:
        arraybridge.drain()
        time.sleep(0.001)
    assert arraybridge.pending()[0] == 0, "releases still wait 20 s after the check"
