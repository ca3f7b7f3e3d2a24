# SPDX-License-Identifier: MIT
"""The older module of the slice loop."""

from __future__ import annotations

from arraybridge.calls import detect_memory_type
from arraybridge.stacks import process_slices, stack_slices, unstack_slices

from .libraries import ArrayLibrary
from .utils import _get_device_id

__all__ = [
    "ArrayLibrary",
    "_get_device_id",
    "detect_memory_type",
    "process_slices",
    "stack_slices",
    "unstack_slices",
]
