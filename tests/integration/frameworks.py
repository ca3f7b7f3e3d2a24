"""The frameworks under test: how each makes an array from bytes, and gives bytes back, without arraybridge.

Every function here uses only the framework's own calls, so that a defect of ours cannot hide behind itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import arraybridge

arraybridge.prepare()  # TensorFlow before pyclesperanto kills the process otherwise

import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402

NAMES = ["numpy", "torch", "tensorflow", "jax", "pyclesperanto"]

DTYPES: dict[str, np.dtype[Any]] = {
    **{
        name: np.dtype(name)
        for name in ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
    },
    **{name: np.dtype(name) for name in ["float16", "float32", "float64", "complex64", "complex128"]},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
}

CLE_DTYPES = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float32"}


def holds(framework: str, dtype: str, shape: tuple[int, ...]) -> bool:
    """Whether the framework has such an array at all."""
    if framework == "pyclesperanto":
        return dtype in CLE_DTYPES and 1 <= len(shape) <= 3 and 0 not in shape
    return True


def random_array(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray[Any, Any]:
    """Random bits: every NaN payload, both zeros, infinities; bool is 0 or 1."""
    rng = np.random.default_rng(seed)
    kind = DTYPES[dtype]
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape, dtype=np.int64))
    values = np.frombuffer(rng.bytes(count * kind.itemsize), dtype=np.uint8).copy()
    if count > 1 and np.dtype(kind).kind == "f":
        values[: kind.itemsize] = np.zeros(1, kind).view(np.uint8)
        values[kind.itemsize - 1] = 0x80  # -0.0, little endian
    return values.view(kind).reshape(shape)


def raw(array: np.ndarray[Any, Any]) -> bytes:
    """The bytes in C order and native byte order."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False).tobytes()


# ---------------------------------------------------------------- making


def _make_torch(array: np.ndarray[Any, Any], dtype: str) -> Any:
    import torch

    flat = torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).reshape(-1).copy())
    kind = getattr(torch, dtype)
    if array.size == 0:
        return torch.empty(array.shape, dtype=kind)
    return flat.view(kind).reshape(array.shape)


def _make_tensorflow(array: np.ndarray[Any, Any], dtype: str) -> Any:
    import tensorflow as tf

    return tf.constant(np.ascontiguousarray(array).reshape(array.shape))


def _make_jax(array: np.ndarray[Any, Any], dtype: str) -> Any:
    import jax
    import jax.numpy as jnp

    with jax.enable_x64(True):
        return jnp.array(array).block_until_ready()


def _make_cle(array: np.ndarray[Any, Any], dtype: str) -> Any:
    import pyclesperanto as cle

    return cle.push(np.ascontiguousarray(array))


MAKE: dict[str, Callable[[np.ndarray[Any, Any], str], Any]] = {
    "numpy": lambda array, dtype: array,
    "torch": _make_torch,
    "tensorflow": _make_tensorflow,
    "jax": _make_jax,
    "pyclesperanto": _make_cle,
}

# ---------------------------------------------------------------- reading back


def _read_torch(tensor: Any) -> tuple[str, tuple[int, ...], bytes]:
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.numel() == 0:
        return dtype, tuple(tensor.shape), b""
    flat = tensor.detach().resolve_conj().resolve_neg().contiguous().reshape(-1)
    return dtype, tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def _read_asarray(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    copy = np.asarray(array)
    return copy.dtype.name, tuple(array.shape), raw(copy)


def _read_tensorflow(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    # np.asarray() of a 0-d bfloat16 tensor fails in TensorFlow 2.21 itself; numpy() gives a scalar there.
    name = array.dtype.name
    return name, tuple(array.shape), raw(np.asarray(array.numpy(), dtype=DTYPES[name]))


def _read_cle(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    import pyclesperanto as cle

    copy = cle.pull(array)
    return np.dtype(array.dtype).name, tuple(copy.shape), raw(copy)


READ: dict[str, Callable[[Any], tuple[str, tuple[int, ...], bytes]]] = {
    "numpy": _read_asarray,
    "torch": _read_torch,
    "tensorflow": _read_tensorflow,
    "jax": _read_asarray,
    "pyclesperanto": _read_cle,
}

# ---------------------------------------------------------------- working on it


def _operate_tensorflow(array: Any) -> Any:
    import tensorflow as tf

    # Adding is what aborts on memory that is not aligned to 64 bytes; types that cannot be added are compared.
    return (
        array + array if array.dtype.is_floating and array.dtype.size > 1 else tf.concat([array[None], array[None]], 0)
    )


def _operate_cle(array: Any) -> Any:
    import pyclesperanto as cle

    return cle.pull(cle.add_image_and_scalar(array, scalar=1))


OPERATE: dict[str, Callable[[Any], Any]] = {
    "numpy": lambda array: array.copy(),
    "torch": lambda array: array.detach().clone(),
    "tensorflow": _operate_tensorflow,
    "jax": lambda array: (array == array).block_until_ready(),
    "pyclesperanto": _operate_cle,
}
"""Any real operation of the framework: some die at the first one, not at the import."""

# ---------------------------------------------------------------- whose type, which address


def module_of(array: Any) -> str:
    """The framework that owns the type, from the type itself."""
    names = {
        "numpy": "numpy",
        "torch": "torch",
        "tensorflow": "tensorflow",
        "jaxlib": "jax",
        "jax": "jax",
        "pyclesperanto_opencl": "pyclesperanto",
        "pyclesperanto": "pyclesperanto",
    }
    kind = array if isinstance(array, type) else type(array)
    return names.get(kind.__module__.split(".")[0], kind.__module__)


def aligned(shape: tuple[int, ...], dtype: str, alignment: int = 64, offset: int = 0) -> np.ndarray[Any, Any]:
    """A writable, C-contiguous array whose address is `offset` bytes past a multiple of `alignment`."""
    kind = DTYPES[dtype]
    count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    memory = np.zeros(count + 2 * alignment + offset, np.uint8)
    start = -memory.ctypes.data % alignment + offset
    return memory[start : start + count].view(kind).reshape(shape)
