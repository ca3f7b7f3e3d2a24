"""Where an array's elements lie in host memory, by each framework's own means: arraybridge is not asked."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

_MAP_READ = 1  # CL_MAP_READ
_CONTEXT_DEVICES = 0x1081  # CL_CONTEXT_DEVICES
_MEMORY_CONTEXT = 0x1106  # CL_MEM_CONTEXT


class _Tensor(ctypes.Structure):
    """The head of a DLTensor."""

    _fields_ = [("data", ctypes.c_void_p)]


class _ManagedVersioned(ctypes.Structure):
    """The head of a DLManagedTensorVersioned."""

    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    ]  # fmt: skip


def _cl_mem(array: Any) -> int:
    """The OpenCL buffer of a pyclesperanto array; its own export finishes what is queued for it."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    capsule = array.__dlpack__()
    address = pointer(capsule, b"dltensor_versioned")
    return int(_ManagedVersioned.from_address(address).tensor.data)


def _opencl() -> ctypes.CDLL:
    library = ctypes.CDLL("libOpenCL.so.1")
    library.clEnqueueMapBuffer.restype = ctypes.c_void_p
    library.clCreateCommandQueueWithProperties.restype = ctypes.c_void_p
    return library


def _of_opencl(array: Any) -> int:
    """Maps the whole buffer for reading and unmaps it again."""
    library = _opencl()
    buffer = ctypes.c_void_p(_cl_mem(array))
    context, device, status = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_int32()
    library.clGetMemObjectInfo(buffer, _MEMORY_CONTEXT, ctypes.c_size_t(8), ctypes.byref(context), None)
    library.clGetContextInfo(context, _CONTEXT_DEVICES, ctypes.c_size_t(8), ctypes.byref(device), None)
    queue = ctypes.c_void_p(library.clCreateCommandQueueWithProperties(context, device, None, ctypes.byref(status)))
    assert status.value == 0, f"no queue: OpenCL says {status.value}"
    size = int(np.prod(array.shape)) * np.dtype(array.dtype).itemsize
    mapped = library.clEnqueueMapBuffer(
        queue, buffer, ctypes.c_uint32(1), ctypes.c_uint64(_MAP_READ), ctypes.c_size_t(0), ctypes.c_size_t(size),
        ctypes.c_uint32(0), None, None, ctypes.byref(status),
    )  # fmt: skip
    assert status.value == 0, f"not mapped: OpenCL says {status.value}"
    library.clEnqueueUnmapMemObject(queue, buffer, ctypes.c_void_p(mapped), ctypes.c_uint32(0), None, None)
    library.clFinish(queue)
    library.clReleaseCommandQueue(queue)
    return int(mapped)


ADDRESS: dict[str, Callable[[Any], int]] = {
    "numpy": lambda array: int(array.ctypes.data),
    "torch": lambda array: int(array.data_ptr()),
    "tensorflow": lambda array: int(np.asarray(array).ctypes.data),
    "jax": lambda array: int(array.unsafe_buffer_pointer()),
    "pyclesperanto": _of_opencl,
}
