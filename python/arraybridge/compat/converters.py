# SPDX-License-Identifier: MIT
"""The older module of the two conversion functions, and of what it took from elsewhere."""

from __future__ import annotations

from arraybridge.calls import convert_memory, detect_memory_type
from arraybridge.errors import MemoryConversionError

from .arrays import Array
from .converters_registry import get_converter
from .devices import Device
from .libraries import ArrayLibrary
from .types import VALID_MEMORY_TYPES, MemoryType

__all__ = [
    "VALID_MEMORY_TYPES",
    "Array",
    "ArrayLibrary",
    "Device",
    "MemoryConversionError",
    "MemoryType",
    "convert_memory",
    "detect_memory_type",
    "get_converter",
]
