# SPDX-License-Identifier: MIT
"""Containers that carry an array and know what it means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from .arrays import Array

__all__ = ["Array", "ArrayPayload", "ArrayPayloadT"]

ArrayPayloadT = TypeVar("ArrayPayloadT", bound="ArrayPayload")


class ArrayPayload(ABC):
    """A container with one array. Subclasses say how to read the array and how to put another in its place."""

    @abstractmethod
    def array_payload_data(self) -> Any:
        """The array."""

    @abstractmethod
    def with_data(self: ArrayPayloadT, data: Any) -> ArrayPayloadT:
        """The same container around another array."""

    def map_array_payload(self: ArrayPayloadT, transform: Callable[[Any], Any]) -> ArrayPayloadT:
        """The container around ``transform(array)``; itself if that is the same array."""
        before = self.array_payload_data()
        after = transform(before)
        return self if after is before else self.with_data(after)
