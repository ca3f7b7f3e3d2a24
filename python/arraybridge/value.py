# SPDX-License-Identifier: MIT
"""The base of the package's plain values.

Not a dataclass: importing that module costs more than importing all of this package.
"""

from __future__ import annotations


def _rebuild(kind: type[Value], values: dict[str, object]) -> Value:
    made = kind.__new__(kind)
    made._fill(values)
    return made


class Value:
    """Fields named by ``__slots__``: compared, hashed and pickled by them, never changed."""

    __slots__: tuple[str, ...] = ()

    def _fill(self, values: dict[str, object]) -> None:
        for name in self.__slots__:
            object.__setattr__(self, name, values[name])

    def _values(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self) or not isinstance(other, Value):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(tuple(self._values().values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._values().items())
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self._values())


def size_text(count: int) -> str:
    """``count`` bytes for people: ``"64 MiB"``."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"
