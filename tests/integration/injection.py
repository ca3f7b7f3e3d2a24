"""Raises in the middle of what a plugin calls, at one place after the other, and counts what is left behind.

All that a plugin calls of its framework is made visible as a Python function: what it calls is then a frame, and a
profiler raises where it begins (nothing has been done) and where it ends (all has been done, the result is lost).
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import inspect
import itertools
import os
import sys
import types
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import arraybridge
import numpy as np
from arraybridge import MemoryConversionError
from frameworks import MAKE, aligned, random_array
from slot_table import Refused, Slots

REPETITIONS = 2000
MIB = 1 << 20
SHAPE = (64, 64)
OURS = str(Path(arraybridge.__file__).parent)
CTYPES = str(Path(ctypes.__file__).parent)


class Injected(Exception):
    """What a framework's function raises."""


KINDS: list[type[BaseException]] = [Injected, MemoryError, KeyboardInterrupt]

# ---------------------------------------------------------------- what a plugin calls, made visible

WATCHED: list[weakref.ref[Any]] = []
"""Arrays that went through a visible function while `watching`: none may live on."""
watching = False


def _watch(*values: Any) -> None:
    for value in values if watching else ():
        if type(value).__name__ in ("Tensor", "ndarray", "ArrayImpl", "EagerTensor", "_Array"):
            WATCHED.append(weakref.ref(value))


def _named(function: Any, name: str) -> Any:
    function.__code__ = function.__code__.replace(co_name=name, co_qualname=name)
    return function


def _passing(original: Any, name: str) -> Any:
    def passing(*arguments: Any, **keywords: Any) -> Any:
        result = original(*arguments, **keywords)
        if watching:
            _watch(*arguments, result)
        return result

    return _named(passing, name)


def show(owner: Any, *names: str) -> None:
    """Puts Python functions that do the same in the place of functions, methods and attributes."""
    for name in names:
        raw = inspect.getattr_static(owner, name)
        if not isinstance(owner, type):
            setattr(owner, name, _passing(raw, name))
        elif isinstance(raw, staticmethod):
            setattr(owner, name, staticmethod(_passing(raw.__func__, name)))
        elif hasattr(raw, "__set__"):
            getter = functools.partial(lambda raw, owner, self: raw.__get__(self, owner), raw, owner)
            setattr(owner, name, property(_passing(getter, name), raw.__set__))
        else:
            setattr(owner, name, _passing(getattr(owner, name), name))


def show_module(module: types.ModuleType) -> None:
    """Makes every look at an attribute of the module a Python function."""
    base = type(module)

    def look(self: Any, name: str) -> Any:
        return base.__getattribute__(self, name)

    module.__class__ = type(base.__name__, (base,), {"__getattribute__": _named(look, module.__name__)})


def show_numpy() -> None:
    show_module(np)
    show_module(importlib.import_module("ml_dtypes"))


def show_torch() -> None:
    import torch

    show(torch.Tensor, "is_neg", "is_conj", "untyped_storage", "as_subclass", "requires_grad", "dtype")
    show(torch.Tensor, "to", "detach", "resolve_conj", "resolve_neg", "stride", "data_ptr", "shape", "device")
    show(torch, "from_dlpack", "empty")
    show_module(torch)
    show_module(torch.cuda)


def show_tensorflow() -> None:
    import tensorflow as tf
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.framework import ops

    show(pywrap_tfe, "TFE_FromDlpackCapsule", "TFE_ToDlpackCapsule")
    show(ops.EagerTensor, "_datatype_enum", "_shape_tuple", "backing_device", "_copy_nograd")
    show_module(tf)


def show_jax() -> None:
    import jax
    import jax.numpy as jnp
    from jax._src.lib import _jax

    show(_jax, "dlpack_managed_tensor_to_buffer", "buffer_to_dlpack_managed_tensor")
    kind = type(jnp.zeros(1))
    show(kind, "is_deleted", "addressable_data", "devices", "astype", "shape", "dtype", "is_fully_addressable")
    show(type(jax.devices()[0]), "platform", "local_hardware_id", "device_kind", "memory_stats")
    show(jax, "local_devices")
    show_module(jax)


def show_pyclesperanto() -> None:
    cle = importlib.import_module("pyclesperanto")
    kind = type(cle.create((1,), dtype=np.uint8))
    show(kind, "shape", "dtype", "device", "mtype", "get", "set", "__dlpack__", "_from_dlpack", "astype")
    show_module(cle)


SHOW = {
    "numpy": show_numpy,
    "torch": show_torch,
    "tensorflow": show_tensorflow,
    "jax": show_jax,
    "pyclesperanto": show_pyclesperanto,
}

# ---------------------------------------------------------------- raising at one place


class Injector:
    """A profiler that raises `error` at the `number`-th place where C code enters or leaves a Python function."""

    def __init__(self, number: int, error: BaseException | None) -> None:
        self.number, self.error, self.calls, self.place = number, error, 0, ""
        self.base: FrameType | None = None

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        if event not in ("call", "return") or self.place:
            return
        above = frame.f_back
        if above is None or frame.f_code.co_filename.startswith(OURS):
            return
        by_slot = above.f_code is Slots.call.__code__ and not frame.f_code.co_filename.startswith(CTYPES)
        if frame.f_code.co_qualname.startswith("sweep_slot."):  # our own
            return
        if above is not self.base and not by_slot and not above.f_code.co_filename.startswith(OURS):
            return
        looked = f".{frame.f_locals['name']}" if "base" in frame.f_locals and "name" in frame.f_locals else ""
        if looked == ".__spec__":  # Python's own import drops what this raises
            return
        if frame.f_code.co_name == "_handle":  # TensorFlow goes on with the exception pending (2.21)
            return
        self.calls += 1
        if self.calls == self.number and self.error is not None:
            self.place = f"{event} {frame.f_code.co_name}{looked}"
            raise self.error

    def run(self, work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
        """What came of it: a result or an exception."""
        self.base = sys._getframe()
        result, came_out = None, None
        gc.disable()  # Python drops what is raised in a callback of the collector, and JAX has one
        try:
            sys.setprofile(self)
            result = work()
        except BaseException as error:
            came_out = error
        try:  # a conversion that fails for another reason, too, is followed by the interrupt
            sys.setprofile(None)
            ctypes.pythonapi.Py_MakePendingCalls()
        except BaseException as late:
            came_out = late
        gc.enable()
        self.base = None
        return result, came_out


def _pending_in_python() -> str:
    """What was left behind in the interpreter: an exception, or a call that would raise one later."""
    ctypes.pythonapi.PyErr_Occurred.restype = ctypes.c_void_p
    if ctypes.pythonapi.PyErr_Occurred():
        return "an exception is pending"
    try:
        for _ in range(3):
            ctypes.pythonapi.Py_MakePendingCalls()
    except BaseException as late:
        return f"came late: {late!r}"
    return ""


def _one(work: Callable[[], Any], right: Callable[[Any], bool], number: int, kind: type[BaseException]) -> list[str]:
    """Raises at one place: where, how it ended, what is wrong with that. ["", …] if there is no such place."""
    error = kind(f"at {number}")
    injector = Injector(number, error)
    result, came_out = injector.run(work)
    if not injector.place:
        return ["", "", ""]
    how, wrong = "", _pending_in_python()
    if came_out is None:
        how = "right"
        if not right(result):
            wrong += " a wrong result"
        if kind is KeyboardInterrupt:
            wrong += " the interrupt is lost"
    elif came_out is error:
        how = "unchanged"
        if kind is not KeyboardInterrupt:
            wrong += " not wrapped"
    elif isinstance(came_out, (MemoryConversionError, Refused)) and kind is not KeyboardInterrupt:
        cause = came_out.__cause__
        how = "cause"
        if cause is None:
            wrong += f" no cause: {came_out}"
        # A framework that was in the middle of something may have wrapped it itself.
        if cause is not None and error not in (cause, cause.__cause__):
            wrong += f" another cause: {cause!r}"
    else:
        wrong += f" came out: {came_out!r}"
    return [injector.place, how, wrong]


# ---------------------------------------------------------------- what is still held


class Malloc(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


_mallinfo2 = ctypes.CDLL(None).mallinfo2
_mallinfo2.restype = Malloc


def settle() -> None:
    for _ in range(3):
        gc.collect()
        arraybridge.drain()


def held() -> dict[str, int]:
    settle()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    malloc = _mallinfo2()
    return {"resident": resident, "malloc": malloc.uordblks + malloc.hblkhd, "objects": sys.getallocatedblocks()}


@dataclass
class Verdict:
    """What a sweep over all places of one piece of work has seen."""

    places: dict[str, list[str]] = field(default_factory=dict)  # by place: how it ended, for each kind
    wrong: list[str] = field(default_factory=list)
    repetitions: int = 0
    rounds: int = 0
    grown: dict[str, int] = field(default_factory=dict)


def _round(work: Callable[[], Any], right: Callable[[Any], bool], verdict: Verdict, kinds: Any = KINDS) -> None:
    for kind in kinds:
        for number in itertools.count(1):
            place, how, wrong = _one(work, right, number, kind)
            if not place:
                break
            verdict.repetitions += 1
            ends = verdict.places.setdefault(place, [])
            if how and how not in ends:
                ends.append(how)
            said = f"{kind.__name__} at {place}:{wrong}"
            if wrong and said not in verdict.wrong:
                verdict.wrong.append(said)


def _batch(work: Callable[[], Any], right: Callable[[Any], bool], verdict: Verdict) -> dict[str, int]:
    """What a number of rounds leaves behind. Without MemoryError, after which everything is collected each time."""
    before = held()
    for _ in range(verdict.rounds):
        _round(work, right, verdict, (Injected, KeyboardInterrupt))
    after = held()
    return {name: after[name] - before[name] for name in before}


def and_all_is_gone(case: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Names what lives on when the case has ended, which had the source: a reference too many to any array."""

    @functools.wraps(case)
    def run(*arguments: Any) -> dict[str, Any]:
        seen = case(*arguments)
        settle()
        alive = [one for one in (reference() for reference in WATCHED) if one is not None]
        # pyclesperanto's plugin keeps one array of one element for good.
        return {**seen, "survivors": [type(one).__name__ for one in alive if tuple(one.shape) != (1,)]}

    return run


def sweep(work: Callable[[], Any], right: Callable[[Any], bool], source: Any) -> dict[str, Any]:
    """Raises at every place in turn, again and again; then counts what is left."""
    global watching
    gc.freeze()
    verdict = Verdict()
    assert right(work()), "it does not work without a fault"
    watching = True
    _watch(source)
    _round(work, right, verdict)
    watching = False
    _round(work, right, verdict)
    a_round = verdict.repetitions // 3 or 1
    verdict.rounds = max(4, REPETITIONS // 3 // a_round + 1)
    settle()
    references = sys.getrefcount(source)
    batches = [_batch(work, right, verdict) for _ in range(3)] if verdict.places else []
    # Caches fill up at first; what leaks leaks in every batch.
    verdict.grown = {name: min(batch[name] for batch in batches) for name in (batches[0] if batches else ())}
    if batches:
        verdict.grown["resident"] = sum(batch["resident"] for batch in batches)
    kept = sys.getrefcount(source) - references
    return {
        **vars(verdict), "kept": kept,
        "pending": list(arraybridge.pending()), "again": right(work()),
    }  # fmt: skip


def array_of(framework: str, dtype: str, shape: tuple[int, ...] = SHAPE) -> Any:
    place = aligned(shape, dtype)
    place[...] = random_array(dtype, shape)
    return place if framework == "numpy" else MAKE[framework](place, dtype)


def check(seen: dict[str, Any], *places: str) -> None:
    assert seen["wrong"] == [], seen
    found = {place.partition(" ")[2] for place in seen["places"]}
    assert set(places) <= found, f"not tried: {set(places) - found}; tried: {found}"
    assert seen["again"], seen
    assert seen["pending"] == [0, 0], seen
    assert (seen["kept"], seen["survivors"]) == (0, []), seen
    if places:
        assert seen["repetitions"] >= REPETITIONS
        assert seen["grown"]["resident"] < MIB, seen
        assert seen["grown"]["malloc"] < 4096, seen
        assert seen["grown"]["objects"] < 250, seen
