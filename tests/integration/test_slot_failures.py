"""An exception in the middle of a slot: it comes out, and everything that the slot had is released.

These are slots that no conversion here uses, or not alone; conversions are in test_conversion_failures.py. The children
are functions of this file, see children.py; how it is done is in injection.py.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from typing import Any

import arraybridge
import pytest
from arraybridge import convert
from children import Children
from frameworks import NAMES, READ
from injection import SHAPE, SHOW, Injected, Injector, and_all_is_gone, array_of, check, sweep
from slot_table import Device, Dtype, Managed, Refused, Sized, Slots, build_spy, services, taken, tensor_of

pytestmark = pytest.mark.alone  # memory is measured

INT32 = Dtype(0, 32, 1)
FROM_DLPACK, CLEAR_ALL = 0, 3
REFUSALS = {
    ("jax", "memory_info"): "JAX keeps no figures",
    ("tensorflow", "clear_cache"): "TensorFlow returns memory only",
}
"""What some slots say where all is well."""
PLACE = {"pyclesperanto": Device(4, 0)}


@and_all_is_gone
def sweep_slot(name: str, slot: str) -> dict[str, Any]:
    array, host = array_of(name, "float32"), array_of("numpy", "float32")
    SHOW[name]()
    offered = services()
    convert(array, "numpy")
    convert(host, name)
    slots = Slots(name, offered)
    slots.call("start")
    place = PLACE.get(name, Device(1, 0))
    like = tensor_of(host)

    def cast() -> Any:
        made = ctypes.c_void_p()
        try:  # an interrupt that came while the slot was leaving comes out behind its success
            slots.call("cast", ctypes.c_void_p(id(array)), INT32, ctypes.pointer(made))
        finally:
            result = taken(made) if made else None
        return result

    def from_host() -> Any:
        made = ctypes.c_void_p()
        slots.call("from_host", ctypes.pointer(like), place, ctypes.pointer(made))
        return taken(made)

    def empty() -> Any:
        made, writable = ctypes.c_void_p(), ctypes.POINTER(Managed)()
        slots.call("empty", ctypes.pointer(like), place, ctypes.pointer(made), ctypes.pointer(writable))
        writable.contents.deleter(writable)
        return taken(made)

    def to_host() -> Any:
        given = ctypes.POINTER(Managed)()
        slots.call("to_host", ctypes.c_void_p(id(array)), ctypes.pointer(given))
        values = ctypes.string_at(given.contents.tensor.data, host.nbytes)
        given.contents.deleter(given)
        return values

    def capabilities() -> Any:
        able = Sized(ctypes.sizeof(Sized))
        slots.call("capabilities", place, ctypes.c_uint32(FROM_DLPACK), ctypes.pointer(able))
        return bytes(able.rest)

    def clear_cache() -> Any:
        driver, pool = ctypes.c_uint64(7), ctypes.c_uint64(7)
        flags = ctypes.c_uint32(CLEAR_ALL)
        slots.call("clear_cache", Device(0, 0), flags, ctypes.pointer(driver), ctypes.pointer(pool))
        return [driver.value, pool.value]

    def memory_info() -> Any:
        known = Sized(ctypes.sizeof(Sized))
        slots.call("memory_info", place, ctypes.pointer(known))
        return bytes(known.rest)

    right: dict[str, Callable[[Any], bool]] = {
        "cast": lambda made: READ[name](made)[0] == "int32",
        "from_host": lambda made: READ[name](made)[2] == host.tobytes(),
        "empty": lambda made: READ[name](made)[:2] == ("float32", SHAPE),
        "to_host": lambda values: values == host.tobytes(),
        "capabilities": any,
        "clear_cache": lambda given: 7 not in given,
        "memory_info": any,
    }
    work = {
        "cast": cast, "from_host": from_host, "empty": empty, "to_host": to_host, "capabilities": capabilities,
        "clear_cache": clear_cache, "memory_info": memory_info,
    }[slot]  # fmt: skip
    refusal = REFUSALS.get((name, slot))

    def refused() -> Any:
        try:
            return work()
        except Refused as problem:
            if problem.__cause__ is not None:
                raise
            return str(problem)

    if refusal is not None:
        return sweep(refused, lambda said: said.startswith(refusal), array)
    return sweep(work, right[slot], host if slot in ("from_host", "empty") else array)


class Said:
    """What stands in an exception in place of its text."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@and_all_is_gone
def sweep_judging(text: str) -> dict[str, Any]:
    """The slot `is_oom` of every plugin: an exception's text may be anybody's code."""
    for name in SHOW:
        convert(array_of("numpy", "float32"), name)
    error = RuntimeError(Said(text))
    assert arraybridge.is_out_of_memory(error)
    # Who cannot read the text says no: then another plugin may still know the exception.
    judge = functools.partial(arraybridge.is_out_of_memory, error)
    return sweep(judge, lambda verdict: isinstance(verdict, bool), error)


# ---------------------------------------------------------------- the tests


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Children]:
    folder = tmp_path_factory.mktemp("spy")
    build_spy(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARRAYBRIDGE_PLUGIN_PATH", str(folder))
        started = Children()
        yield started
        started.close()


DIRECT = {
    ("torch", "clear_cache"): ["is_initialized"],
    ("jax", "capabilities"): ["local_devices", "local_hardware_id", "platform"],
    ("jax", "clear_cache"): ["default_backend"],
    ("jax", "memory_info"): ["local_devices", "memory_stats"],
    ("pyclesperanto", "capabilities"): ["get_device"],
    ("pyclesperanto", "memory_info"): ["get_device"],
    ("torch", "cast"): ["to"],
    ("torch", "from_host"): ["to"],
    ("torch", "empty"): ["empty", "untyped_storage"],
    ("torch", "to_host"): ["untyped_storage"],
    ("tensorflow", "cast"): ["tensorflow.cast"],
    ("tensorflow", "from_host"): ["TFE_FromDlpackCapsule"],
    ("tensorflow", "to_host"): ["TFE_ToDlpackCapsule"],
    ("jax", "cast"): ["astype"],
    ("pyclesperanto", "cast"): ["astype"],
    ("pyclesperanto", "from_host"): ["set", "__dlpack__"],
    ("pyclesperanto", "to_host"): ["get"],
}


@pytest.mark.parametrize(("name", "slot"), DIRECT)
def test_an_exception_in_a_slot_releases_everything(children: Children, name: str, slot: str) -> None:
    check(children.run(__name__, "sweep_slot", name, slot).check(), *DIRECT[name, slot])


ALONE = [
    ("numpy", "cast"), ("numpy", "to_host"), ("numpy", "capabilities"), ("numpy", "memory_info"),
    ("numpy", "clear_cache"), ("torch", "capabilities"), ("torch", "memory_info"), ("tensorflow", "capabilities"),
    ("tensorflow", "clear_cache"), ("tensorflow", "memory_info"),
]  # fmt: skip
"""Slots that call no Python on this machine."""


@pytest.mark.parametrize(("name", "slot"), ALONE)
def test_a_slot_that_calls_no_python_cannot_be_hit(children: Children, name: str, slot: str) -> None:
    seen = children.run(__name__, "sweep_slot", name, slot).check()
    check(seen)
    assert seen["places"] == {}, "it now calls something: name it in DIRECT"


def test_an_exception_while_one_is_judged_releases_everything(children: Children) -> None:
    text = "CUDA out of memory. Tried to allocate 20.00 MiB"
    check(children.run(__name__, "sweep_judging", text).check(), "__str__")


# ---------------------------------------------------------------- the start of a framework


def start_failing(source: str, target: str, number: int) -> list[Any]:
    """The first conversion of the process, with an exception in the middle; then the second one."""
    array = array_of(source, "float32")
    expected = READ[source](array)
    error = Injected("at the start")
    injector = Injector(number, error)
    result, came_out = injector.run(functools.partial(convert, array, target))
    how = "right" if came_out is None and READ[target](result) == expected else repr(came_out)
    if isinstance(came_out, arraybridge.MemoryConversionError):
        how = "cause" if error in (came_out.__cause__, came_out.__cause__ and came_out.__cause__.__cause__) else how
    return [injector.place, how, READ[target](convert(array, target)) == expected]


FIRST = [("numpy", target) for target in NAMES if target != "numpy"] + [(source, "numpy") for source in NAMES[1:]]


@pytest.mark.slow
@pytest.mark.parametrize(("source", "target"), FIRST)
def test_an_exception_at_the_start_comes_out_and_the_next_one_succeeds(
    children: Children, source: str, target: str
) -> None:
    for number in range(1, 60):
        place, how, again = children.run(__name__, "start_failing", source, target, number).check()
        if not place:
            return
        assert (how in ("right", "cause"), again) == (True, True), f"{place}: {how}"
    pytest.fail("more calls than expected: nothing was seen to its end")
