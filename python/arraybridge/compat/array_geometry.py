# SPDX-License-Identifier: MIT
"""The shape of an array of any framework, without touching its elements."""

from __future__ import annotations

from arraybridge.value import Value

from .array_payload import ArrayPayload

__all__ = ["ArrayGeometry"]


def _shape_of(data: object) -> tuple[int, ...] | None:
    shape = getattr(data, "shape", None)
    if shape is None:
        try:
            import numpy

            shape = numpy.asarray(data).shape
        except (TypeError, ValueError):
            return None
    try:
        return tuple(int(extent) for extent in shape)
    except (TypeError, ValueError):
        return None


class ArrayGeometry(Value):
    """The shape of a value.

    Parameters
    ----------
    shape : tuple of int
        Elements along each axis.
    """

    __slots__ = ("shape",)
    __match_args__ = ("shape",)

    shape: tuple[int, ...]

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._fill({"shape": tuple(shape)})

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @classmethod
    def from_value(cls, value: object) -> ArrayGeometry | None:
        """The geometry of an array, an ``ArrayPayload`` or nested lists of numbers; None if it has none."""
        shape = _shape_of(value.array_payload_data() if isinstance(value, ArrayPayload) else value)
        return None if shape is None else cls(shape)

    @classmethod
    def require_from_value(cls, value: object, *, value_name: str = "Value") -> ArrayGeometry:
        """The same, or ``TypeError``."""
        found = cls.from_value(value)
        if found is None:
            raise TypeError(f"{value_name} has no shape of whole numbers: {type(value).__name__}")
        return found
