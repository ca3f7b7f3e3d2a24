# SPDX-License-Identifier: MIT
"""Small helpers of the older API."""

from __future__ import annotations

from importlib import import_module
from typing import Any, NoReturn

from arraybridge.calls import convert_memory, describe
from arraybridge.errors import MemoryConversionError

from .types import MemoryType

__all__ = [
    "MemoryConversionError",
    "MemoryType",
    "_ensure_module",
    "_get_device_id",
    "_move_to_device",
    "_set_device",
    "_supports_cuda_array_interface",
    "_supports_dlpack",
    "optional_import",
]


def _name(memory_type: Any) -> str:
    return str(MemoryType(getattr(memory_type, "value", memory_type)).value)


class _ModulePlaceholder:
    """Stands for a module that is not installed: false, fit for annotations, an ImportError when called."""

    def __init__(self, module_name: str) -> None:
        self._module_name = module_name

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> _ModulePlaceholder:
        if name.startswith("__"):
            raise AttributeError(f"{self!r} has no attribute {name!r}")
        return _ModulePlaceholder(f"{self._module_name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise ImportError(f"{self._module_name} is not available: install it first")

    def __repr__(self) -> str:
        return f"<{self._module_name}, which is not installed>"


def optional_import(module_name: str) -> Any:
    """The module, or something false that stands for it."""
    try:
        return import_module(module_name)
    except (ImportError, AttributeError):
        return _ModulePlaceholder(module_name)


def _ensure_module(module_name: str) -> Any:
    """The module, or an ``ImportError`` that says what to do."""
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{module_name} is needed and not installed: pip install {module_name}") from error


def _supports_cuda_array_interface(obj: object) -> bool:
    return hasattr(obj, "__cuda_array_interface__")


def _supports_dlpack(obj: object) -> bool:
    """Whether an object has a DLPack export."""
    return any(callable(getattr(obj, name, None)) for name in ("__dlpack__", "toDlpack", "to_dlpack"))


def _get_device_id(data: Any, memory_type: Any) -> int | None:
    """Which accelerator an array is on; None: on the host."""
    _name(memory_type)  # a name that is none is an error
    kind, _, number = describe(data).device.partition(":")
    return None if kind == "cpu" or not number else int(number)


_SELECT = {
    "cupy": lambda module, number: module.cuda.Device(number).use(),
    "torch": lambda module, number: module.cuda.set_device(number),
    "pyclesperanto": lambda module, number: module.select_device(number),
}


def _set_device(memory_type: Any, device_id: int) -> None:
    """Make an accelerator the current one, where the framework has such a setting.

    An accelerator that is not there is a ``MemoryConversionError``; of torch without any it changes nothing.
    """
    from .devices import AcceleratorDevice
    from .libraries import ArrayLibrary

    name = _name(memory_type)
    library = ArrayLibrary.named(name)
    there = library.accelerator_devices() if name in _SELECT else ()
    if name not in _SELECT or (not there and name == "torch"):
        return
    if AcceleratorDevice(device_id) not in there:
        raise MemoryConversionError(name, name, "device_selection", f"no device {device_id}: there are {len(there)}")
    _SELECT[name](library.module, device_id)


def _move_to_device(data: Any, memory_type: Any, device_id: int) -> Any:
    """An array on accelerator ``device_id`` of its framework; itself if it is there, or if there is none at all."""
    return convert_memory(data, _name(memory_type), _name(memory_type), gpu_id=device_id)
