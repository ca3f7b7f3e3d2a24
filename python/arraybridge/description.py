# SPDX-License-Identifier: MIT
"""What an array is, without touching its elements."""

from __future__ import annotations

from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ArrayDescription(Value):
    """What ``describe`` says of an array.

    Attributes
    ----------
    backend : str
        Who owns it.
    dtype : str
        The logical dtype; empty if it is none that can be exchanged.
    shape : tuple of int
        Elements along each axis.
    strides : tuple of int
        Bytes from one element to the next along each axis, of any sign.
    device : str
        ``"cpu:0"``; ``"several"`` for an array on several devices.
    mutability : str
        ``"writable"``, ``"immutable"`` (by convention) or ``"read-only"`` (really).
    host_accessible, byte_swapped, gradient : bool
        Whether the host reads it by address, its bytes are in the other order, it takes part in autograd.
    shareable, convertible : bool
        Whether its memory can be shared, whether it can be converted at all; ``why_not`` says why not.
    """

    __slots__ = (
        "backend", "dtype", "shape", "strides", "device", "mutability", "host_accessible", "byte_swapped", "gradient",
        "shareable", "convertible", "why_not",
    )  # fmt: skip

    backend: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    device: str
    mutability: str
    host_accessible: bool
    byte_swapped: bool
    gradient: bool
    shareable: bool
    convertible: bool
    why_not: str

    def __init__(self, values: dict[str, Any]) -> None:
        self._fill(values)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return {**self._values(), "shape": list(self.shape), "strides": list(self.strides)}
