"""Out-of-memory: what counts as it, what is done about it, and exactly how often."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge.recovery import InputWatch, Recovery
from children import Children

FRAMEWORKS = ["numpy", "torch", "jax", "tensorflow"]
PAIRS = [("torch", "numpy"), ("numpy", "torch"), ("jax", "torch"), ("torch", "jax"), ("numpy", "tensorflow")]


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    """Processes of their own for what may die."""
    made = Children(1)
    yield made
    made.close()


def child(children: Children, function: str, *arguments: Any) -> Any:
    """The verdict of one function of recovery_child.py."""
    return children.run("recovery_child", function, *arguments, timeout=180).check()


# ---------------------------------------------------------------- what is out-of-memory


@pytest.mark.parametrize("way", ["absurd", "limit"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_real_one_is_recognised(children: Children, framework: str, way: str) -> None:
    kind, text, verdict = child(children, "real_error", framework, way)
    assert kind != "nothing"
    assert verdict, (kind, text)


@pytest.mark.parametrize(
    ("way", "kind"),
    [
        ("tensorflow_of_numpy", "MemoryError"),
        ("bytearray", "MemoryError"),
        ("wrapped", "RuntimeError"),
        ("mmap", "OSError"),
    ],
)
def test_so_is_one_that_is_another_ones(children: Children, way: str, kind: str) -> None:
    assert child(children, "of_another", way)[::2] == [kind, True]


def test_an_empty_memory_error_is_one(children: Children) -> None:
    assert child(children, "of_another", "bytearray") == ["MemoryError", "", True]


def test_beyond_the_largest_allocation_is_halved_at_once(children: Children) -> None:
    text, verdict, action, batch = child(children, "pyclesperanto_too_large")
    assert "(-61)" in text
    assert (verdict, action, batch) == (True, "halve", 4)


def test_near_misses_are_none(children: Children) -> None:
    verdicts = child(children, "judge_all", "near")
    assert len(verdicts) >= 40
    assert [name for name, verdict in verdicts.items() if verdict] == []


def test_texts_of_frameworks_that_are_not_here(children: Children) -> None:
    """Simulated: no GPU, and PoCL dies of the real ones."""
    verdicts = child(children, "judge_all", "real")
    assert [name for name, verdict in verdicts.items() if not verdict] == []


def chained(how: str) -> BaseException:
    """A KeyError that a MemoryError has led to, in one of several ways."""
    try:
        try:
            raise MemoryError
        except MemoryError as memory:
            if how == "cause":
                raise KeyError("x") from memory
            if how == "suppressed":
                raise KeyError("x") from None
            raise KeyError("x")  # noqa: B904  the context is the point
    except KeyError as error:
        return error


def test_causes_and_contexts_are_walked() -> None:
    assert arraybridge.is_out_of_memory(chained("cause"))
    assert arraybridge.is_out_of_memory(chained("context"))
    assert not arraybridge.is_out_of_memory(chained("suppressed"))


def test_cycles_of_causes_end() -> None:
    first, second = KeyError("a"), ValueError("b")
    first.__cause__, second.__context__ = second, first
    assert not arraybridge.is_out_of_memory(first)
    second.__cause__ = MemoryError()
    assert arraybridge.is_out_of_memory(first)


def test_what_asks_to_stop_is_none_whatever_its_context() -> None:
    stop = KeyboardInterrupt()
    stop.__context__ = MemoryError()
    assert not arraybridge.is_out_of_memory(stop)


def test_our_own_error_is_judged_by_its_status() -> None:
    error = arraybridge.MemoryConversionError("numpy", "torch", "convert", "no memory", status="OOM")
    assert arraybridge.is_out_of_memory(error)
    assert not arraybridge.is_out_of_memory(
        arraybridge.MemoryConversionError("numpy", "torch", "convert", "out of memory", status="UNSUPPORTED")
    )


def test_not_an_exception_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        arraybridge._library.native.judge("memory")


# ---------------------------------------------------------------- how often


class Failing:
    """Fails some times, then succeeds; counts its calls."""

    def __init__(self, failures: int, error: Callable[[], BaseException] = MemoryError) -> None:
        self.left = failures
        self.calls = 0
        self._error = error

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self._error()
        return "done"


@pytest.mark.parametrize("max_retries", [0, 1, 2, 5])
@pytest.mark.parametrize("failures", [0, 1, 2, 3, 99])
def test_retries_are_counted_exactly(max_retries: int, failures: int) -> None:
    function = Failing(failures)
    if failures <= max_retries:
        assert arraybridge.run_with_recovery(function, max_retries=max_retries) == "done"
        assert function.calls == failures + 1
    else:
        with pytest.raises(MemoryError):
            arraybridge.run_with_recovery(function, max_retries=max_retries)
        assert function.calls == max_retries + 1


@pytest.mark.parametrize("error", [KeyError, lambda: KeyError("ran out of memory"), KeyboardInterrupt, GeneratorExit])
def test_other_failures_run_once(error: Callable[[], BaseException]) -> None:
    function = Failing(1, error)
    with pytest.raises((KeyError, KeyboardInterrupt, GeneratorExit)):
        arraybridge.run_with_recovery(function)
    assert function.calls == 1


def test_what_must_run_once_runs_once() -> None:
    function = Failing(1)
    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(function, idempotent=False, host_fallback=True)
    assert function.calls == 1
    assert "idempotent=False" in caught.value.__notes__[0]


def test_a_failure_inside_a_handler_of_out_of_memory_is_not_out_of_memory() -> None:
    """Python gives it the MemoryError that is being handled far above as its context."""
    function = Failing(1, KeyError)
    try:
        raise MemoryError
    except MemoryError:
        with pytest.raises(KeyError) as caught:
            arraybridge.run_with_recovery(function)
    assert isinstance(caught.value.__context__, MemoryError)
    assert function.calls == 1


def test_slices_are_halved_then_the_host() -> None:
    recovery = Recovery(max_retries=1, slices=9, host_fallback=True)
    assert recovery.batch == 9
    actions = [(recovery.next(MemoryError()), recovery.batch) for _ in range(6)]
    assert actions == [("retry", 9), ("halve", 5), ("halve", 3), ("halve", 2), ("halve", 1), ("host", 1)]
    error = MemoryError("last")
    with pytest.raises(MemoryError, match="last") as caught:
        recovery.next(error)
    assert caught.value is error
    assert (recovery.retries, recovery.halvings) == (1, 4)


def test_a_host_fallback_is_called_once() -> None:
    seen: list[Any] = []

    def on_host(x: Any) -> str:
        seen.append(x)
        return "host"

    function = Failing(99)
    assert arraybridge.run_with_recovery(lambda x: function(), 7, max_retries=1, host_fallback=on_host) == "host"
    assert (function.calls, seen) == (2, [7])


def test_a_host_fallback_that_fails_is_the_end() -> None:
    function = Failing(99)
    with pytest.raises(MemoryError):
        arraybridge.run_with_recovery(lambda x: function(), np.ones(3), max_retries=1, host_fallback=True)
    assert function.calls == 3


def test_a_device_that_cannot_be_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="device must be"):
        Recovery(device="gpu-of-mine")


# ---------------------------------------------------------------- inputs


def test_donated_inputs_are_never_given_again() -> None:
    import jax
    import jax.numpy as jnp

    x = jnp.ones(4)
    calls = 0

    def function(x: Any) -> None:
        nonlocal calls
        calls += 1
        x.delete()
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(function, x)
    assert calls == 1
    assert "donated" in caught.value.__notes__[0]
    assert isinstance(x, jax.Array)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_inputs_changed_in_place_are_noticed_when_watched(framework: str) -> None:
    x = arraybridge.convert(np.zeros((3, 4), np.float32)[:, ::2], framework)
    watch = InputWatch([1, "a", x])
    assert watch.changed() == []
    x[1, 1] = 1
    assert watch.changed() == ["input 2"]
    recovery = Recovery(watch=watch)
    assert recovery.decide(MemoryError()) == "raise"


# ---------------------------------------------------------------- what is left of a failure


def failing_deep(depth: int) -> None:
    """Fails some frames below."""
    if depth == 0:
        raise MemoryError("deep")
    failing_deep(depth - 1)


def test_the_traceback_stays_and_a_note_says_who_holds_what() -> None:
    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(failing_deep, 3, max_retries=1)
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-5:] == ["run_with_recovery", "failing_deep", "failing_deep", "failing_deep", "failing_deep"]
    assert len(caught.value.__notes__) == 1
    note = caught.value.__notes__[0]
    assert note.startswith("arraybridge: out of memory after 2 attempts")
    assert "process" in note and "numpy" in note and "cannot be known" in note


def test_frames_of_the_last_failure_keep_their_locals() -> None:
    def work() -> None:
        evidence = "still here"  # noqa: F841
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(work, max_retries=1)
    trace = caught.value.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None and trace.tb_frame.f_locals == {"evidence": "still here"}


def test_a_suspended_generator_that_had_caught_one_goes_on() -> None:
    def steps() -> Iterator[str]:
        try:
            raise MemoryError
        except MemoryError as error:
            kept.append(error)
            yield "caught"
        yield "going on"

    kept: list[BaseException] = []
    generator = steps()
    assert next(generator) == "caught"
    failure = ValueError()
    failure.__cause__ = kept[0]
    assert Recovery().decide(failure) == "retry"
    assert next(generator) == "going on"


def test_nothing_of_a_recovered_call_is_kept() -> None:
    class Big:
        alive = 0

        def __init__(self) -> None:
            Big.alive += 1

        def __del__(self) -> None:
            Big.alive -= 1

    seen: list[int] = []

    def work() -> None:
        seen.append(Big.alive)
        mine = Big()  # noqa: F841
        if len(seen) < 3:
            raise MemoryError

    arraybridge.run_with_recovery(work)
    gc.collect()
    assert seen == [0, 0, 0]
    assert Big.alive == 0


# ---------------------------------------------------------------- under a real limit


@pytest.mark.parametrize("hold", ["cycle", "frames"])
@pytest.mark.parametrize(("holder", "worker"), PAIRS)
def test_garbage_of_another_framework_makes_room_with_one_retry(
    children: Children, holder: str, worker: str, hold: str
) -> None:
    assert child(children, "recovers", holder, worker, hold, True) == [400, 2, True]
    assert child(children, "recovers", holder, worker, hold, False) == ["failed", 1, True]


def test_frames_of_a_kept_exception_are_emptied(children: Children) -> None:
    assert child(children, "own_frames") == [400, 1]


def test_a_conversion_recovers_by_itself(children: Children) -> None:
    assert child(children, "conversion") == [300, 1]


def test_a_conversion_without_any_room_says_so(children: Children) -> None:
    assert child(children, "conversion_fails") == ["OOM", True]


# ---------------------------------------------------------------- who holds what


def test_a_report_starts_nothing(children: Children) -> None:
    backends, no_context, idle = child(children, "report_starts_nothing")
    assert backends == []
    assert no_context
    assert idle["jax"] and idle["tensorflow"] and not idle["numpy"]


def test_a_report_has_figures_or_reasons() -> None:
    report = arraybridge.memory_report(clear=True)
    assert report.holdings[0].backend == "process"
    assert report.holdings[0].in_use > 1 << 20
    assert {row.backend for row in report if row.cleared} == {row.backend for row in report if not row.idle}
    for row in report:
        if None in (row.in_use, row.cached, row.returned):
            assert row.reason or row.clear_reason, row
        assert row.backend in str(report)
    assert pickle.loads(pickle.dumps(report)) == report
    assert [row["backend"] for row in report.to_json()] == [row.backend for row in report]


def test_a_report_of_one_device() -> None:
    assert {row.device for row in arraybridge.memory_report("cpu:0")} == {"cpu:0"}
    assert len(arraybridge.memory_report("cuda:7")) == 0
    with pytest.raises(ValueError, match="device must be"):
        arraybridge.memory_report("gpu-of-mine")


def test_clearing_names_every_imported_framework() -> None:
    assert {"process", "numpy"} <= {row.backend for row in arraybridge.clear_caches()}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs ``arraybridge memory``."""
    return subprocess.run(
        [sys.executable, "-m", "arraybridge", "memory", *arguments], capture_output=True, text=True, timeout=300
    )


def test_the_command_shows_each_framework() -> None:
    import json

    done = command("--json", "--clear", "numpy", "torch")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one["backend"] for one in found] == ["numpy", "torch"]
    assert all(row["cleared"] for one in found for row in one["holdings"])
    shown = command("numpy")
    assert shown.returncode == 0
    assert "tracemalloc" in shown.stdout and "cannot be known" in shown.stdout
    assert command("nonsense").returncode == 2
