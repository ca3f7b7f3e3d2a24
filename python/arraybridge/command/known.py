# SPDX-License-Identifier: MIT
"""The frameworks that arraybridge has plugins for, whether or not these are installed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Backend: how to install its framework. Each is imported under the backend's name.
INSTALL = {
    "cupy": "pip install cupy-cuda13x (or -cuda12x, as your driver is)",
    "jax": "pip install jax",
    "numpy": "pip install numpy",
    "pyclesperanto": "pip install pyclesperanto",
    "tensorflow": "pip install tensorflow",
    "torch": "pip install torch",
}


def may_start(backend: dict[str, Any]) -> bool:
    """Whether it makes sense to start a backend's framework, as far as ``BackendInfo`` tells."""
    return bool(backend["python"] and (backend["installed"] or backend["probed"] == "UNSUPPORTED"))


def advice(name: str) -> str:
    """How to install the framework of a backend; empty if that is unknown, or no use on this machine."""
    return "" if name == "cupy" and not has_gpu_driver() else INSTALL.get(name, "")


def has_gpu_driver() -> bool:
    """Whether an NVIDIA or AMD driver shows itself."""
    import os

    return any(map(os.path.exists, ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/proc/driver/nvidia/version")))


def is_installed(module: str) -> bool:
    """Whether a module of that name could be imported. Imports nothing."""
    from importlib.util import find_spec

    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
