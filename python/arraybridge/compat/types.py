# SPDX-License-Identifier: MIT
"""The names of the six frameworks as an enum, and the attributes that decorators set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from typing import Any, TypeVar

from .arrays import Array as Array
from .libraries import ArrayLibrary as ArrayLibrary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .converters_registry import ConverterBase

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
ConversionFunc = Callable[[Any], Any]


class MemoryType(Enum):
    """A framework's name. Wherever this package takes a name it takes a member, too."""

    NUMPY = "numpy"
    CUPY = "cupy"
    TORCH = "torch"
    TENSORFLOW = "tensorflow"
    JAX = "jax"
    PYCLESPERANTO = "pyclesperanto"

    @property
    def library(self) -> ArrayLibrary:
        """The facade of the framework."""
        return ArrayLibrary.named(self.value)

    @property
    def converter(self) -> ConverterBase:
        """What ``get_converter`` gives for it."""
        from .converters_registry import get_converter

        return get_converter(self.value)

    def to_numpy(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to NumPy."""
        return self.converter.to_numpy(data, gpu_id)

    def to_cupy(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to CuPy."""
        return self.converter.to_cupy(data, gpu_id)

    def to_torch(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to torch."""
        return self.converter.to_torch(data, gpu_id)

    def to_tensorflow(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to TensorFlow."""
        return self.converter.to_tensorflow(data, gpu_id)

    def to_jax(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to JAX."""
        return self.converter.to_jax(data, gpu_id)

    def to_pyclesperanto(self, data: Any, gpu_id: Any = None) -> Any:
        """Hand an array of this framework to pyclesperanto."""
        return self.converter.to_pyclesperanto(data, gpu_id)


CPU_MEMORY_TYPES: set[MemoryType] = {MemoryType.NUMPY}
GPU_MEMORY_TYPES: set[MemoryType] = set(MemoryType) - CPU_MEMORY_TYPES
SUPPORTED_MEMORY_TYPES: set[MemoryType] = set(MemoryType)

VALID_MEMORY_TYPES: set[str] = {member.value for member in MemoryType}
VALID_GPU_MEMORY_TYPES: set[str] = {member.value for member in GPU_MEMORY_TYPES}

MEMORY_TYPE_NUMPY: str = MemoryType.NUMPY.value
MEMORY_TYPE_CUPY: str = MemoryType.CUPY.value
MEMORY_TYPE_TORCH: str = MemoryType.TORCH.value
MEMORY_TYPE_TENSORFLOW: str = MemoryType.TENSORFLOW.value
MEMORY_TYPE_JAX: str = MemoryType.JAX.value
MEMORY_TYPE_PYCLESPERANTO: str = MemoryType.PYCLESPERANTO.value


class MemoryContractAttribute(str, Enum):  # noqa: UP042 (its text is not its value, as it was)
    """The attributes that decorators set on a function."""

    INPUT = "input_memory_type"
    OUTPUT = "output_memory_type"
    EXECUTION = "execution_memory_type"

    def read(self, obj: object, default: str | None = None) -> str | None:
        """The attribute of an object, or the item of a mapping; ``TypeError`` if it is no text."""
        value = obj.get(self.value, default) if isinstance(obj, Mapping) else getattr(obj, self.value, default)
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{self.value} should be the name of a framework, not {value!r}")
        return value

    def write(self, obj: object, value: str) -> None:
        """Set the attribute of an object, or the item of a mapping."""
        if isinstance(obj, MutableMapping):
            obj[self.value] = value
        else:
            setattr(obj, self.value, value)
