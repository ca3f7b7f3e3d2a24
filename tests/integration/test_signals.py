"""A signal handler may raise at any moment, Ctrl-C is one: what asks the program to stop is never lost on the way.

Signal handlers run inside whatever Python code is running, so the exception comes up in the middle of a conversion, in
any call that our C code makes into Python. The children are functions of this file, see children.py.
"""

from __future__ import annotations

import functools
import gc
import importlib
import itertools
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import arraybridge
import pytest
from arraybridge import convert
from children import Children
from frameworks import MAKE, NAMES, READ, aligned, random_array


def array_of(framework: str) -> Any:
    place = aligned((4, 4), "float32")
    place[...] = random_array("float32", (4, 4))
    return place if framework == "numpy" else MAKE[framework](place, "float32")


# ---------------------------------------------------------------- a timer, at any moment


class Storm:
    """A timer whose signal handler raises KeyboardInterrupt, one for each time that it is armed."""

    def __init__(self) -> None:
        self.armed = False
        self.raised = self.seen = self.ignored = 0
        self.others: list[str] = []

    def handler(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            self.raised += 1
            raise KeyboardInterrupt

    def unraisable(self, report: Any) -> None:
        """Python itself drops, and reports here, what is raised in a destructor or a callback of the collector."""
        if report.exc_type is KeyboardInterrupt:
            self.ignored += 1
        else:
            self.others.append(repr(report.exc_value))

    def once(self, work: Callable[[], object]) -> None:
        try:
            self.armed = True
            for _ in range(10):
                work()
            self.armed = False
        except KeyboardInterrupt:
            self.seen += 1
        except Exception as error:
            self.armed = False
            self.others.append(repr(error))

    def run(self, work: Callable[[], object], seconds: float) -> None:
        signal.signal(signal.SIGALRM, self.handler)
        sys.unraisablehook = self.unraisable
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.once(work)
        signal.setitimer(signal.ITIMER_REAL, 0)


def convert_in_a_storm(source: str, seconds: float) -> dict[str, list[Any]]:
    seen = {}
    array = array_of(source)
    for target in NAMES:
        expected = READ[source](array)
        convert(array, target)
        storm = Storm()
        storm.run(functools.partial(convert, array, target), seconds)
        right = READ[target](convert(array, target)) == expected
        seen[target] = [storm.raised, storm.seen + storm.ignored, storm.others[:3], right]
    return seen


@pytest.fixture(scope="module")
def storms(children: Children) -> None:
    """All queued at once, so that they share the cores: they take a fixed time."""
    for source in NAMES:
        children.start(__name__, "convert_in_a_storm", source, 1.5)


@pytest.mark.alone  # of what the timer fires in a time, enough must come in
@pytest.mark.slow
@pytest.mark.parametrize("source", NAMES)
def test_no_interrupt_is_lost_in_a_storm_of_signals(storms: None, children: Children, source: str) -> None:
    verdicts = children.run(__name__, "convert_in_a_storm", source, 1.5).check()
    for target, (raised, seen, others, right) in verdicts.items():
        assert raised > 100, f"{target}: the timer did not fire"
        assert (seen, others) == (raised, []), f"{target}: {raised} raised, {seen} came out"
        assert right, target


# ---------------------------------------------------------------- each call into Python, one after the other


class Stop(BaseException):
    """What a signal handler raises: with a value that must come out as well."""


def interrupted(work: Callable[[], object], number: int, error: BaseException) -> tuple[str, BaseException | None]:
    """Raises `error` where `work`, which is C, calls its `number`-th Python function: which that was, what came out.

    A profiler raises at the very place where Python runs signal handlers, the entry of a function.
    """
    calls = 0
    base = sys._getframe()
    raised = ""

    def profile(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls, raised
        if event != "call" or frame.f_back is not base or raised:
            return
        calls += 1
        if calls == number:
            raised = f"{frame.f_code.co_qualname} of {frame.f_code.co_filename}"
            raise error

    came_out: BaseException | None = None
    gc.disable()  # JAX has a callback of the collector: Python itself drops what is raised there
    try:
        sys.setprofile(profile)
        work()
        sys.setprofile(None)
    except BaseException as caught:
        came_out = caught
    sys.setprofile(None)
    gc.enable()
    return raised, came_out


def interrupt_everywhere(source: str) -> dict[str, list[Any]]:
    """Every call that a conversion makes into Python, the conversion known already: (calls, what went wrong)."""
    seen = {}
    array = array_of(source)
    for target in NAMES:
        calls, wrong = 0, []
        for copy in (None, True):
            work = functools.partial(convert, array, target, copy=copy)
            work()
            for number in itertools.count(1):
                stop = Stop(number)
                raised, came_out = interrupted(work, number, stop)
                if not raised:
                    break
                calls += 1
                if came_out is not stop:
                    wrong.append(f"copy={copy}, call {number}, {raised}: {came_out!r}")
        right = READ[target](convert(array, target)) == READ[source](array)
        seen[target] = [calls, wrong, right]
    return seen


@pytest.mark.parametrize("source", NAMES)
def test_an_interrupt_in_any_call_into_python_comes_out(children: Children, source: str) -> None:
    seen = children.run(__name__, "interrupt_everywhere", source).check()
    assert {target: wrong for target, (_, wrong, _) in seen.items() if wrong} == {}
    assert all(right for _, _, right in seen.values())
    if source in ("jax", "pyclesperanto"):
        assert sum(calls for calls, _, _ in seen.values()) > 0, "no call was found: nothing was tried"


# ---------------------------------------------------------------- the first conversion


def start_interrupted(source: str, target: str, number: int) -> list[Any]:
    """The first conversion of the process, interrupted; then the way of the second one."""
    array = array_of(source)
    expected = READ[source](array)
    stop = Stop(number)
    raised, came_out = interrupted(functools.partial(convert, array, target), number, stop)
    with arraybridge.records() as log:
        result = convert(array, target)
    record = log[0]
    right = READ[target](result) == expected
    return [raised, came_out is stop, repr(came_out), right, record.mechanism, record.bytes_copied]


FIRST = [("numpy", target) for target in NAMES if target != "numpy"] + [(source, "numpy") for source in NAMES[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), FIRST)
def test_an_interrupted_start_leaves_nothing_wrong_behind(children: Children, source: str, target: str) -> None:
    """What is remembered for the life of the process must not be the answer that an interrupt gave."""
    undisturbed = children.run(__name__, "start_interrupted", source, target, 0).check()
    for number in range(1, 60):
        verdict = children.run(__name__, "start_interrupted", source, target, number).check()
        if not verdict[0]:
            return
        assert verdict[1], f"call {number}, {verdict[0]}: {verdict[2]} came out"
        assert verdict[3:] == undisturbed[3:], f"call {number}, {verdict[0]}"
    pytest.fail("more calls than expected: nothing was seen to its end")


# ---------------------------------------------------------------- the exception itself


def exit_status() -> list[Any]:
    """sys.exit(3) in a handler, at a place that can report nothing."""
    array = array_of("jax")
    convert(array, "numpy", copy=True)
    results = []
    for number in range(1, 10):
        error = SystemExit(3)
        raised, came_out = interrupted(functools.partial(convert, array, "torch", copy=True), number, error)
        if raised:
            results.append([came_out is error, getattr(came_out, "code", None)])
    return results


def test_sys_exit_keeps_its_status(children: Children) -> None:
    seen = children.run(__name__, "exit_status").check()
    assert seen
    assert all(verdict == [True, 3] for verdict in seen)


# ---------------------------------------------------------------- while a framework is being imported


def convert_during_the_import(name: str) -> list[str]:
    """As a signal handler would that runs while the module is being imported."""
    module = importlib.import_module(name)
    module.__spec__._initializing = True  # type: ignore[union-attr]
    try:
        convert(array_of("numpy"), name)
        return ["converted"]
    except arraybridge.MemoryConversionError as error:
        said = [error.status or "", str(error)]
    finally:
        module.__spec__._initializing = False  # type: ignore[union-attr]
    return [*said, READ[name](convert(array_of("numpy"), name))[0]]


@pytest.mark.parametrize("name", ["torch", "tensorflow", "jax", "pyclesperanto"])
def test_a_framework_that_is_being_imported_says_so(children: Children, name: str) -> None:
    status, text, dtype = children.run(__name__, "convert_during_the_import", name).check()
    assert status == "UNAVAILABLE"
    assert f"{name} is being imported right now" in text
    assert "after `import" in text
    assert dtype == "float32", "it works once the import is over"
