# SPDX-License-Identifier: MIT
"""Recovery from out-of-memory under its older names."""

from __future__ import annotations

from typing import Any

from .types import VALID_MEMORY_TYPES, MemoryType
from .utils import optional_import

__all__ = [
    "MemoryType",
    "_clear_cache_for_memory_type",
    "_execute_with_oom_recovery",
    "_is_oom_error",
    "optional_import",
]


def _is_oom_error(e: BaseException, memory_type: Any) -> bool:
    """Whether ``e`` is out-of-memory of any framework. ``memory_type`` only has to be the name of one."""
    from arraybridge.recovery import is_out_of_memory

    return getattr(memory_type, "value", memory_type) in VALID_MEMORY_TYPES and is_out_of_memory(e)


def _clear_cache_for_memory_type(memory_type: Any, device_id: int | None = None) -> None:
    """Give cached memory back. All loaded frameworks do: the one that holds it may be another than the one in need."""
    from .gpu_cleanup import cleanup_all_gpu_frameworks

    cleanup_all_gpu_frameworks(device_id)


def _execute_with_oom_recovery(func_callable: Any, memory_type: Any, max_retries: int = 2) -> Any:
    """Call ``func_callable()``, after out-of-memory at most ``max_retries`` times more."""
    from arraybridge.recovery import run_with_recovery

    return run_with_recovery(func_callable, max_retries=max_retries)
