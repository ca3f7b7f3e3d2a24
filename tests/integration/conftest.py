"""Settings of the tests with real frameworks, and who runs what when they run on several cores.

    pytest -m "not alone" -n 2      most of them: each file in one process, test_order in pieces
    pytest -m alone                 what measures time or memory, or forks: afterwards, file by file

Without these options everything runs in one process, alone or not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
sys.path.insert(0, str(Path(__file__).parent))

from children import Children

LONG = ["test_hostile.py", "test_decorators_threads.py", "test_recovery.py", "test_policy_framework.py"]
"""Begun first: a long file at the end would leave the other processes without work."""

IN_PIECES = ["test_order.py"]
"""Each test goes to the process that is free: last, to fill up what the files have left. Their tests share nothing."""


def pytest_configure(config: pytest.Config) -> None:
    """Declares the marks."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds")
    config.addinivalue_line("markers", "alone: measures time or memory, or forks; others at the same time disturb")


def turn(item: pytest.Item) -> int:
    """Which files come first."""
    if item.path.name in LONG:
        return LONG.index(item.path.name)
    return len(LONG) + (item.path.name in IN_PIECES)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, pieces last."""
    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file is one piece of work, since its fixtures are made once; in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return nodeid if Path(file).name in IN_PIECES else file

        def remove_node(self, node: Any) -> Any:
            """After a crash: the rest of the file is done by another process, what crashed is not tried again."""
            crashed = super().remove_node(node)
            for tests in self.workqueue.values():
                if crashed in tests:
                    tests[crashed] = True
            return crashed

    config.option.loadscopereorder = False
    return Files(config, log)


@pytest.fixture(scope="session")
def children() -> Iterator[Children]:
    """Fork servers for every file that needs no special ones: each takes seconds to import the frameworks."""
    started = Children()
    yield started
    started.close()
