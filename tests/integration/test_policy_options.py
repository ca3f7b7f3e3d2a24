"""Policies of the process and of a context, and the other options that decorated functions ask."""

from __future__ import annotations

import asyncio
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import options
from arraybridge._library import native
from arraybridge.policy import Policy, Reference, apply

REFERENCE = Reference("numpy", "uint8", 2)
DEFAULTS = {
    "immutable": "share", "mutable": "share", "threads": 0, "dtype_conversion": "preserve", "scaling": None,
    "nan": None, "labels": False, "prefer_accelerator": False, "max_retries": 2, "host_fallback": False,
    "check_inputs": False,
}  # fmt: skip


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    options.set(**DEFAULTS)


def dtype_of(policy: Policy | None = None) -> str:
    return apply(np.array([[1.5, 300]], np.float32), REFERENCE, policy or Policy()).dtype.name


def test_defaults() -> None:
    assert {name: options.get(name) for name in DEFAULTS} == DEFAULTS
    assert all(f"{name}={value!r}" in repr(options) for name, value in DEFAULTS.items())


def test_the_call_decides_before_the_context_before_the_process() -> None:
    assert dtype_of() == "uint8"
    options.set(dtype_conversion="float64")
    assert dtype_of() == "float64"
    with options(dtype_conversion="int16"):
        assert dtype_of() == "int16"
        assert dtype_of(Policy("native")) == "float32"
        with options(scaling="unit"), options(dtype_conversion=np.uint16):
            assert dtype_of(Policy(scaling="clip")) == "uint16"
        assert dtype_of() == "int16"
    assert dtype_of() == "float64"


def test_scaling_nan_and_labels() -> None:
    image = np.array([[0, 0.5, np.nan]], np.float32)
    with options(scaling="unit", nan=3):
        np.testing.assert_array_equal(apply(image, REFERENCE, Policy()), [[0, 128, 3]])
        np.testing.assert_array_equal(apply(image, REFERENCE, Policy(nan=4)), [[0, 128, 4]])
        with options(scaling=None), pytest.raises(arraybridge.MemoryConversionError, match="fractions"):
            apply(image, REFERENCE, Policy())
    labels = np.array([[70000]])
    with options(labels=True):
        assert apply(labels, REFERENCE, Policy()) is labels
        with pytest.warns(arraybridge.DtypeWarning):
            apply(labels, REFERENCE, Policy(labels=False))


def test_contexts_are_apart() -> None:
    seen: dict[str, str] = {}
    inside, done = threading.Event(), threading.Event()

    def other() -> None:
        inside.wait(10)
        seen["thread"] = dtype_of()
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with options(dtype_conversion="float64"):
        inside.set()
        assert done.wait(10)
    thread.join()
    assert seen == {"thread": "uint8"}

    async def task(name: str) -> str:
        with options(dtype_conversion=name):
            await asyncio.sleep(0)
            return dtype_of()

    async def both() -> list[str]:
        return await asyncio.gather(task("int16"), task("float64"))

    assert asyncio.run(both()) == ["int16", "float64"]


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("dtype_conversion", "uint7", ValueError, "preserve"),
        ("dtype_conversion", None, ValueError, "preserve"),
        ("scaling", "stretch", ValueError, "minmax"),
        ("nan", "0", TypeError, "nan=0"),
        ("labels", None, TypeError, "labels"),
        ("prefer_accelerator", 1, ValueError, "True or False"),
        ("max_retries", -1, ValueError, "from 0"),
        ("max_retries", True, ValueError, "from 0"),
        ("host_fallback", "yes", ValueError, "True or False"),
        ("check_inputs", None, ValueError, "True or False"),
        ("threads", -1, ValueError, "from 0"),
        ("dtype", "uint8", TypeError, "dtype_conversion"),
    ],
)
def test_a_bad_value_changes_nothing(name: str, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        options.set(mutable="copy", **{name: value})
    with pytest.raises(error, match=text):
        options(**{name: value})
    assert {one: options.get(one) for one in DEFAULTS} == DEFAULTS


def test_options_of_results_cost_a_conversion_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The native module is told only of what it uses, and asks for a context's options only then."""
    asked: list[object] = []
    from arraybridge import settings

    def scope() -> object:
        asked.append(1)
        return settings._scope_here()

    native.connect({"scope": scope})
    try:
        x = np.zeros(4, np.float32)
        with options(dtype_conversion="native", scaling="clip", labels=True, host_fallback=True, check_inputs=True):
            arraybridge.convert(x, "torch")
        assert asked == []
        with options(max_retries=1):
            arraybridge.convert(x, "torch")
        assert asked == [1]
    finally:
        native.connect({"scope": settings._scope_here})


def test_native_options_still_work() -> None:
    x = np.zeros(4, np.float32)
    options.set(mutable="copy", max_retries=0)
    assert arraybridge.convert(x, "torch").data_ptr() != x.ctypes.data
    with options(mutable="share", max_retries=5, threads=1):
        assert arraybridge.convert(x, "torch").data_ptr() == x.ctypes.data
    options.set(mutable="share")
    assert arraybridge.convert(x, "torch").data_ptr() == x.ctypes.data


def test_an_option_as_an_attribute_says_how_it_is_read_and_set() -> None:
    with pytest.raises(AttributeError, match=r'options\.get\("scaling"\)'):
        _ = options.scaling
    with pytest.raises(AttributeError, match=r"options\.set\(scaling=\.\.\.\)"):
        options.scaling = "unit"
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        _ = options.colour
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        options.colour = 3
    assert not hasattr(options, "__array__") and options.get("scaling") is None


def test_the_release_rule_is_an_option() -> None:
    assert options.get("release") == "streams"
    with options(release="context"):
        assert options.get("release") == "context"
        array = np.arange(6, dtype=np.float32)
        assert arraybridge.convert(array, "torch").tolist() == array.tolist()  # host memory waits for nothing
    with pytest.raises(ValueError, match='release must be "streams" or "context"'):
        options.set(release="now")


def test_pinned_memory_is_bounded_and_given_back() -> None:
    assert options.get("pinned_memory") == 64 << 20
    array = np.arange(6, dtype=np.float32)
    for most in (0, 1, 1 << 30, 64 << 20):
        with options(pinned_memory=most):
            assert options.get("pinned_memory") == most
            assert arraybridge.convert(array, "torch").tolist() == array.tolist()  # host memory needs none
    for wrong in (-1, True, "64M", 1 << 60):
        with pytest.raises(ValueError, match="pinned_memory must be a number of bytes"):
            options.set(pinned_memory=wrong)
    assert arraybridge.release_pools() == 0


def test_options_pickle_by_name() -> None:
    assert pickle.loads(pickle.dumps(options)) is options


def test_one_block_serves_many_threads_and_tasks() -> None:
    scope = options(dtype_conversion="float64")
    first, second = threading.Event(), threading.Event()
    seen: dict[str, list[str]] = {"early": [], "late": []}

    def early() -> None:
        with scope:
            first.set()
            assert second.wait(10)
            seen["early"].append(dtype_of())
        seen["early"].append(dtype_of())

    def late() -> None:
        assert first.wait(10)
        with scope:
            second.set()
            thread.join()
            seen["late"].append(dtype_of())
        seen["late"].append(dtype_of())

    thread, other = threading.Thread(target=early), threading.Thread(target=late)
    other.start()
    thread.start()
    other.join()
    assert seen == {"early": ["float64", "uint8"], "late": ["float64", "uint8"]}

    async def task(rounds: int) -> list[str]:
        with scope:
            for _ in range(rounds):
                await asyncio.sleep(0)
            inside = dtype_of()
        return [inside, dtype_of()]

    async def both() -> list[list[str]]:
        return await asyncio.gather(task(1), task(3))

    assert asyncio.run(both()) == [["float64", "uint8"], ["float64", "uint8"]]


def test_blocks_left_in_another_order_end_one_by_one() -> None:
    outer, inner = options(dtype_conversion="float64"), options(dtype_conversion="int16")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    assert dtype_of() == "int16"
    inner.__exit__(None, None, None)
    assert dtype_of() == "uint8"
    with pytest.raises(RuntimeError, match="has not been entered"):
        inner.__exit__(None, None, None)


def test_options_set_by_two_threads_at_once_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    real_changes, real_count = arraybridge.settings._changes_calls, native.count_policies
    counted: list[int] = []
    other = threading.Thread(target=lambda: options.set(dtype_conversion="native"))

    def changes() -> int:
        before = real_changes()
        if other.ident is None:
            other.start()
            other.join(0.3)  # it comes in between, unless it has to wait
        return before

    def count(more: int) -> None:
        counted.append(more)
        real_count(more)

    monkeypatch.setattr("arraybridge.settings._changes_calls", changes)
    monkeypatch.setattr(native, "count_policies", count)
    options.set(dtype_conversion="native")
    other.join()
    assert sum(counted) == 1
