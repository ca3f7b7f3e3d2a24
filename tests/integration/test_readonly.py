"""Really read-only memory is never written, copies isolate, and records tell the truth."""

from __future__ import annotations

import pytest
from children import Children
from frameworks import NAMES
from readonly_cases import SOURCES


@pytest.fixture(scope="module", autouse=True)
def queued(children: Children) -> None:
    """The long cases, so that they share the cores."""
    for source in SOURCES:
        children.start("readonly_cases", "run_refusal", source)
        for first in NAMES:
            children.start("readonly_cases", "run_chain", source, first)


@pytest.mark.parametrize("second", NAMES)
@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("source", SOURCES)
def test_no_chain_writes_read_only_memory(children: Children, source: str, first: str, second: str) -> None:
    assert children.run("readonly_cases", "run_chain", source, first).check()[second] == ""


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", SOURCES)
def test_sharing_read_only_memory_is_refused_with_the_reason(children: Children, source: str, target: str) -> None:
    assert children.run("readonly_cases", "run_refusal", source).check()[target] == ""


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("option", ["immutable", "mutable"])
def test_copy_isolates_both_ends(children: Children, option: str, source: str, target: str) -> None:
    assert children.run("readonly_cases", "run_isolation", option, source, target).check() == []


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
def test_the_record_agrees_with_the_pointers(children: Children, source: str, target: str) -> None:
    assert children.run("readonly_cases", "run_sharing", source, target).check() == []
