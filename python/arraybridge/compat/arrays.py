# SPDX-License-Identifier: MIT
"""A type for ``isinstance``: any array of any loaded framework."""

from __future__ import annotations

from arraybridge.calls import detect_memory_type

__all__ = ["Array"]


class _AnyArray(type):
    def __instancecheck__(cls, value: object) -> bool:
        try:
            detect_memory_type(value)
        except ValueError:
            return False
        return True


class Array(metaclass=_AnyArray):
    """``isinstance(x, Array)``: whether ``x`` is an array that can be converted. There are no instances of its own."""

    def __new__(cls) -> Array:
        raise TypeError("Array is for isinstance() and annotations; arrays are made by their frameworks")
