"""The frameworks on a GPU: how each makes an array from bytes, and gives bytes back, without arraybridge.

Importing this skips the importing file where there is no NVIDIA GPU: only afterwards are frameworks imported, which is
why the tests take them from here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def why_no_gpu() -> str:
    """Empty if the driver shows a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver on this machine"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver shows no GPU"
    return ""


def driver_version() -> int:
    """Of the driver's API: 12050 is 12.5."""
    version = ctypes.c_int()
    ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    return version.value


if _reason := why_no_gpu():
    pytest.skip(_reason, allow_module_level=True)
for _name in ("numpy", "torch", "cupy", "jax"):
    if importlib.util.find_spec(_name) is None:
        pytest.skip(f"{_name} is not installed", allow_module_level=True)

import arraybridge  # noqa: E402

arraybridge.prepare()

import cupy  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

Array = np.ndarray[Any, Any]
GPU = ["cupy", "torch", "jax"]
JAX_GPU = jax.devices("gpu")[0]

INTEGERS = ["uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES: dict[str, Any] = {
    name: np.dtype(name) for name in ["bool", *INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]
}
if ml_dtypes is not None:
    DTYPES |= {name: np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")}


def random_array(dtype: str, shape: tuple[int, ...], seed: int = 1) -> Array:
    """Random bits, NaN payloads and both zeros included; bool is 0 or 1."""
    rng = np.random.default_rng(seed)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    kind = DTYPES[dtype]
    count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    return np.frombuffer(rng.bytes(count), np.uint8).copy().view(kind).reshape(shape)


def raw(array: Array) -> bytes:
    """The bytes in C order and native byte order."""
    return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("="), copy=False).tobytes()


# ---------------------------------------------------------------- making


def make_torch(array: Array, device: str) -> Any:
    """A tensor with the same bits, for dtypes that NumPy's side of torch does not know as well."""
    kind = getattr(torch, array.dtype.name)
    if array.size == 0:
        return torch.empty(array.shape, dtype=kind, device=device)
    flat = torch.from_numpy(np.ascontiguousarray(array).view(np.uint8).reshape(-1).copy()).to(device)
    return flat.view(kind).reshape(array.shape)


def make_jax(array: Array, device: Any = JAX_GPU) -> Any:
    """On the GPU, with all 64 bits."""
    with jax.enable_x64(True):
        return jax.device_put(np.ascontiguousarray(array).reshape(array.shape), device).block_until_ready()


MAKE: dict[str, Callable[[Array], Any]] = {
    "numpy": lambda array: array,
    "cupy": lambda array: cupy.asarray(np.ascontiguousarray(array).reshape(array.shape)),
    "torch": lambda array: make_torch(array, "cuda"),
    "jax": make_jax,
    "torch on the host": lambda array: make_torch(array, "cpu"),
    "jax on the host": lambda array: make_jax(array, jax.devices("cpu")[0]),
}


@cache
def holds(framework: str, dtype: str) -> bool:
    """Whether the framework itself has such an array: CuPy has no float8, and bfloat16 only lately."""
    try:
        MAKE[framework](random_array(dtype, (2,)))
    except Exception:
        return False
    return True


# ---------------------------------------------------------------- reading back


def read_torch(tensor: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Name of the dtype, shape, bytes."""
    flat = tensor.detach().contiguous().reshape(-1)
    data = b"" if flat.numel() == 0 else flat.view(torch.uint8).cpu().numpy().tobytes()
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), data


def read_host(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Name of the dtype, shape, bytes, of what NumPy can read."""
    copy = np.asarray(array)
    return copy.dtype.name, tuple(array.shape), raw(copy)


READ: dict[str, Callable[[Any], tuple[str, tuple[int, ...], bytes]]] = {
    "numpy": read_host,
    "cupy": lambda array: read_host(array.get()),
    "torch": read_torch,
    "jax": read_host,
}
POINTER: dict[str, Callable[[Any], int]] = {
    "cupy": lambda array: int(array.data.ptr),
    "torch": lambda array: int(array.data_ptr()),
    "jax": lambda array: int(array.unsafe_buffer_pointer()),
}


def ready(result: Any) -> Any:
    """Done, whoever made it."""
    if isinstance(result, jax.Array):
        result.block_until_ready()
    torch.cuda.synchronize()
    return result


# ---------------------------------------------------------------- what is current


def current() -> dict[str, Any]:
    """The current device of every framework on this thread, and the driver's current context."""
    context = ctypes.c_void_p()
    ctypes.CDLL("libcuda.so.1").cuCtxGetCurrent(ctypes.byref(context))
    return {
        "cupy": cupy.cuda.runtime.getDevice(),
        "torch": torch.cuda.current_device(),
        "jax": str(jax.config.jax_default_device),
        "context": context.value,
        "cupy's stream": cupy.cuda.get_current_stream().ptr,
        "torch's stream": torch.cuda.current_stream().cuda_stream,
    }
