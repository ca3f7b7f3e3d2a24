# SPDX-License-Identifier: MIT
"""The older module of the two conversion functions."""

from __future__ import annotations

from arraybridge.calls import convert_memory, detect_memory_type

from .converters_registry import get_converter

__all__ = ["convert_memory", "detect_memory_type", "get_converter"]
