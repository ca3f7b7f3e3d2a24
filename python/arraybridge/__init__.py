# SPDX-License-Identifier: MIT
"""Hand an array of one framework to any other: without a copy where memory allows it, exact in dtype and value.

>>> import arraybridge
>>> tensor = arraybridge.convert(array, "torch")

Importing this package imports no framework, NumPy included, and takes milliseconds: all but the conversions
themselves is loaded when it is first asked for.
"""

from __future__ import annotations

from ._library import native
from .calls import convert, convert_memory, describe, detect_memory_type, drain, pending, plan, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .description import ArrayDescription
    from .errors import MemoryConversionError, UnknownBackendError
    from .inventory import BackendInfo, DeviceInfo, backends, list_devices, load_trace
    from .record import ConversionRecord, records
    from .settings import options
    from .steps import Plan, Step

__version__: str = native.version

# No decorator stands here: `from arraybridge import *` must not replace the user's numpy and torch.
__all__ = [
    "ArrayDescription",
    "BackendInfo",
    "ConversionRecord",
    "DeviceInfo",
    "MemoryConversionError",
    "Plan",
    "Step",
    "UnknownBackendError",
    "backends",
    "convert",
    "convert_memory",
    "describe",
    "detect_memory_type",
    "drain",
    "list_devices",
    "load_trace",
    "options",
    "pending",
    "plan",
    "prepare",
    "records",
]

#: Where each name that is loaded on demand lives.
_LATER = {
    "ArrayDescription": "description",
    "BackendInfo": "inventory",
    "ConversionRecord": "record",
    "DeviceInfo": "inventory",
    "MemoryConversionError": "errors",
    "Plan": "steps",
    "Step": "steps",
    "UnknownBackendError": "errors",
    "backends": "inventory",
    "list_devices": "inventory",
    "load_trace": "inventory",
    "options": "settings",
    "records": "record",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
