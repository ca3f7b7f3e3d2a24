# SPDX-License-Identifier: MIT
"""Giving cached memory back, under the older names."""

from __future__ import annotations

import gc
from collections.abc import Callable

from .types import MemoryType

__all__ = [
    "MEMORY_TYPE_CLEANUP_REGISTRY",
    "MemoryType",
    "cleanup_all_gpu_frameworks",
    "cleanup_cupy_gpu",
    "cleanup_jax_gpu",
    "cleanup_numpy_gpu",
    "cleanup_pyclesperanto_gpu",
    "cleanup_tensorflow_gpu",
    "cleanup_torch_gpu",
]


def cleanup_all_gpu_frameworks(device_id: int | None = None) -> None:
    """Make every loaded framework return what it caches; ``device_id``: on that accelerator only. Imports nothing."""
    from arraybridge.holdings import clear_caches

    gc.collect()
    clear_caches(None if device_id is None else f"cuda:{device_id}")


def _cleanup_of(name: str) -> Callable[[int | None], None]:
    def cleanup(device_id: int | None = None) -> None:
        cleanup_all_gpu_frameworks(device_id)

    cleanup.__name__ = cleanup.__qualname__ = f"cleanup_{name}_gpu"
    cleanup.__doc__ = f"Give back what is cached, by {name} and by all others that are loaded."
    return cleanup


cleanup_numpy_gpu = _cleanup_of("numpy")
cleanup_cupy_gpu = _cleanup_of("cupy")
cleanup_torch_gpu = _cleanup_of("torch")
cleanup_tensorflow_gpu = _cleanup_of("tensorflow")
cleanup_jax_gpu = _cleanup_of("jax")
cleanup_pyclesperanto_gpu = _cleanup_of("pyclesperanto")

MEMORY_TYPE_CLEANUP_REGISTRY = {
    "numpy": cleanup_numpy_gpu,
    "cupy": cleanup_cupy_gpu,
    "torch": cleanup_torch_gpu,
    "tensorflow": cleanup_tensorflow_gpu,
    "jax": cleanup_jax_gpu,
    "pyclesperanto": cleanup_pyclesperanto_gpu,
}
