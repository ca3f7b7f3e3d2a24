"""Generators, coroutines and async generators: wrappers of their kind, with their whole protocol."""

from __future__ import annotations

import asyncio
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import arraybridge
import pytest
from arraybridge import memory_types
from decorated import array, decorator, values
from frameworks import NAMES, module_of

PAIRS = [pytest.param(source, target, id=f"{source}-{target}") for source in NAMES for target in NAMES]


def plain(image: Any) -> Any:
    return image


def stream(image: Any, count: int = 3) -> Iterator[Any]:
    for _ in range(count):
        yield image


async def later(image: Any) -> Any:
    await asyncio.sleep(0)
    return image


async def later_stream(image: Any, count: int = 3) -> AsyncIterator[Any]:
    for _ in range(count):
        await asyncio.sleep(0)
        yield image


class Later:
    async def __call__(self, image: Any) -> Any:
        return image


KINDS = [inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("function", [plain, stream, later, later_stream], ids=lambda one: one.__name__)
def test_inspect_tells_the_truth(name: str, function: Any) -> None:
    for made in (decorator(name)(function), memory_types(name, "input")(function)):
        assert [asked(made) for asked in KINDS] == [asked(function) for asked in KINDS]
    assert inspect.iscoroutinefunction(decorator(name)(Later()))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_each_yield_is_converted(source: str, target: str) -> None:
    @decorator(target)(output_type="input")
    def double(image: Any) -> Iterator[Any]:
        assert module_of(image) == target
        yield image
        yield {"again": (image,)}

    one, two = double(array(source))
    assert module_of(one) == module_of(two["again"][0]) == source


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_coroutines_and_async_generators_are_converted(source: str, target: str) -> None:
    async def run() -> None:
        assert module_of(await decorator(target)(output_type=source)(later)(array("numpy"))) == source
        found = [one async for one in decorator(target)(output_type=source)(later_stream)(array("numpy"))]
        assert [module_of(one) for one in found] == [source] * 3

    asyncio.run(run())


def test_generators_take_what_is_sent_and_give_what_they_return() -> None:
    seen = []

    @arraybridge.torch(output_type="numpy")
    def echo(image: Any) -> Any:
        got = yield image
        while got is not None:
            seen.append(module_of(got))
            got = yield got
        return image

    running = echo(array("jax", 1))
    assert module_of(next(running)) == "numpy"
    assert (running.send(array("tensorflow", 5)) == 5).all()
    assert seen == ["torch"]
    with pytest.raises(StopIteration) as stop:
        running.send(None)
    assert module_of(stop.value.value) == "numpy"


def test_generators_pass_exceptions_and_closing_on() -> None:
    log = []

    @arraybridge.torch
    def careful(image: Any) -> Any:
        try:
            while True:
                try:
                    yield image
                except KeyError as error:
                    log.append(error)
        finally:
            log.append("closed")

    running, thrown = careful(array("numpy")), KeyError("x")
    next(running)
    assert module_of(running.throw(thrown)) == "torch" and log == [thrown]
    running.close()
    assert log[1:] == ["closed"]
    log.clear()
    running = careful(array("numpy"))
    next(running)
    mine = OSError("mine")
    with pytest.raises(OSError) as caught:
        running.throw(mine)
    assert caught.value is mine and log == ["closed"]


def test_async_generators_have_the_whole_protocol_too() -> None:
    log: list[Any] = []

    @arraybridge.torch(output_type="numpy")
    async def careful(image: Any) -> Any:
        try:
            while True:
                try:
                    log.append((yield image))
                except KeyError as error:
                    log.append(error)
        finally:
            log.append("closed")

    async def run() -> None:
        running, thrown = careful(array("numpy")), KeyError("x")
        assert module_of(await anext(running)) == "numpy"
        await running.asend(array("jax"))
        assert module_of(log.pop()) == "torch"
        await running.athrow(thrown)
        assert log == [thrown]
        await running.aclose()
        assert log[1:] == ["closed"]

    asyncio.run(run())


def test_a_generator_that_only_returns_or_fails_at_once() -> None:
    @arraybridge.torch(output_type="numpy")
    def returns(image: Any) -> Any:
        return image
        yield

    with pytest.raises(StopIteration) as stop:
        next(returns(array("jax")))
    assert module_of(stop.value.value) == "numpy"

    @arraybridge.torch
    def fails(image: Any) -> Any:
        raise KeyError("x")
        yield

    with pytest.raises(KeyError):
        next(fails(array("jax")))


def test_what_was_yielded_is_not_kept() -> None:
    class Tracked:
        pass

    @arraybridge.numpy
    def many(image: Any) -> Any:
        for _ in range(2):
            yield Tracked()

    running = many(array("numpy"))
    reference = weakref.ref(next(running))
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("error", [KeyError("memory"), ValueError("out of memory")])
def test_exceptions_of_coroutines_pass_unchanged(error: Exception) -> None:
    @arraybridge.torch
    async def fails(image: Any) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        asyncio.run(fails(array("numpy")))
    assert caught.value is error and error.__context__ is None


def test_cancelling_reaches_the_coroutine() -> None:
    log = []

    @arraybridge.torch
    async def waits(image: Any) -> Any:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def run() -> None:
        task = asyncio.create_task(waits(array("numpy")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert log == ["cancelled"]


@pytest.mark.parametrize("function", [stream, later, later_stream], ids=lambda one: one.__name__)
def test_slice_by_slice_is_for_functions(function: Any) -> None:
    with pytest.raises(TypeError, match="slice_by_slice"):
        arraybridge.torch(slice_by_slice_default=True)(function)

    async def drive(made: Any) -> None:
        if inspect.isasyncgen(made):
            await anext(made)
        else:
            await made

    made = arraybridge.torch(function)(array("numpy"), slice_by_slice=True)
    with pytest.raises(TypeError, match="slice_by_slice"):
        next(made) if inspect.isgenerator(made) else asyncio.run(drive(made))


@pytest.mark.parametrize(("function", "words"), [
    (stream, "gives its results one after the other"),
    (later, "has to be awaited"),
    (later_stream, "gives its results one after the other"),
], ids=lambda one: getattr(one, "__name__", ""))  # fmt: skip
def test_why_slice_by_slice_is_for_functions(function: Any, words: str) -> None:
    with pytest.raises(TypeError, match=f"{words}.*unstack_slices"):
        arraybridge.torch(slice_by_slice_default=True)(function)


def test_contracts_are_asked_about_each_value() -> None:
    @arraybridge.numpy(contract=lambda image: values(image)[0, 0] < 3)
    def counts(image: Any) -> Any:
        for _ in range(9):
            yield image
            image = image + 1

    running = counts(array("numpy", 1))
    next(running), next(running)
    with pytest.raises(ValueError, match="counts violated its output contract"):
        next(running)


# ---------------------------------------------------------------- results that cannot be given


class Tries:
    """Swallows whatever comes in at its yield, as a worker does that goes on after errors."""

    def __init__(self) -> None:
        self.caught: list[Exception] = []

    def numbers(self, image: Any) -> Iterator[Any]:
        for value in (1.0, float("nan"), 3.0):
            try:
                yield image * 0.0 + value
            except Exception as error:
                self.caught.append(error)

    async def numbers_later(self, image: Any) -> AsyncIterator[Any]:
        for value in (1.0, float("nan"), 3.0):
            try:
                yield image * 0.0 + value
            except Exception as error:
                self.caught.append(error)


def test_a_result_that_cannot_be_given_is_the_callers_to_hear_of() -> None:
    tries = Tries()
    stepping = arraybridge.numpy(tries.numbers)(array("numpy", dtype="uint8"))
    assert (next(stepping) == 1).all()
    with pytest.raises(arraybridge.MemoryConversionError, match="NaN"):
        next(stepping)
    assert tries.caught == []
    assert list(stepping) == []


def test_a_result_that_cannot_be_given_later_is_the_callers_to_hear_of() -> None:
    tries = Tries()

    async def use() -> list[Any]:
        stepping = arraybridge.numpy(tries.numbers_later)(array("numpy", dtype="uint8"))
        assert (await anext(stepping) == 1).all()
        with pytest.raises(arraybridge.MemoryConversionError, match="NaN"):
            await anext(stepping)
        return [one async for one in stepping]

    assert asyncio.run(use()) == [] and tries.caught == []


def test_what_the_caller_throws_still_comes_in() -> None:
    tries = Tries()
    stepping = arraybridge.numpy(tries.numbers)(array("numpy", dtype="float32"))
    next(stepping)
    problem = ValueError("from outside")
    stepping.throw(problem)
    assert tries.caught == [problem]
