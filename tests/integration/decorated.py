"""Decorated functions of every kind, at module level so that they pickle by name."""

from __future__ import annotations

from typing import Any, NamedTuple

import arraybridge
import numpy as np
from frameworks import MAKE, NAMES, READ, module_of

SHAPE = (4, 5)


class Pair(NamedTuple):
    image: Any
    mask: Any


class Bag(list):  # type: ignore[type-arg]
    """A list that has more to it than its items."""

    label = ""


class Table(dict):  # type: ignore[type-arg]
    label = ""


class Plain(tuple):  # type: ignore[type-arg]
    """A tuple made from one iterable, unlike a namedtuple."""


def array(framework: str, value: float = 2, shape: tuple[int, ...] = SHAPE, dtype: str = "float32") -> Any:
    """Of the framework's own making."""
    return MAKE[framework](np.full(shape, value, dtype), dtype)


def values(result: Any) -> Any:
    """The elements as NumPy has them, by the framework's own means."""
    dtype, shape, data = READ[module_of(result)](result)
    return np.frombuffer(data, dtype).reshape(shape)


def decorator(name: str) -> Any:
    return arraybridge.backend(name)


def identity(image: Any) -> Any:
    return image


#: One for each framework, found by pickle as decorated.AT_HOME…
for _name in NAMES:
    globals()[f"same_{_name}"] = _function = arraybridge.backend(_name)(identity)
    _function.__name__ = _function.__qualname__ = f"same_{_name}"


class Worker:
    """Methods of each kind."""

    factor = 3

    @arraybridge.torch
    def method(self, image: Any) -> Any:
        assert isinstance(self, Worker)
        return image * self.factor

    @classmethod
    @arraybridge.torch
    def inside_class(cls, image: Any) -> Any:
        assert cls is Worker
        return image * cls.factor

    @arraybridge.torch
    @classmethod
    def outside_class(cls, image: Any) -> Any:
        assert cls is Worker
        return image * cls.factor

    @staticmethod
    @arraybridge.torch
    def inside_static(image: Any) -> Any:
        return image * 3

    @arraybridge.torch
    @staticmethod
    def outside_static(image: Any) -> Any:
        return image * 3


class OwnArray(np.ndarray):  # type: ignore[type-arg]
    """An array that is `self`."""

    @arraybridge.torch
    def added(self, other: Any) -> Any:
        assert isinstance(self, OwnArray)
        assert module_of(other) == "torch"
        return other + float(self.sum())


class OwnDict(dict):  # type: ignore[type-arg]
    """A container that is `self`."""

    @arraybridge.torch(output_type="input")
    def added(self, other: Any) -> Any:
        assert isinstance(self, OwnDict) and module_of(self["image"]) == "numpy"
        return other
