"""Failures that speak of memory, resources or sizes and are no out-of-memory; and texts that are one.

Each is a function that gives the exception: some types exist only once their framework is imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def _made(module: str, name: str, *arguments: Any) -> BaseException:
    kind = importlib.import_module(module)
    for part in name.split("."):
        kind = getattr(kind, part)
    error = kind(*arguments)
    assert isinstance(error, BaseException)
    return error


def look_alike(module: str, name: str, base: type[BaseException], text: str) -> BaseException:
    """An exception whose exact type says it is `module`.`name`, for frameworks that are not here (CuPy, no GPU)."""
    kind = type(name, (base,), {"__module__": module, "__qualname__": name})
    return kind(text)


class OutOfMemoryError(Exception):
    """A user's own class of that name."""


class MemoryErrorOfMine(MemoryError):
    """A subclass: only exact types count."""


def _tf(name: str, text: str) -> Callable[[], BaseException]:
    return lambda: _made("tensorflow", f"errors.{name}", None, None, text)


def _jax(text: str) -> Callable[[], BaseException]:
    return lambda: _made("jax.errors", "JaxRuntimeError", text)


CL_LAUNCH = "Error: Failed to launch kernel 'gaussian_blur_separable'. OpenCL error: CL_OUT_OF_RESOURCES (-5)"
CL_FINISH = "Error: Failed to synchronise the command queue. OpenCL error: CL_OUT_OF_RESOURCES (-5)"

NEAR_MISSES: dict[str, Callable[[], BaseException]] = {
    "key_ran_out": lambda: KeyError("the worker ran out of memory"),
    "key_memory": lambda: KeyError("memory"),
    "key_oom": lambda: KeyError("OOM when allocating tensor"),
    "value_unable": lambda: ValueError("Unable to allocate 3.00 GiB for an array"),
    "value_array_too_big": lambda: ValueError(
        "array is too big; `arr.size * arr.dtype.itemsize` is larger than the maximum possible size."
    ),
    "value_maximum_dimension": lambda: ValueError("Maximum allowed dimension exceeded"),
    "type_memoryview": lambda: TypeError("memoryview: a bytes-like object is required, not 'str'"),
    "buffer": lambda: BufferError("memoryview has 1 exported buffer"),
    "index": lambda: IndexError("out of memory bounds"),
    "overflow": lambda: OverflowError("cannot fit 'int' into an index-sized integer"),
    "assertion": lambda: AssertionError("CUDA out of memory. Tried to allocate 2 GiB"),
    "runtime_plain": lambda: RuntimeError("out of memory"),
    "runtime_loose": lambda: RuntimeError("see the log: CUDA out of memory. was fixed yesterday"),
    "runtime_cublas_execution": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling gemm"),
    "runtime_cudnn": lambda: RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
    "runtime_illegal": lambda: RuntimeError("CUDA error: an illegal memory access was encountered"),
    "runtime_misaligned": lambda: RuntimeError("CUDA error: misaligned address"),
    "runtime_assert": lambda: RuntimeError("CUDA error: device-side assert triggered"),
    "runtime_launch_resources": lambda: RuntimeError("CUDA error: too many resources requested for launch"),
    "runtime_invalid_configuration": lambda: RuntimeError("CUDA error: invalid configuration argument"),
    "runtime_storage": lambda: RuntimeError("Storage size calculation overflowed with sizes=[4611686018427387904, 4]"),
    "runtime_numel": lambda: RuntimeError("numel: integer multiplication overflow"),
    "runtime_share": lambda: RuntimeError("unable to open shared memory object </torch_1234> in read-write mode (2)"),
    "runtime_allocator_quoted": lambda: RuntimeError("no: DefaultCPUAllocator: can't allocate memory"),
    "runtime_enforce_other": lambda: RuntimeError("[enforce fail at inline_container.cc:424] . unexpected pos 0 vs 1"),
    "runtime_pin": lambda: RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned"),
    "accelerator_illegal": lambda: look_alike(
        "torch", "AcceleratorError", RuntimeError, "CUDA error: an illegal memory access was encountered"
    ),
    "accelerator_launch": lambda: look_alike(
        "torch", "AcceleratorError", RuntimeError, "CUDA error: out of range; too many resources requested for launch"
    ),
    "cl_kernel_launch": lambda: RuntimeError(CL_LAUNCH),
    "cl_finish": lambda: RuntimeError(CL_FINISH),
    "cl_invalid_mem": lambda: RuntimeError(
        "Error: Failed to write buffer memory. OpenCL error: CL_INVALID_MEM_OBJECT (-38)"
    ),
    "cl_map": lambda: RuntimeError("Error: Failed to read buffer memory. OpenCL error: CL_MAP_FAILURE (-12)"),
    "cl_quoted": lambda: RuntimeError("OpenCL error: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)"),
    "cl_code_50": lambda: RuntimeError("Error: Failed to allocate buffer memory. OpenCL error: CL_INVALID_VALUE (-30)"),
    "cupy_launch": lambda: look_alike(
        "cupy_backends.cuda.api.driver", "CUDADriverError", RuntimeError,
        "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch",
    ),
    "cupy_illegal": lambda: look_alike(
        "cupy_backends.cuda.api.runtime", "CUDARuntimeError", RuntimeError,
        "cudaErrorIllegalAddress: an illegal memory access was encountered",
    ),
    "cupy_elsewhere": lambda: look_alike("somebody.else", "OutOfMemoryError", MemoryError, "Out of memory allocating"),
    "jax_invalid": _jax("INVALID_ARGUMENT: buffer size exceeds memory RESOURCE_EXHAUSTED"),
    "jax_internal": _jax("INTERNAL: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"),
    "jax_donated": lambda: RuntimeError("Array has been deleted with shape=float32[4]. memory was donated"),
    "tf_quota": _tf("ResourceExhaustedError", "Quota exceeded for requests per minute"),
    "tf_message": _tf("ResourceExhaustedError", "Received message larger than max (5000000 vs. 4194304)"),
    "tf_invalid": _tf("InvalidArgumentError", "OOM when allocating tensor is what others say"),
    "tf_internal": _tf("InternalError", "CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered"),
    "os_no_space": lambda: OSError(28, "No space left on device: /dev/shm/memory"),
    "os_not_found": lambda: FileNotFoundError(2, "No such file or directory", "/data/memory.tif"),
    "os_permission": lambda: PermissionError(13, "cannot map memory", "/dev/mem"),
    "os_text_only": lambda: OSError("[Errno 12] Cannot allocate memory"),
    "users_class": lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    "users_subclass": lambda: MemoryErrorOfMine("mine"),
    "recursion": lambda: RecursionError("maximum recursion depth exceeded: stack memory"),
    "unicode": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "memory"),
    "interrupt": lambda: KeyboardInterrupt("out of memory"),
    "system_exit": lambda: SystemExit("out of memory"),
}

REAL_TEXTS: dict[str, Callable[[], BaseException]] = {
    "empty_memory_error": MemoryError,
    "memory_error": lambda: MemoryError("std::bad_alloc"),
    "numpy": lambda: _made("numpy._core._exceptions", "_ArrayMemoryError", (4, 4), _made_dtype()),
    "torch_cuda": lambda: _made("torch", "OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
    "torch_driver": lambda: RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
    "torch_accelerator": lambda: look_alike("torch", "AcceleratorError", RuntimeError, "CUDA error: out of memory\n…"),
    "torch_cublas": lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "torch_mps": lambda: RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
    "torch_cpu": lambda: RuntimeError(
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
        "allocate 140737488355328 bytes. Error code 12 (Cannot allocate memory)"
    ),
    "cupy": lambda: look_alike("cupy.cuda.memory", "OutOfMemoryError", MemoryError, "Out of memory allocating 1"),
    "cupy_runtime": lambda: look_alike(
        "cupy_backends.cuda.api.runtime", "CUDARuntimeError", RuntimeError, "cudaErrorMemoryAllocation: out of memory"
    ),
    "jax": _jax("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 85899345920 bytes."),
    "tf": _tf("ResourceExhaustedError", "{{function_node __wrapped__Fill}} OOM when allocating tensor with shape[9,9]"),
    "tf_copy": _tf("InternalError", "Failed copying input tensor: Dst tensor is not initialized."),
    "os_errno": lambda: OSError(12, "Cannot allocate memory"),
    "cl_4": lambda: RuntimeError(
        "Error: Failed to allocate buffer memory. OpenCL error: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)"
    ),
    "cl_5": lambda: RuntimeError("Error: Failed to write buffer memory. OpenCL error: CL_OUT_OF_RESOURCES (-5)"),
    "cl_6": lambda: RuntimeError("Error: Failed to allocate buffer memory. OpenCL error: CL_OUT_OF_HOST_MEMORY (-6)"),
    "cl_61": lambda: RuntimeError(
        "Error: Failed to allocate buffer memory. OpenCL error: CL_INVALID_BUFFER_SIZE (-61)"
    ),
}
"""Simulated: texts of frameworks and drivers that are not here, and of pyclesperanto, which dies of the real thing."""


def _made_dtype() -> Any:
    import numpy as np

    return np.dtype("float32")
