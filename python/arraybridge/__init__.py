# SPDX-License-Identifier: MIT
"""Hand an array of one framework to any other: without a copy where memory allows it, exact in dtype and value.

>>> import arraybridge
>>> tensor = arraybridge.convert(array, "torch")

Importing this package imports no framework, NumPy included, and takes milliseconds: all but the conversions
themselves is loaded when it is first asked for.
"""

from __future__ import annotations

from ._library import native
from .calls import (
    convert,
    convert_memory,
    describe,
    detect_memory_type,
    drain,
    pending,
    plan,
    prepare,
    record_stream,
    release_pools,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .compat.array_geometry import ArrayGeometry
    from .compat.array_payload import ArrayPayload
    from .compat.arrays import Array
    from .compat.conversion import ConversionRoute
    from .compat.devices import HOST, AcceleratorDevice, Device, HostDevice, NamedDevice
    from .compat.dtype_config import (
        PRESERVE_INPUT_DTYPE_CONFIG,
        DtypeConversionConfig,
        PreserveInputDtypeConfig,
        SliceBySliceRuntimeParameter,
    )
    from .compat.gpu_cleanup import cleanup_all_gpu_frameworks
    from .compat.libraries import ArrayLibrary
    from .compat.types import (
        CPU_MEMORY_TYPES,
        GPU_MEMORY_TYPES,
        SUPPORTED_MEMORY_TYPES,
        MemoryContractAttribute,
        MemoryType,
    )
    from .counters import ConversionCounters, ConversionTotal
    from .decorators import backend as backend
    from .decorators import memory_types, wrap_dtype_preserving_callable
    from .description import ArrayDescription
    from .errors import MemoryConversionError, UnknownBackendError
    from .holdings import MemoryHolding, MemoryReport, clear_caches, memory_report
    from .inventory import BackendInfo, DeviceInfo, backends, list_devices, load_trace
    from .observer import ConversionObserver
    from .policy import DtypeConversion, DtypeWarning, dtype_policy
    from .record import ConversionRecord, records
    from .recovery import Recovery, is_out_of_memory, run_with_recovery
    from .scaling import SCALING_FUNCTIONS, scale
    from .settings import options
    from .stacks import SlicesCancelled, process_slices, slice_by_slice, stack_slices, unstack_slices
    from .steps import Plan, Step
    from .streams import stream
    from .strictness import strict
    from .tracing import trace

__version__: str = native.version

# Modules that the older API had (`arraybridge.types`, `arraybridge.devices`, …) are found there.
__path__.append(f"{__file__.rpartition('/')[0]}/compat")

# No decorator stands here: `from arraybridge import *` must not replace the user's numpy and torch.
__all__ = [
    "CPU_MEMORY_TYPES",
    "GPU_MEMORY_TYPES",
    "HOST",
    "PRESERVE_INPUT_DTYPE_CONFIG",
    "SCALING_FUNCTIONS",
    "SUPPORTED_MEMORY_TYPES",
    "AcceleratorDevice",
    "Array",
    "ArrayDescription",
    "ArrayGeometry",
    "ArrayLibrary",
    "ArrayPayload",
    "BackendInfo",
    "ConversionCounters",
    "ConversionObserver",
    "ConversionRecord",
    "ConversionRoute",
    "ConversionTotal",
    "Device",
    "DeviceInfo",
    "DtypeConversion",
    "DtypeConversionConfig",
    "DtypeWarning",
    "HostDevice",
    "MemoryContractAttribute",
    "MemoryConversionError",
    "MemoryHolding",
    "MemoryReport",
    "MemoryType",
    "NamedDevice",
    "Plan",
    "PreserveInputDtypeConfig",
    "Recovery",
    "SliceBySliceRuntimeParameter",
    "SlicesCancelled",
    "Step",
    "UnknownBackendError",
    "backends",
    "cleanup_all_gpu_frameworks",
    "clear_caches",
    "convert",
    "convert_memory",
    "describe",
    "detect_memory_type",
    "drain",
    "dtype_policy",
    "is_out_of_memory",
    "list_devices",
    "load_trace",
    "memory_report",
    "memory_types",
    "options",
    "pending",
    "plan",
    "prepare",
    "process_slices",
    "record_stream",
    "records",
    "release_pools",
    "run_with_recovery",
    "scale",
    "slice_by_slice",
    "stack_slices",
    "stream",
    "strict",
    "trace",
    "unstack_slices",
    "wrap_dtype_preserving_callable",
]

#: Where each name that is loaded on demand lives.
_LATER = {
    "ArrayDescription": "description",
    "BackendInfo": "inventory",
    "ConversionRecord": "record",
    "DeviceInfo": "inventory",
    "DtypeConversion": "policy",
    "DtypeWarning": "policy",
    "MemoryConversionError": "errors",
    "MemoryHolding": "holdings",
    "MemoryReport": "holdings",
    "Plan": "steps",
    "Recovery": "recovery",
    "SCALING_FUNCTIONS": "scaling",
    "SlicesCancelled": "stacks",
    "Step": "steps",
    "UnknownBackendError": "errors",
    "backend": "decorators",
    "backends": "inventory",
    "clear_caches": "holdings",
    "dtype_policy": "policy",
    "is_out_of_memory": "recovery",
    "list_devices": "inventory",
    "load_trace": "inventory",
    "memory_report": "holdings",
    "memory_types": "decorators",
    "options": "settings",
    "process_slices": "stacks",
    "records": "record",
    "run_with_recovery": "recovery",
    "scale": "scaling",
    "slice_by_slice": "stacks",
    "stack_slices": "stacks",
    "unstack_slices": "stacks",
    "ConversionCounters": "counters",
    "ConversionObserver": "observer",
    "ConversionTotal": "counters",
    "stream": "streams",
    "strict": "strictness",
    "trace": "tracing",
    # Names of the older API; modules that are not here are in compat/.
    "CPU_MEMORY_TYPES": "types",
    "GPU_MEMORY_TYPES": "types",
    "HOST": "devices",
    "PRESERVE_INPUT_DTYPE_CONFIG": "dtype_config",
    "SUPPORTED_MEMORY_TYPES": "types",
    "AcceleratorDevice": "devices",
    "Array": "arrays",
    "ArrayGeometry": "array_geometry",
    "ArrayLibrary": "libraries",
    "ArrayPayload": "array_payload",
    "ConversionRoute": "conversion",
    "Device": "devices",
    "DtypeConversionConfig": "dtype_config",
    "HostDevice": "devices",
    "MemoryContractAttribute": "types",
    "MemoryType": "types",
    "NamedDevice": "devices",
    "PreserveInputDtypeConfig": "dtype_config",
    "SliceBySliceRuntimeParameter": "dtype_config",
    "cleanup_all_gpu_frameworks": "gpu_cleanup",
    "wrap_dtype_preserving_callable": "decorators",
    "_FRAMEWORK_CONFIG": "framework_config",
    "_FRAMEWORK_OPS": "framework_ops",
    "_ensure_module": "utils",
    "_execute_with_oom_recovery": "oom_recovery",
    "_get_device_id": "utils",
    "_supports_dlpack": "utils",
    # The decorators of the frameworks.
    "cupy": "decorators",
    "jax": "decorators",
    "numpy": "decorators",
    "pyclesperanto": "decorators",
    "tensorflow": "decorators",
    "torch": "decorators",
}


#: Modules that `import arraybridge` alone made attributes of the package in 0.2.
_MODULES = frozenset({
    "array_geometry", "array_payload", "arrays", "conversion", "converters", "converters_registry", "decorators",
    "devices", "dtype_scaling", "exceptions", "framework_config", "framework_ops", "gpu_cleanup", "libraries",
    "oom_recovery", "slice_processing", "stack_utils", "types", "utils",
})  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _LATER and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
