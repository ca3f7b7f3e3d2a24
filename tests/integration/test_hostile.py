"""Nothing kills the process: each hostile input in a child, for each target; the right answer, or a readable error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from children import Children
from frameworks import NAMES
from hostile_cases import ALONE, CASES, outcome_of
from nonsense_cases import CALLS, NONSENSE, group_of

INPUTS = [pytest.param(name, target, id=f"{name}-{target}") for name in CASES for target in NAMES]


@pytest.fixture(scope="module", autouse=True)
def queued(request: pytest.FixtureRequest, children: Children) -> None:
    """Queues all cases that were asked for, so that they share the cores; each test waits for its own."""
    for item in request.session.items:
        if item.function in CHILD_OF:
            children.start(*CHILD_OF[item.function](**item.callspec.params))


CHILD_OF: dict[Any, Callable[..., tuple[str, ...]]] = {}
"""What the child of each test runs."""


def in_child(call: Callable[..., tuple[str, ...]]) -> Callable[[Any], Any]:
    def mark(test: Any) -> Any:
        CHILD_OF[test] = call
        return test

    return mark


def directions_of(name: str, target: str) -> tuple[str, ...]:
    if name in ALONE:
        return "hostile_cases", "run_case", name, target
    return "hostile_cases", "run_everywhere", name


def verdict_of(children: Children, name: str, target: str) -> dict[str, Any]:
    """All directions share one child; if it dies, each is tried in its own, so that the guilty one is named."""
    call = directions_of(name, target)
    outcome = children.run(*call)
    if name in ALONE:
        return outcome.check()  # type: ignore[no-any-return]
    if outcome.status == 0:
        return outcome.check()[target]  # type: ignore[no-any-return]
    alone = {each: children.run("hostile_cases", "run_case", name, each) for each in NAMES}
    if all(each.status == 0 for each in alone.values()):
        outcome.check()
    return alone[target].check()  # type: ignore[no-any-return]


def readable(error: dict[str, str], target: str) -> bool:
    """Whether a MemoryConversionError says who, whom and why."""
    names = error["source"] != "" and error["target"] == target
    said = error["source"] in error["text"] and target in error["text"]
    return names and said and len(error["reason"].split()) >= 3


@in_child(directions_of)
@pytest.mark.parametrize(("name", "target"), INPUTS)
def test_hostile_input(children: Children, name: str, target: str) -> None:
    verdict = verdict_of(children, name, target)
    assert not verdict["problems"], "\n".join(verdict["problems"])
    for error in verdict["errors"].values():
        assert readable(error, target), error
    wanted = "error" if verdict.get("not_held") else outcome_of(name, target)
    if wanted != "either":
        assert verdict["verdict"] == {"right": "right", "error": "MemoryConversionError"}[wanted], verdict["errors"]
    if "copy=None" in verdict["errors"]:
        assert set(verdict["errors"]) >= {"copy=None", "copy=False"}, "copy=False gave what copy=None refused"


@in_child(lambda name: ("nonsense_cases", "run_nonsense", name))
@pytest.mark.parametrize("name", NONSENSE)
def test_what_is_no_array(children: Children, name: str) -> None:
    verdict = children.run("nonsense_cases", "run_nonsense", name).check()
    for target in NAMES:
        assert not verdict[target]["problems"], "\n".join(verdict[target]["problems"])
        assert verdict[target]["verdict"] == "MemoryConversionError"
        for error in verdict[target]["errors"].values():
            assert readable(error, target), error
    assert verdict["detect_memory_type"] is None
    assert verdict["describe"] is None


@in_child(lambda name: ("nonsense_cases", "run_calls", group_of(name)))
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_means_nothing(children: Children, name: str) -> None:
    ending = children.run("nonsense_cases", "run_calls", group_of(name)).check()[name]
    assert ending["error"], ending["text"]
    assert len(ending["text"].split()) >= 3, ending


def test_a_child_that_dies_is_a_failure() -> None:
    """The tests above can fail: a signal and a hang are both seen."""
    children = Children(1)
    try:
        with pytest.raises(AssertionError, match="died of SIGABRT"):
            children.run("os", "abort").check()
        with pytest.raises(AssertionError, match="did not end in time"):
            children.run("signal", "pause", timeout=0.5).check()
        with pytest.raises(AssertionError, match="ended with 1"):
            children.run("os", "no_such_function").check()
    finally:
        children.close()
