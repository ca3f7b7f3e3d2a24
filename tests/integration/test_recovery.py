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


@pytest.fixture(scope="module", autouse=True)
def queued(children: Children) -> None:
    """The cases in which TensorFlow sleeps for ten seconds before it gives up: two at a time."""
    for way in ("absurd", "limit"):
        children.start("recovery_child", "real_error", "tensorflow", way, timeout=180)
    for hold in ("cycle", "frames"):
        for recover in (True, False):
            children.start("recovery_child", "recovers", "numpy", "tensorflow", hold, recover, timeout=180)


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


def test_a_group_is_one_if_all_its_members_are() -> None:
    group = ExceptionGroup("tasks", [MemoryError(), ExceptionGroup("more", [MemoryError()])])
    assert arraybridge.is_out_of_memory(group)
    wrapped = RuntimeError()
    wrapped.__cause__ = group
    assert arraybridge.is_out_of_memory(wrapped)
    assert not arraybridge.is_out_of_memory(ExceptionGroup("tasks", [MemoryError(), KeyError("memory")]))
    cyclic = MemoryError()
    group = ExceptionGroup("cycle", [cyclic, cyclic])
    cyclic.__cause__ = group
    assert arraybridge.is_out_of_memory(group)


def test_frames_of_a_groups_members_are_emptied() -> None:
    def fails() -> None:
        evidence = object()  # noqa: F841
        raise MemoryError

    kept: list[Exception] = []
    for _ in range(2):
        try:
            fails()
        except MemoryError as error:
            kept.append(error)
    assert Recovery().decide(ExceptionGroup("tasks", kept)) == "retry"
    for error in kept:
        trace = error.__traceback__
        assert trace is not None and trace.tb_next is not None
        assert trace.tb_next.tb_frame.f_locals == {}


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


def test_a_host_fallback_that_fails_is_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraybridge.recovery.are_on_host", lambda inputs: False)
    function = Failing(99)
    with pytest.raises(MemoryError):
        arraybridge.run_with_recovery(lambda x: function(), np.ones(3), max_retries=1, host_fallback=True)
    assert function.calls == 3


def test_the_host_is_left_out_where_all_inputs_are_on_it() -> None:
    for inputs, calls in (((np.ones(3),), 2), (([np.ones(3)], {"x": 1}), 2), ((), 3), ((1, "x"), 3)):
        function = Failing(99)
        with pytest.raises(MemoryError):
            arraybridge.run_with_recovery(lambda *x: function(), *inputs, max_retries=1, host_fallback=True)  # noqa: B023
        assert function.calls == calls, inputs


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


def test_a_generator_that_caught_what_is_raised_elsewhere_again_goes_on() -> None:
    def steps() -> Iterator[str]:
        try:
            raise stored
        except MemoryError:
            pass
        yield "caught"
        yield "going on"

    def function() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise stored
        return "done"

    stored = MemoryError()
    calls: list[int] = []
    generator = steps()
    assert next(generator) == "caught"
    assert arraybridge.run_with_recovery(function) == "done"
    assert next(generator, "ended") == "going on"


def test_frames_of_a_coroutine_that_has_failed_are_emptied() -> None:
    async def fails() -> None:
        evidence = object()  # noqa: F841
        raise MemoryError

    async def suspended() -> None:
        try:
            raise kept[0]
        except MemoryError:
            await Later()

    class Later:
        def __await__(self) -> Iterator[None]:
            yield

    coroutine = fails()
    kept: list[BaseException] = []
    try:
        coroutine.send(None)
    except MemoryError as error:
        kept.append(error)
    waits = suspended()
    waits.send(None)
    assert Recovery().decide(kept[0]) == "retry"
    trace = kept[0].__traceback__
    while trace is not None:
        assert trace.tb_frame.f_code.co_name != "fails" or trace.tb_frame.f_locals == {}
        trace = trace.tb_next
    with pytest.raises(StopIteration):
        waits.send(None)


def test_only_jax_arrays_are_asked_whether_they_are_gone() -> None:
    class Record:
        def is_deleted(self) -> bool:
            return True

    class Session:
        def is_deleted(self, session: object) -> bool:
            return True

    class Broken:
        def is_deleted(self) -> bool:
            raise KeyError

    for stranger in (Record(), Session(), Broken()):
        assert Recovery().decide(MemoryError(), (stranger,)) == "retry"


def test_containers_of_inputs_are_read_whatever_their_methods_do() -> None:
    class Odd(dict):  # type: ignore[type-arg]
        def values(self) -> Any:
            raise RuntimeError

    class OddList(list):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            raise RuntimeError

    shared: list[Any] = [1]
    for _ in range(60):
        shared = [shared, shared]
    deep: tuple[Any, ...] = ()
    for _ in range(5000):
        deep = (deep,)
    cyclic: list[Any] = []
    cyclic.append(cyclic)
    for value in (Odd(a=1), OddList([1]), shared, deep, cyclic):
        assert Recovery().decide(MemoryError(), (value,)) == "retry"
        assert InputWatch([value]).changed() == []


def test_what_fails_in_recovery_itself_is_noted_and_not_raised() -> None:
    class Watch:
        def changed(self) -> list[str]:
            raise OSError

    error = MemoryError("the user's")
    assert Recovery(watch=Watch()).decide(error) == "raise"  # type: ignore[arg-type]
    assert "recovery itself has failed (OSError)" in error.__notes__[0]

    class NoNotes(MemoryError):
        def add_note(self, note: str) -> None:
            raise RuntimeError

    assert Recovery(max_retries=0).decide(NoNotes()) == "raise"


@pytest.mark.parametrize("retries", [-1, 1001, 2**70, True, "2"])
def test_numbers_of_retries_are_checked_before_the_call(retries: Any) -> None:
    function = Failing(0)
    with pytest.raises(ValueError, match="max_retries must be a"):
        arraybridge.run_with_recovery(function, max_retries=retries)
    assert function.calls == 0


def test_any_number_of_slices_can_be_halved() -> None:
    recovery = Recovery(max_retries=0, slices=2**70)
    assert recovery.decide(MemoryError()) == "halve"


def test_a_host_that_cannot_be_loses_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(value: object) -> object:
        raise ValueError("no host here")

    fail = Failing(9)
    monkeypatch.setattr("arraybridge.recovery.are_on_host", lambda inputs: False)
    monkeypatch.setattr("arraybridge.recovery._to_host", refuses)
    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(lambda x: fail(), np.ones(3), max_retries=1, host_fallback=True)
    assert "no host here" in caught.value.__notes__[0]
    assert "at last on the host" in caught.value.__notes__[1]


# ---------------------------------------------------------------- one recovery in another


def test_what_was_repeated_in_vain_is_not_repeated_by_who_has_called() -> None:
    function = Failing(99)
    with pytest.raises(MemoryError) as caught:
        arraybridge.run_with_recovery(arraybridge.run_with_recovery, arraybridge.run_with_recovery, function)
    assert function.calls == 3
    assert len(caught.value.__notes__) == 1


def test_nor_is_it_when_it_is_the_reason_of_another_error() -> None:
    def wraps() -> None:
        try:
            arraybridge.run_with_recovery(function)
        except MemoryError as error:
            raise RuntimeError from error

    function = Failing(99)
    with pytest.raises(RuntimeError):
        arraybridge.run_with_recovery(wraps)
    assert function.calls == 3


def test_another_way_that_runs_out_of_memory_is_repeated() -> None:
    def falls_back() -> None:
        try:
            arraybridge.run_with_recovery(first, max_retries=1)
        except MemoryError:
            second()

    first, second = Failing(99), Failing(2)
    arraybridge.run_with_recovery(falls_back)
    assert (first.calls, second.calls) == (6, 3)


def test_who_has_called_still_makes_it_smaller_or_takes_it_to_the_host() -> None:
    error = MemoryError()
    inner = Recovery(max_retries=1)
    assert [inner.decide(error), inner.decide(error)] == ["retry", "raise"]
    outer = Recovery(slices=2, host_fallback=True)
    assert [outer.decide(error) for _ in range(3)] == ["halve", "host", "raise"]
    assert outer.retries == 0
    assert Recovery(host_fallback=True).decide(error) == "raise", "the host has been tried"


def test_what_runs_once_runs_once_whoever_calls() -> None:
    function = Failing(99)
    with pytest.raises(MemoryError):
        arraybridge.run_with_recovery(arraybridge.run_with_recovery, function, max_retries=5)
    assert function.calls == 3

    def once() -> None:
        arraybridge.run_with_recovery(function, idempotent=False)

    with pytest.raises(MemoryError):
        arraybridge.run_with_recovery(once)
    assert function.calls == 4


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


@pytest.mark.parametrize("clear", [False, True])
def test_a_report_of_a_device_that_nobody_has_says_so(clear: bool) -> None:
    """In a process of its own: JAX is imported there and has touched no device."""
    code = (
        "import jax, arraybridge\n"
        f"report = arraybridge.memory_report('cuda:9', clear={clear})\n"
        "print(len(report), report, report.to_json())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 no framework that is in use here has a device cuda:9; those in use have cpu:0")
    assert done.stdout.rstrip().endswith("[]")


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
