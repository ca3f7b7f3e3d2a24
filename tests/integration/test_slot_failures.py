"""An exception in the middle of a slot: it comes out, and everything that the slot had is released.

All that a plugin calls of its framework is made visible as a Python function: what it calls is then a frame, and a
profiler raises where it begins (nothing has been done) and where it ends (all has been done, the result is lost), one
place after the other. The children are functions of this file, see children.py.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import inspect
import itertools
import os
import subprocess
import sys
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import arraybridge
import numpy as np
import pytest
from arraybridge import MemoryConversionError, convert
from children import Children
from frameworks import MAKE, NAMES, READ, aligned, random_array

REPETITIONS = 2000
MIB = 1 << 20
SHAPE = (64, 64)
OURS = str(Path(arraybridge.__file__).parent)
CTYPES = str(Path(ctypes.__file__).parent)


class Injected(Exception):
    """What a framework's function raises."""


class Refused(Exception):
    """What a slot reports that was called without the core, as MemoryConversionError is with it."""


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
        how = "cause" if cause is not None else "words"
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
            if wrong and len(verdict.wrong) < 5:
                verdict.wrong.append(f"{kind.__name__} at {place}:{wrong}")


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


# ---------------------------------------------------------------- conversions


def array_of(framework: str, dtype: str, shape: tuple[int, ...] = SHAPE) -> Any:
    place = aligned(shape, dtype)
    place[...] = random_array(dtype, shape)
    return place if framework == "numpy" else MAKE[framework](place, dtype)


@and_all_is_gone
def sweep_conversion(source: str, target: str, dtype: str, keywords: dict[str, Any]) -> dict[str, Any]:
    keywords = dict(keywords)
    switch, view = keywords.pop("switch", ""), keywords.pop("view", "")
    if switch:
        os.environ[switch] = "1"
    for name in dict.fromkeys((source, target, "numpy")):
        SHOW[name]()
    array = array_of(source, dtype)
    array = VIEWS[view](array)
    expected = READ[source](array.read_value() if view == "variable" else array)

    def right(result: Any) -> bool:
        return READ[target](result)[1:] == expected[1:]

    return sweep(functools.partial(convert, array, target, **keywords), right, array)


def _variable(array: Any) -> Any:
    import tensorflow as tf

    return tf.Variable(array)


def _subclass(array: Any) -> Any:
    import torch

    return array.as_subclass(type("Subclass", (torch.Tensor,), {}))


def _sharded(array: Any) -> Any:
    import jax

    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("x",))
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x")))


VIEWS: dict[str, Callable[[Any], Any]] = {
    "": lambda array: array,
    "strange": lambda array: array[::-1, ::2],
    "swapped": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "conj": lambda array: array.conj(),
    "negative": lambda array: array.conj().imag,
    "variable": _variable,
    "subclass": _subclass,
    "sharded": _sharded,
}


# ---------------------------------------------------------------- what asks a framework about itself


@and_all_is_gone
def sweep_question(name: str, question: str) -> dict[str, Any]:
    """The slot `devices`, as the public function asks."""
    array = array_of(name, "float32")
    SHOW[name]()
    convert(array, "numpy")
    ask = functools.partial(getattr(arraybridge, question), name)
    # pyclesperanto's answer may be empty: where it has no device, asking for one may raise.
    return sweep(ask, lambda found: len(found) > 0 or name == "pyclesperanto", array)


# ---------------------------------------------------------------- slots that no conversion here uses


class Dtype(ctypes.Structure):
    """DLDataType."""

    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class Device(ctypes.Structure):
    """DLDevice."""

    _fields_ = [("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32)]


class Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("device", Device), ("ndim", ctypes.c_int32), ("dtype", Dtype),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class Managed(ctypes.Structure):
    """DLManagedTensorVersioned."""


DELETER = ctypes.PYFUNCTYPE(None, ctypes.POINTER(Managed))
Managed._fields_ = [
    ("version", ctypes.c_uint64), ("context", ctypes.c_void_p), ("deleter", DELETER), ("flags", ctypes.c_uint64),
    ("tensor", Tensor),
]  # fmt: skip


class Failure(ctypes.Structure):
    """ab_failure."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("status", ctypes.c_int32), ("domain", ctypes.c_char_p),
        ("object", ctypes.c_void_p), ("code", ctypes.c_int64), ("text", ctypes.c_char_p),
        ("owner", ctypes.c_void_p), ("release", ctypes.c_void_p), ("reserved", ctypes.c_uint64 * 4),
    ]  # fmt: skip


class Error(ctypes.Structure):
    """ab_error."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("status", ctypes.c_int32), ("failure", Failure),
        ("text", ctypes.c_char * 768), ("hint", ctypes.c_char * 384),
    ]  # fmt: skip


class Report(ctypes.Structure):
    """ab_report."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("copied", ctypes.c_uint64),
        ("detail", ctypes.c_char_p),
    ]  # fmt: skip


class Call(ctypes.Structure):
    """ab_call."""

    _fields_ = [
        ("struct_size", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("self", ctypes.c_void_p),
        ("stream", ctypes.c_void_p), ("report", ctypes.POINTER(Report)), ("error", ctypes.POINTER(Error)),
        ("progress", ctypes.c_void_p), ("context", ctypes.c_void_p),
    ]  # fmt: skip


SLOTS = [
    "to_dlpack",
    "from_dlpack",
    "to_host",
    "from_host",
    "is_oom",
    "clear_cache",
    "make_stream",
    "recognizes",
    "describe",
    "capabilities",
    "retain",
    "release",
    "probe",
    "start",
    "devices",
    "current_stream",
    "peek_stream",
    "adopt_stream",
    "drop_stream",
    "enter_stream",
    "exit_stream",
    "import_stream",
    "mark_use",
    "fence",
    "finish",
    "device_ops",
    "cast",
    "empty",
    "memory_info",
]

SPY = """
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
struct descriptor {
  uint32_t size; uint16_t major, minor; const char *name, *version, *licence; uint32_t runtime, lock; const char *abi;
  uint32_t flags, reserved; int32_t (*create)(const void *, void *, void *);
};
static int32_t create(const void *services, void *plugin, void *error) {
  char text[32];
  snprintf(text, sizeof text, "%p", services);
  setenv("ARRAYBRIDGE_TEST_SERVICES", text, 1);
  return 8;
}
const struct descriptor arraybridge_plugin = {sizeof(struct descriptor), 1, 0, "spy", "1", "MIT", 0, 0, "", 0, 0,
  create};
"""


def build_spy(folder: Path) -> None:
    """A plugin that is told what the core offers plugins, writes it down, and is no plugin otherwise."""
    command = ["cc", "-shared", "-fPIC", "-Wl,-z,now", "-xc", "-", "-o", str(folder / "arraybridge_spy.so")]
    subprocess.run(command, input=SPY, text=True, check=True)


def services() -> int:
    arraybridge.backends()
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return int(getenv(b"ARRAYBRIDGE_TEST_SERVICES"), 16)


class Slots:
    """The table of a plugin that the core has loaded."""

    def __init__(self, name: str, offered: int) -> None:
        (trace,) = [row for row in arraybridge.load_trace() if row["path"].endswith(f"arraybridge_{name}.so")]
        plugin = ctypes.PyDLL(trace["path"])  # the same that the core has
        descriptor = ctypes.addressof(ctypes.c_char.in_dll(plugin, "arraybridge_plugin"))
        create = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        made = (ctypes.c_void_p * 3)()
        made[0] = 24
        assert create(ctypes.c_void_p.from_address(descriptor + 56).value)(offered, ctypes.addressof(made), None) == 0
        self.self, self.table = made[1], made[2]

    def call(self, name: str, *arguments: Any) -> None:
        """Calls the slot; raises what it reports, as the core does."""
        slot = ctypes.c_void_p.from_address(self.table + 8 + 8 * SLOTS.index(name)).value
        assert slot, f"there is no {name}"
        report, error = Report(ctypes.sizeof(Report)), Error(ctypes.sizeof(Error))
        call = Call(ctypes.sizeof(Call), 0, self.self, None, ctypes.pointer(report), ctypes.pointer(error))
        function = ctypes.PYFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Call), *map(type, arguments))(slot)
        status = function(ctypes.byref(call), *arguments)
        if status == 0:
            return
        if not error.failure.struct_size:
            raise Refused(error.text.decode())
        cause = ctypes.cast(error.failure.object, ctypes.py_object).value
        ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(error.failure.release)(ctypes.addressof(error.failure))
        if status == 17:
            raise cause
        raise Refused(error.text.decode()) from cause


def _taken(array: ctypes.c_void_p) -> Any:
    """The object, whose reference the slot gave."""
    found = ctypes.cast(array, ctypes.py_object).value
    ctypes.pythonapi.Py_DecRef(ctypes.py_object(found))
    return found


def _tensor(array: np.ndarray[Any, Any]) -> Tensor:
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    strides = (ctypes.c_int64 * array.ndim)(*(step // array.itemsize for step in array.strides))
    return Tensor(array.ctypes.data, Device(1, 0), array.ndim, FLOAT32, shape, strides, 0)


FLOAT32, INT32 = Dtype(2, 32, 1), Dtype(0, 32, 1)
PLACE = {"pyclesperanto": Device(4, 0)}


@and_all_is_gone
def sweep_slot(name: str, slot: str) -> dict[str, Any]:
    array, host = array_of(name, "float32"), array_of("numpy", "float32")
    SHOW[name]()
    offered = services()
    convert(array, "numpy")
    convert(host, name)
    slots = Slots(name, offered)
    place = PLACE.get(name, Device(1, 0))
    like = _tensor(host)

    def cast() -> Any:
        made = ctypes.c_void_p()
        try:  # an interrupt that came while the slot was leaving comes out behind its success
            slots.call("cast", ctypes.c_void_p(id(array)), INT32, ctypes.pointer(made))
        finally:
            result = _taken(made) if made else None
        return result

    def from_host() -> Any:
        made = ctypes.c_void_p()
        slots.call("from_host", ctypes.pointer(like), place, ctypes.pointer(made))
        return _taken(made)

    def empty() -> Any:
        made, writable = ctypes.c_void_p(), ctypes.POINTER(Managed)()
        slots.call("empty", ctypes.pointer(like), place, ctypes.pointer(made), ctypes.pointer(writable))
        writable.contents.deleter(writable)
        return _taken(made)

    def to_host() -> Any:
        given = ctypes.POINTER(Managed)()
        slots.call("to_host", ctypes.c_void_p(id(array)), ctypes.pointer(given))
        values = ctypes.string_at(given.contents.tensor.data, host.nbytes)
        given.contents.deleter(given)
        return values

    right: dict[str, Callable[[Any], bool]] = {
        "cast": lambda made: READ[name](made)[0] == "int32",
        "from_host": lambda made: READ[name](made)[2] == host.tobytes(),
        "empty": lambda made: READ[name](made)[:2] == ("float32", SHAPE),
        "to_host": lambda values: values == host.tobytes(),
    }
    work = {"cast": cast, "from_host": from_host, "empty": empty, "to_host": to_host}[slot]
    return sweep(work, right[slot], host if slot in ("from_host", "empty") else array)


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


TORCH_PUBLIC = {"switch": "ARRAYBRIDGE_TORCH_PUBLIC"}
TENSORFLOW_PUBLIC = {"switch": "ARRAYBRIDGE_TENSORFLOW_PUBLIC"}
JAX_PUBLIC = {"switch": "ARRAYBRIDGE_JAX_PUBLIC"}

CONVERSIONS: dict[str, tuple[str, str, str, dict[str, Any], list[str]]] = {
    "torch out": ("torch", "numpy", "float32", {}, ["is_neg", "untyped_storage"]),
    "torch out, conjugated": ("torch", "numpy", "complex64", {"view": "conj"}, ["is_conj", "detach", "resolve_conj"]),
    "torch out, negative": ("torch", "numpy", "complex64", {"view": "negative"}, ["detach", "resolve_neg"]),
    "torch out, subclass": ("torch", "numpy", "float32", {"view": "subclass"}, ["as_subclass", "is_neg"]),
    "torch out, public": ("torch", "numpy", "float32", TORCH_PUBLIC, ["stride", "data_ptr", "shape", "device"]),
    "torch in, public": ("numpy", "torch", "float32", TORCH_PUBLIC, ["from_dlpack"]),
    "torch in, public, copied": ("numpy", "torch", "float32", {**TORCH_PUBLIC, "view": "strange"}, ["from_dlpack"]),
    "tensorflow out": ("tensorflow", "torch", "float32", {}, ["TFE_ToDlpackCapsule", "_datatype_enum"]),
    "tensorflow out, float8": ("tensorflow", "numpy", "float8_e5m2", {}, ["_shape_tuple", "numpy.asarray"]),
    "tensorflow out, variable": ("tensorflow", "numpy", "float32", {"view": "variable"}, ["TFE_ToDlpackCapsule"]),
    "tensorflow out, public": ("tensorflow", "torch", "float32", TENSORFLOW_PUBLIC, ["to_dlpack"]),
    "tensorflow in": ("numpy", "tensorflow", "float32", {}, ["TFE_FromDlpackCapsule"]),
    "tensorflow in, copied": ("numpy", "tensorflow", "float32", {"view": "strange"}, ["TFE_FromDlpackCapsule"]),
    "tensorflow in, float8": ("numpy", "tensorflow", "float8_e5m2", {}, ["numpy.ndarray"]),
    "tensorflow in, public": ("numpy", "tensorflow", "float32", TENSORFLOW_PUBLIC, ["from_dlpack"]),
    "jax out, no buffer": (
        "jax", "numpy", "bfloat16", {}, ["is_deleted", "dtype", "addressable_data", "buffer_to_dlpack_managed_tensor"],
    ),
    "jax out, sharded": ("jax", "numpy", "float32", {"view": "sharded"}, []),
    "jax in": ("numpy", "jax", "float32", {}, ["dlpack_managed_tensor_to_buffer", "local_devices"]),
    "jax in, copied": ("numpy", "jax", "float32", {"view": "strange"}, ["dlpack_managed_tensor_to_buffer"]),
    "jax in, public": ("numpy", "jax", "float32", JAX_PUBLIC, ["from_dlpack"]),
    "pyclesperanto out": ("pyclesperanto", "numpy", "float32", {}, ["shape", "dtype", "device", "mtype", "__dlpack__"]),
    "pyclesperanto in": ("numpy", "pyclesperanto", "float32", {}, ["_from_dlpack"]),
    "pyclesperanto in, copied": ("numpy", "pyclesperanto", "float32", {"copy": True}, ["_from_dlpack"]),
}  # fmt: skip
"""The pair, what goes across and how; and some of the places that must be among those where an exception was raised."""


@pytest.fixture(scope="module")
def started(children: Children) -> None:
    """All conversions queued at once, so that they share the cores."""
    for source, target, dtype, keywords, _ in CONVERSIONS.values():
        children.start(__name__, "sweep_conversion", source, target, dtype, keywords)


@pytest.mark.parametrize("case", CONVERSIONS)
def test_an_exception_in_a_conversion_releases_everything(children: Children, case: str) -> None:
    source, target, dtype, keywords, places = CONVERSIONS[case]
    check(children.run(__name__, "sweep_conversion", source, target, dtype, keywords).check(), *places)


DIRECT = {
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


@pytest.mark.parametrize("question", ["list_devices"])
@pytest.mark.parametrize("name", NAMES[1:])
def test_an_exception_in_a_question_releases_everything(children: Children, name: str, question: str) -> None:
    check(children.run(__name__, "sweep_question", name, question).check())
