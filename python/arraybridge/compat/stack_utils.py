# SPDX-License-Identifier: MIT
"""The older module of the stack functions."""

from __future__ import annotations

from arraybridge.calls import convert_memory, detect_memory_type
from arraybridge.stacks import stack_slices, unstack_slices

from .arrays import Array
from .devices import Device
from .libraries import ArrayLibrary
from .types import GPU_MEMORY_TYPES, MemoryType
from .utils import optional_import

__all__ = [
    "GPU_MEMORY_TYPES",
    "Array",
    "ArrayLibrary",
    "Device",
    "MemoryType",
    "_is_2d",
    "_is_3d",
    "convert_memory",
    "detect_memory_type",
    "optional_import",
    "stack_slices",
    "unstack_slices",
]


def _axes(data: object) -> int | None:
    ndim = getattr(data, "ndim", None)
    if isinstance(ndim, int):
        return ndim
    shape = getattr(data, "shape", None)
    return None if shape is None else len(shape)


def _is_2d(data: object) -> bool:
    """Whether an array has two axes."""
    return _axes(data) == 2


def _is_3d(data: object) -> bool:
    """Whether an array has three axes."""
    return _axes(data) == 3
