# SPDX-License-Identifier: MIT
"""One converter for each framework, with a method for each target."""

from __future__ import annotations

from typing import Any

from arraybridge.calls import convert, convert_memory

from .types import VALID_MEMORY_TYPES, MemoryType

__all__ = ["ConverterBase", "MemoryType", "get_converter"]


def _place(place: Any) -> dict[str, Any]:
    """A number is a ``gpu_id``, all else a device."""
    if place is None:
        return {}
    return {"gpu_id": place} if hasattr(place, "__index__") else {"device": place}


class ConverterBase:
    """Converts arrays of one framework.

    Parameters
    ----------
    memory_type : str
        The framework. Subclasses of your own are not looked for: a framework is added with a plugin.
    """

    memory_type: str

    def __init__(self, memory_type: str) -> None:
        self.memory_type = memory_type

    def _to(self, target: str, data: Any, place: Any) -> Any:
        return convert_memory(data, self.memory_type, target, **_place(place))

    def to_numpy(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to NumPy."""
        return self._to("numpy", data, None)

    def to_cupy(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to CuPy."""
        return self._to("cupy", data, gpu_id)

    def to_torch(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to torch."""
        return self._to("torch", data, gpu_id)

    def to_tensorflow(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to TensorFlow."""
        return self._to("tensorflow", data, gpu_id)

    def to_jax(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to JAX."""
        return self._to("jax", data, gpu_id)

    def to_pyclesperanto(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand ``data`` to pyclesperanto."""
        return self._to("pyclesperanto", data, gpu_id)

    def from_numpy(self, data: Any, gpu_id: Any = None) -> Any:
        """Take a NumPy array into the framework."""
        return convert_memory(data, "numpy", self.memory_type, **_place(gpu_id))

    def from_dlpack(self, data: Any, gpu_id: Any = None) -> Any:
        """Take an array of any framework into this one."""
        return convert(data, self.memory_type, **_place(gpu_id))

    def move_to_device(self, data: Any, gpu_id: Any = None) -> Any:
        """``data`` on accelerator ``gpu_id``, itself if it is there."""
        return self._to(self.memory_type, data, gpu_id)

    def __repr__(self) -> str:
        return f"<converter of {self.memory_type}>"


def get_converter(memory_type: Any) -> ConverterBase:
    """The converter of a framework; ``ValueError`` if there is none of that name."""
    name = getattr(memory_type, "value", memory_type)
    if name not in VALID_MEMORY_TYPES:
        raise ValueError(f"no converter for {memory_type!r}; there are {', '.join(sorted(VALID_MEMORY_TYPES))}")
    return ConverterBase(name)
