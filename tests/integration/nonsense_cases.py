"""Things that are no arrays, and calls that mean nothing: each run in a child by test_hostile.py."""

from __future__ import annotations

import array
import contextlib
import ctypes
import types
from collections.abc import Callable
from typing import Any

import arraybridge
import numpy as np
from arraybridge import MemoryConversionError
from frameworks import NAMES
from hostile_cases import Use, floats

# ---------------------------------------------------------------- no arrays at all


class Plain:
    """An object that is nothing."""


def lying(**members: Any) -> Any:
    return type("Liar", (), members)()


def raising(*rest: Any) -> Any:
    raise RuntimeError("hands off")


def capsule(name: bytes) -> Any:
    ctypes.pythonapi.PyCapsule_New.restype = ctypes.py_object
    ctypes.pythonapi.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return ctypes.pythonapi.PyCapsule_New(16, name, None)


INTERFACE = {"shape": (4,), "typestr": "<f4", "data": (16, False), "version": 3, "strides": None}
NAMED = b"dltensor"  # PyCapsule_New keeps the address

NONSENSE: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "ellipsis": lambda: ...,
    "list": lambda: [1.0, 2.0],
    "list_of_arrays": lambda: [np.zeros(3)],
    "tuple": lambda: (1.0, 2.0),
    "empty_tuple": tuple,
    "dict": lambda: {"a": np.zeros(3)},
    "int": lambda: 1,
    "huge_int": lambda: 1 << 200,
    "float": lambda: 1.5,
    "complex": lambda: 1j,
    "bool": lambda: True,
    "numpy_float": lambda: np.float32(1),
    "numpy_int": lambda: np.int64(1),
    "numpy_bool": lambda: np.bool_(True),
    "numpy_datetime": lambda: np.datetime64("2020-01-01"),
    "numpy_void": lambda: np.zeros(1, [("a", "f4")])[0],
    "text": lambda: "array",
    "bytes": lambda: b"array",
    "bytearray": lambda: bytearray(8),
    "memoryview": lambda: memoryview(np.zeros(3)),
    "array_array": lambda: array.array("f", [1.0]),
    "ctypes_array": lambda: (ctypes.c_float * 4)(),
    "numpy_module": lambda: np,
    "torch_module": lambda: __import__("torch"),
    "jax_module": lambda: __import__("jax"),
    "tensorflow_module": lambda: __import__("tensorflow"),
    "arraybridge_itself": lambda: arraybridge,
    "numpy_class": lambda: np.ndarray,
    "torch_class": lambda: __import__("torch").Tensor,
    "jax_class": lambda: __import__("jax").Array,
    "tensorflow_class": lambda: __import__("tensorflow").Tensor,
    "type": lambda: type,
    "numpy_dtype": lambda: np.dtype("f4"),
    "torch_dtype": lambda: __import__("torch").float32,
    "tensorflow_dtype": lambda: __import__("tensorflow").float32,
    "torch_layer": lambda: __import__("torch").nn.Linear(2, 2),
    "torch_size": lambda: __import__("torch").Size([2]),
    "torch_storage": lambda: __import__("torch").zeros(3).untyped_storage(),
    "jax_struct": lambda: __import__("jax").ShapeDtypeStruct((2,), np.float32),
    "tensorflow_spec": lambda: __import__("tensorflow").TensorSpec((2,)),
    "tensorflow_dataset": lambda: __import__("tensorflow").data.Dataset.range(3),
    "numpy_iterator": lambda: np.zeros(3).flat,
    "function": lambda: raising,
    "generator": lambda: (n for n in range(3)),
    "exception": lambda: ValueError("x"),
    "capsule": lambda: capsule(NAMED),
    "nameless_capsule": lambda: capsule(None),
    "object": object,
    "plain": Plain,
    "lying_dlpack": lambda: lying(__dlpack__=lambda *a, **k: capsule(NAMED), __dlpack_device__=lambda s: (1, 0)),
    "raising_dlpack": lambda: lying(__dlpack__=raising, __dlpack_device__=raising),
    "lying_array": lambda: lying(__array__=lambda *a, **k: 7),
    "lying_interface": lambda: lying(__array_interface__=INTERFACE),
    "lying_struct": lambda: lying(__array_struct__=capsule(None)),
    "lying_cuda_interface": lambda: lying(__cuda_array_interface__=INTERFACE),
    "lying_exchange": lambda: lying(__dlpack_c_exchange_api__=capsule(b"dlpack_exchange_api")),
    "lying_class": lambda: lying(__class__=np.ndarray),
    "raising_class": lambda: lying(__class__=property(raising)),
    "raising_attributes": lambda: lying(__getattribute__=raising),
    "named_like_torch": lambda: type("Tensor", (), {"__module__": "torch"})(),
    "named_like_torch_parameter": lambda: type("Parameter", (), {"__module__": "torch.nn.parameter"})(),
    "named_like_numpy": lambda: type("ndarray", (), {"__module__": "numpy"})(),
    "named_like_jax": lambda: type("ArrayImpl", (), {"__module__": "jaxlib._jax"})(),
    "named_like_tensorflow": lambda: type(
        "EagerTensor", (), {"__module__": "tensorflow.python.framework.ops"})(),
    "named_like_variable": lambda: type(
        "ResourceVariable", (), {"__module__": "tensorflow.python.ops.resource_variable_ops"})(),
    "named_like_cle": lambda: type("Array", (), {"__module__": "pyclesperanto._pyclesperanto"})(),
    "of_no_module": lambda: type("Tensor", (), {"__module__": None})(),
    "of_a_lying_metaclass": lambda: type(
        "Meta", (type,), {"__module__": property(raising), "__name__": property(raising)})("X", (), {})(),
    "of_a_wild_name": lambda: type("Tensor%s%n", (), {"__module__": "to\udc80rch"})(),
    "of_a_long_name": lambda: type("T" * 100_000, (), {"__module__": "numpy" * 10_000})(),
    "unhashable": lambda: lying(
        __hash__=None, __eq__=raising, __bool__=raising, __len__=lambda s: -1, __repr__=raising),
    "namespace": lambda: types.SimpleNamespace(dtype=np.dtype("f4"), shape=(3,), strides=(4,), data_ptr=lambda: 16),
}  # fmt: skip


def run_nonsense(name: str) -> dict[str, Any]:
    """What every target says to a thing that is no array; all frameworks are in use by then."""
    for target in NAMES:
        with contextlib.suppress(MemoryConversionError):
            arraybridge.convert(floats(2, 2), target)
    thing = NONSENSE[name]()
    verdict: dict[str, Any] = {}
    for target in NAMES:
        use = Use(target)
        use(thing)
        verdict[target] = use.verdict()
    for look in (arraybridge.detect_memory_type, arraybridge.describe):
        try:
            verdict[look.__name__] = str(look(thing))
        except ValueError as error:
            verdict[look.__name__] = None if str(error) else "an error without words"
    return verdict


# ---------------------------------------------------------------- calls that mean nothing

A, KEYWORDS = np.zeros((2, 3), np.float32), {
    "device": ["cuda:0", "cuda", "opencl:99", "cpu:99", "nonsense", "cpu:", "cpu:-1", ":", "",
               "cpu:99999999999999999999", "host\0", "\udc80", object(), -1, 1.5, b"cpu"],
    "gpu_id": [-1, 1 << 40, 10**30, "0", 1.5, object()],
    "copy": ["yes", 2, object(), np.zeros(3)],
    "casting": ["bogus", "", None, 3, "no\0"],
    "dtype": ["nonsense", "", object, object(), "f4,f4", "M8[D]", 7, "\udc80", np.dtype("V8"), "float33", b"f4"],
    "stream": [object(), -1, 10**30, "s", 1.5],
    "immutable": ["maybe", 1, True, b"copy"],
    "mutable": ["maybe", 1, True, "copy\0"],
    "no_such_keyword": [1],
}  # fmt: skip

CALLS: dict[str, Callable[[], Any]] = {
    f"{keyword}-{number}-{target}": lambda k=keyword, v=value, t=target: arraybridge.convert(A, t, **{k: v})
    for keyword, values in KEYWORDS.items()
    for number, value in enumerate(values)
    for target in ("numpy", "torch")
} | {
    f"target-{number}": lambda v=value: arraybridge.convert(A, v)
    for number, value in enumerate([
        "no_such", "", "torch\0", "torch ", "../torch", "/etc/passwd", "t" * 1_000_000, "\udc80", "%s%n",
        "arraybridge_torch", None, 3, 1.5, b"torch", object(), np, __builtins__, np.ndarray,
        A, [], ("torch",), float("nan"),
    ])
} | {
    "convert_nothing": lambda: arraybridge.convert(),
    "convert_one": lambda: arraybridge.convert(A),
    "convert_three": lambda: arraybridge.convert(A, "torch", "cpu"),
    "convert_twice": lambda: arraybridge.convert(A, "torch", target="torch"),
    "plan_no_such": lambda: arraybridge.plan(A, "no_such"),
    "memory_nothing": lambda: arraybridge.convert_memory(),
    "memory_two": lambda: arraybridge.convert_memory(A, "numpy"),
    "memory_mismatch": lambda: arraybridge.convert_memory(A, "torch", "numpy"),
    "memory_mismatch_jax": lambda: arraybridge.convert_memory(A, "jax", "jax"),
    "memory_no_such_source": lambda: arraybridge.convert_memory(A, "no_such", "torch"),
    "memory_no_such_target": lambda: arraybridge.convert_memory(A, "numpy", "no_such"),
    "memory_none": lambda: arraybridge.convert_memory(A, None, None),
    "memory_modules": lambda: arraybridge.convert_memory(A, np, np),
    "memory_nonsense": lambda: arraybridge.convert_memory(None, "numpy", "torch"),
    "detect_nothing": lambda: arraybridge.detect_memory_type(),
    "describe_nothing": lambda: arraybridge.describe(),
    "list_devices_no_such": lambda: arraybridge.list_devices("no_such"),
    "list_devices_none": lambda: arraybridge.list_devices(None),  # type: ignore[arg-type]
    "options_wrong": lambda: arraybridge.options.set(immutable="maybe"),
    "options_unknown": lambda: arraybridge.options.set(nothing=1),
    "options_threads": lambda: arraybridge.options.set(threads=-1),
}  # fmt: skip


def run_calls(group: str) -> dict[str, dict[str, str]]:
    """How calls that mean nothing end."""
    endings = {}
    for name, call in CALLS.items():
        if group_of(name) != group:
            continue
        print(name, flush=True)
        try:
            endings[name] = {"error": "", "text": f"gave {type(call())}"}
        except (MemoryConversionError, TypeError, ValueError) as error:
            endings[name] = {"error": type(error).__name__, "text": str(error)}
    return endings


def group_of(name: str) -> str:
    """Calls of one group share a child."""
    return name.split("-")[0]
