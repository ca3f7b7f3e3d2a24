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
def test_the_host_comes_last(kind: Any) -> None:
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
