# SPDX-License-Identifier: MIT
"""What is there: backends, on which devices, and why others are not."""

from __future__ import annotations

from . import announced
from ._library import native
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class BackendInfo(Value):
    """One loaded backend.

    Attributes
    ----------
    name, version, path : str
        Of the plugin.
    installed, imported : bool
        Whether its framework can be imported, as far as one can tell without doing so, and whether it has been.
    framework_version : str
        Empty if unknown.
    detail : str
        Why the framework cannot be used, or what to know about it; may be empty.
    probed : str
        ``"OK"``: the plugin said whether the framework is installed. ``"UNSUPPORTED"``: it cannot say. Else a status
        that says how the question failed; ``detail`` says more.
    python : bool
        Whether its arrays are Python objects. If not, the backend is for C programs.
    """

    __slots__ = ("name", "version", "path", "installed", "imported", "framework_version", "detail", "probed", "python")

    name: str
    version: str
    path: str
    installed: bool
    imported: bool
    framework_version: str
    detail: str
    probed: str
    python: bool

    def __init__(self, values: dict[str, Any]) -> None:
        self._fill(values)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return self._values()


class DeviceInfo(Value):
    """One device of a backend.

    Attributes
    ----------
    device : str
        ``"cpu:0"``, ``"cuda:1"``, ``"opencl:0"``: what the keyword ``device`` takes.
    name : str
        As the framework or the driver calls it.
    default : bool
        Whether the framework puts new arrays there now.
    unified_memory : bool
        Whether host and device use the same memory.
    memory_bytes : int
        Size of its memory; 0 if unknown.
    uuid : str
        Hexadecimal; empty if it has none.
    """

    __slots__ = ("device", "name", "default", "unified_memory", "memory_bytes", "uuid")

    device: str
    name: str
    default: bool
    unified_memory: bool
    memory_bytes: int
    uuid: str

    def __init__(self, values: dict[str, Any]) -> None:
        self._fill(values)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return self._values()


def backends() -> list[BackendInfo]:
    """List the loaded backends by name. Imports no framework; looks at what distributions announce (once, slow)."""
    return [BackendInfo(values) for values in native.backends()]


def list_devices(name: str) -> list[DeviceInfo]:
    """List the devices of one backend, the default one first. Imports its framework.

    Raises
    ------
    UnknownBackendError
        No backend has that name.
    MemoryConversionError
        The framework is not installed or does not start.
    """
    return [DeviceInfo(values) for values in native.devices(name)]


def load_trace() -> list[dict[str, str]]:
    """List every file and folder that was looked at for plugins, in order.

    Returns
    -------
    list of dict
        status (``"OK"``: loaded), path, place (``"api"``, ``"environment"``, ``"distribution"``, ``"user"``,
        ``"library"``), name, version, reason and hint.
    """
    return [*native.load_trace(), *announced.problems]
