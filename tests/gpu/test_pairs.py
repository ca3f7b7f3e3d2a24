"""Every pair that involves a GPU: CuPy, and the CUDA side of torch and JAX. Needs an NVIDIA GPU and these frameworks.

Run by hand on such a machine: ``python -m pytest tests/gpu``. Without a GPU the whole file is skipped, and says so.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

import pytest

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def _has_gpu() -> bool:
    if importlib.util.find_spec("cupy") is None:
        return False
    import cupy

    try:
        return bool(cupy.cuda.runtime.getDeviceCount())
    except Exception:
        return False


if not _has_gpu():
    pytest.skip("no NVIDIA GPU that CuPy can use on this machine", allow_module_level=True)

import arraybridge  # noqa: E402
import cupy  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"]
DTYPES += ["float16", "float32", "float64", "complex64", "complex128"]
GPU = ["cupy", "torch", "jax"]
SHAPES = [(3, 4, 5), (), (3, 0, 5), (2, 1, 3, 1, 2, 1, 2)]


def _jax(array: np.ndarray[Any, Any]) -> Any:
    with jax.enable_x64(True):
        return jax.device_put(array, jax.devices("gpu")[0])


MAKE: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "numpy": lambda array: array,
    "cupy": cupy.asarray,
    "torch": lambda array: torch.from_numpy(array.copy()).cuda(),
    "jax": _jax,
}
READ: dict[str, Callable[[Any], np.ndarray[Any, Any]]] = {
    "numpy": np.asarray,
    "cupy": lambda array: array.get(),
    "torch": lambda array: array.cpu().numpy(),
    "jax": np.asarray,
}
POINTER: dict[str, Callable[[Any], int]] = {
    "cupy": lambda array: int(array.data.ptr),
    "torch": lambda array: int(array.data_ptr()),
    "jax": lambda array: int(array.unsafe_buffer_pointer()),
}


def values(dtype: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(1)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    return np.frombuffer(rng.bytes(count), np.uint8).copy().view(dtype).reshape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", GPU)
@pytest.mark.parametrize("source", GPU)
def test_same_bits_arrive_on_the_device(source: str, target: str, dtype: str, shape: tuple[int, ...]) -> None:
    array = values(dtype, shape)
    made = MAKE[source](array)
    with arraybridge.records() as log:
        result = arraybridge.convert(made, target)
    assert arraybridge.detect_memory_type(result) == target
    assert READ[target](result).tobytes() == array.tobytes()
    if source != target and array.size:
        assert POINTER[target](result) == POINTER[source](made)
        assert log[0].shared and not log[0].copied


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("framework", GPU)
def test_host_arrays_go_there_and_back(framework: str, dtype: str) -> None:
    array = values(dtype, (3, 4, 5))
    there = arraybridge.convert(array, framework, device="cuda:0")
    assert READ[framework](there).tobytes() == array.tobytes()
    back = arraybridge.convert(there, "numpy")
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


@pytest.mark.parametrize("target", ["cupy", "torch"])
@pytest.mark.parametrize("source", ["cupy", "torch"])
def test_strided_views_arrive(source: str, target: str) -> None:
    array = values("float32", (6, 8, 10))
    made = MAKE[source](array)[::2, 1:, ::3]
    assert (
        READ[target](arraybridge.convert(made, target)).tobytes() == np.ascontiguousarray(array[::2, 1:, ::3]).tobytes()
    )


@pytest.mark.parametrize("attempt", range(20))
def test_the_consumer_waits_for_a_busy_side_stream(attempt: int) -> None:
    busy = cupy.cuda.Stream(non_blocking=True)
    consumer = torch.cuda.Stream()
    size = 1 << 24
    source = cupy.zeros(size, cupy.float32)
    with busy:
        for _ in range(60):
            source += 1
        with torch.cuda.stream(consumer):
            result = arraybridge.convert(source, "torch")
            total = result.sum(dtype=torch.float64)
    assert float(total) == 60.0 * size


def test_the_current_device_stays() -> None:
    before = (cupy.cuda.runtime.getDevice(), torch.cuda.current_device())
    arraybridge.convert(MAKE["cupy"](values("float32", (4, 4))), "torch")
    with pytest.raises(arraybridge.MemoryConversionError):
        arraybridge.convert(np.ones(3, np.float32), "cupy", device="cuda:99")
    assert (cupy.cuda.runtime.getDevice(), torch.cuda.current_device()) == before
