"""How often a decorated function runs when memory runs out."""

from __future__ import annotations

import asyncio
from typing import Any

import arraybridge
import numpy as np
import pytest
from decorated import array
from frameworks import module_of


class Failing:
    """Counts its calls; the first so many die of memory."""

    def __init__(self, failures: int, error: type[Exception] = MemoryError) -> None:
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error


def plain(fail: Failing, **keywords: Any) -> Any:
    @arraybridge.torch(**keywords)
    def function(image: Any) -> Any:
        assert module_of(image) == "torch"
        fail()
        return image

    return lambda: function(array("numpy"))


def rare(fail: Failing, **keywords: Any) -> Any:
    @arraybridge.torch(**keywords)
    def function(image: Any) -> Any:
        fail()
        return image

    return lambda: function(array("numpy"), dtype_conversion="native")


def coroutine(fail: Failing, **keywords: Any) -> Any:
    @arraybridge.torch(**keywords)
    async def function(image: Any) -> Any:
        fail()
        return image

    return lambda: asyncio.run(function(array("numpy")))


def generator(fail: Failing, **keywords: Any) -> Any:
    @arraybridge.torch(**keywords)
    def function(image: Any) -> Any:
        fail()
        yield image

    return lambda: next(function(array("numpy")))


def async_generator(fail: Failing, **keywords: Any) -> Any:
    @arraybridge.torch(**keywords)
    async def function(image: Any) -> Any:
        fail()
        yield image

    return lambda: asyncio.run(anext(function(array("numpy"))))


KINDS = pytest.mark.parametrize("kind", [plain, rare, coroutine, generator, async_generator])


@KINDS
@pytest.mark.parametrize("failures", [0, 1, 2])
def test_calls_are_counted_exactly(kind: Any, failures: int) -> None:
    fail = Failing(failures)
    assert module_of(kind(fail)()) == "torch"
    assert fail.calls == failures + 1


@KINDS
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_no_more_calls_than_allowed(kind: Any, retries: int) -> None:
    fail = Failing(99)
    with pytest.raises(MemoryError) as caught:
        kind(fail, max_retries=retries)()
    assert fail.calls == retries + 1
    assert any("out of memory" in note for note in caught.value.__notes__)


@KINDS
@pytest.mark.parametrize("keywords", [{"idempotent": False}, {"oom_recovery": False}], ids=str)
def test_what_must_not_run_again_runs_once(kind: Any, keywords: dict[str, bool]) -> None:
    fail = Failing(1)
    with pytest.raises(MemoryError):
        kind(fail, **keywords)()
    assert fail.calls == 1


@KINDS
def test_other_errors_are_not_repeated(kind: Any) -> None:
    fail = Failing(1, type("OutOfMemory", (KeyError,), {}))
    with pytest.raises(KeyError):
        kind(fail)()
    assert fail.calls == 1


@KINDS
def test_the_host_comes_last(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arraybridge.recovery.are_on_host", lambda inputs: False)
    fail = Failing(3)
    assert module_of(kind(fail, host_fallback=True)()) == "torch"
    assert fail.calls == 4


def test_generators_run_once_after_their_first_value() -> None:
    begun = []

    @arraybridge.torch
    def function(image: Any) -> Any:
        begun.append(1)
        yield image
        raise MemoryError

    running = function(array("numpy"))
    next(running)
    with pytest.raises(MemoryError):
        next(running)
    assert len(begun) == 1


def noted(error: BaseException) -> bool:
    """Whether an error says once who holds what."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith("arraybridge: out of memory")]
    return len(notes) == 1 and "Who holds what:" in notes[0] and "process" in notes[0]


@KINDS
@pytest.mark.parametrize("keywords", [{"idempotent": False}, {"oom_recovery": False}], ids=str)
def test_what_runs_once_says_who_holds_what_as_well(kind: Any, keywords: dict[str, bool]) -> None:
    with pytest.raises(MemoryError) as caught:
        kind(Failing(1), **keywords)()
    assert noted(caught.value) and "runs once" in caught.value.__notes__[0]


@KINDS
@pytest.mark.parametrize("keywords", [{}, {"idempotent": False}, {"oom_recovery": False}], ids=str)
def test_other_errors_get_no_note(kind: Any, keywords: dict[str, bool]) -> None:
    with pytest.raises(KeyError) as caught:
        kind(Failing(1, type("OutOfMemory", (KeyError,), {})), **keywords)()
    assert not getattr(caught.value, "__notes__", [])


@KINDS
def test_a_contract_without_memory_says_who_holds_what(kind: Any) -> None:
    def contract(result: Any) -> bool:
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        kind(Failing(0), contract=contract)()
    assert noted(caught.value)


@pytest.mark.parametrize("keywords", [{}, {"idempotent": False}], ids=str)
def test_slices_without_memory_say_who_holds_what(keywords: dict[str, Any]) -> None:
    @arraybridge.numpy(max_retries=0, **keywords)
    def function(image: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError) as caught:
        function(array("numpy", shape=(2, 3, 4)), slice_by_slice=True)
    assert noted(caught.value)


@pytest.mark.parametrize("thrown", [False, True])
def test_generators_say_who_holds_what_after_their_first_value(thrown: bool) -> None:
    @arraybridge.torch
    def function(image: Any) -> Any:
        yield image
        raise MemoryError

    @arraybridge.torch
    async def later(image: Any) -> Any:
        yield image
        raise MemoryError

    async def run() -> None:
        running = later(array("numpy"))
        await anext(running)
        await (running.athrow(MemoryError()) if thrown else anext(running))

    running = function(array("numpy"))
    next(running)
    with pytest.raises(MemoryError) as caught:
        running.throw(MemoryError()) if thrown else next(running)
    assert noted(caught.value) and "has given results" in caught.value.__notes__[0]
    with pytest.raises(MemoryError) as caught:
        asyncio.run(run())
    assert noted(caught.value)


def test_nothing_runs_again_after_success() -> None:
    calls = []

    def contract(result: Any) -> bool:
        raise MemoryError

    @arraybridge.torch(contract=contract)
    def function(image: Any) -> Any:
        calls.append(1)
        return image

    with pytest.raises(MemoryError):
        function(array("numpy"))
    assert len(calls) == 1


def test_what_failed_is_free_when_the_function_runs_again() -> None:
    import weakref

    class Big(np.ndarray):  # type: ignore[type-arg]
        pass

    alive: list[Any] = []

    @arraybridge.numpy
    def function(image: Any) -> Any:
        assert not [one for one in alive if one() is not None]
        big = np.zeros(10).view(Big)
        alive.append(weakref.ref(big))
        if len(alive) < 3:
            raise MemoryError
        return image

    function(array("numpy"))
    assert len(alive) == 3


def test_in_place_changes_are_noticed_under_the_option() -> None:
    @arraybridge.numpy
    def changes(image: Any, other: Any) -> Any:
        other += 1
        return image

    @arraybridge.numpy(idempotent=False)
    def declared(image: Any, other: Any) -> Any:
        other += 1
        return image

    with arraybridge.options(check_inputs=True):
        with pytest.warns(RuntimeWarning, match="changes.*argument 'other'"):
            changes(array("numpy"), array("numpy"))
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            declared(array("numpy"), array("numpy"))
    changes(array("numpy"), array("numpy"))


def test_decorated_functions_that_call_each_other_repeat_once() -> None:
    fail = Failing(99)

    @arraybridge.torch
    def inner(image: Any) -> Any:
        fail()

    @arraybridge.numpy
    def middle(image: Any) -> Any:
        return inner(image)

    @arraybridge.torch
    def outer(image: Any) -> Any:
        return middle(image)

    with pytest.raises(MemoryError) as caught:
        outer(array("numpy"))
    assert fail.calls == 3
    assert len(caught.value.__notes__) == 1


def test_what_must_run_once_runs_once_inside_of_another() -> None:
    fail = Failing(99)

    @arraybridge.torch(idempotent=False)
    def inner(image: Any) -> Any:
        fail()

    @arraybridge.torch
    def outer(image: Any) -> Any:
        return inner(image)

    with pytest.raises(MemoryError):
        outer(array("numpy"))
    assert fail.calls == 1


@pytest.mark.parametrize("retries", [1001, 2**70, -1])
def test_numbers_of_retries_are_checked_at_decoration(retries: int) -> None:
    with pytest.raises(ValueError, match="max_retries must be a"):
        arraybridge.torch(max_retries=retries)(lambda image: image)


def test_a_failure_of_recovery_itself_does_not_replace_the_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("not the function's")

    monkeypatch.setattr("arraybridge.declaration.Attempts", broken)
    call = plain(Failing(9))
    with pytest.raises(MemoryError):
        call()


@pytest.mark.parametrize("kind", [plain, rare, coroutine, generator, async_generator])
def test_a_framework_without_host_arrays_loses_no_error(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoHost:
        def begin(self, args: Any, kwargs: Any) -> Any:
            raise arraybridge.MemoryConversionError("numpy", "torch", "convert", "no arrays on the host")

    monkeypatch.setattr("arraybridge.recovery.are_on_host", lambda inputs: False)
    monkeypatch.setattr(arraybridge.declaration.Declaration, "on_host", lambda self: NoHost())
    fail = Failing(9)
    with pytest.raises(MemoryError) as caught:
        kind(fail, host_fallback=True, max_retries=1)()
    assert fail.calls == 2
    assert "no arrays on the host" in caught.value.__notes__[0]
    assert "at last on the host" in caught.value.__notes__[1]


def test_pyclesperanto_has_no_host_to_go_to() -> None:
    fail = Failing(9)

    @arraybridge.pyclesperanto(host_fallback=True, max_retries=0)
    def whole(image: Any) -> Any:
        fail()

    stack = array("numpy", shape=(3, 4, 4))
    with pytest.raises(MemoryError):
        whole(stack)
    with pytest.raises(MemoryError):
        whole(stack, slice_by_slice=True)
    assert fail.calls == 2


def test_a_group_of_tasks_that_ran_out_of_memory_is_repeated() -> None:
    fail = Failing(1)

    async def task() -> None:
        fail()

    @arraybridge.torch
    async def function(image: Any) -> Any:
        async with asyncio.TaskGroup() as group:
            group.create_task(task())
        return image

    asyncio.run(function(array("numpy")))
    assert fail.calls == 2
