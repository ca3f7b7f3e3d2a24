# SPDX-License-Identifier: MIT
"""The older module of the stack functions."""

from __future__ import annotations

from arraybridge.stacks import stack_slices, unstack_slices

__all__ = ["_is_2d", "_is_3d", "stack_slices", "unstack_slices"]


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
