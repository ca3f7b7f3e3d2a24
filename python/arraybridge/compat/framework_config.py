# SPDX-License-Identifier: MIT
"""What older code reads of each framework, as mappings by ``MemoryType`` that cannot be written.

Entries that held source text to be evaluated are functions here.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from .converters_registry import get_converter
from .types import CPU_MEMORY_TYPES, MemoryType
from .utils import _get_device_id, _move_to_device, _set_device

__all__ = ["_FRAMEWORK_CONFIG"]

_DISPLAY_NAMES = {
    "numpy": "NumPy", "cupy": "CuPy", "torch": "PyTorch", "tensorflow": "TensorFlow", "jax": "JAX",
    "pyclesperanto": "pyclesperanto",
}  # fmt: skip


def _entry(member: MemoryType) -> Mapping[str, Any]:
    name = member.value
    on_device = member not in CPU_MEMORY_TYPES
    converter = get_converter(name)
    return MappingProxyType({
        "import_name": name,
        "display_name": _DISPLAY_NAMES[name],
        "is_gpu": on_device,
        "supports_dlpack": True,
        "has_oom_recovery": True,
        "get_device_id": partial(_get_device_id, memory_type=name) if on_device else None,
        "set_device": partial(_set_device, name) if on_device else None,
        "move_to_device": partial(_move_to_device, memory_type=name) if on_device else None,
        "lazy_getter": None,
        "conversion_ops": MappingProxyType({
            way: getattr(converter, way) for way in ("to_numpy", "from_numpy", "from_dlpack", "move_to_device")
        }),
    })  # fmt: skip


_FRAMEWORK_CONFIG: Mapping[MemoryType, Mapping[str, Any]] = MappingProxyType(
    {member: _entry(member) for member in MemoryType}
)
