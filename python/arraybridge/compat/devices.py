# SPDX-License-Identifier: MIT
"""Where an array is, as values: the host, an accelerator by its number, a device by its name.

``convert`` and everything else with a keyword ``device`` take them; what it reads is their ``label``.
"""

from __future__ import annotations

from arraybridge.value import Value

__all__ = ["HOST", "AcceleratorDevice", "Device", "HostDevice", "NamedDevice"]


class Device(Value):
    """The base of the three. Values: compared, hashed and pickled by their fields, never changed."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """What ``device=`` and records call it."""
        raise NotImplementedError("Device has no label: HostDevice, AcceleratorDevice and NamedDevice have")


class HostDevice(Device):
    """Main memory. ``HOST`` is one."""

    __slots__ = ()

    @property
    def label(self) -> str:
        """``"host"``."""
        return "host"


class AcceleratorDevice(Device):
    """The ``index``-th accelerator of the framework that is asked.

    Parameters
    ----------
    index : int
        From 0, in the framework's own order.
    """

    __slots__ = ("index",)
    __match_args__ = ("index",)

    index: int

    def __init__(self, index: int) -> None:
        self._fill({"index": index})

    @property
    def label(self) -> str:
        """``"accelerator:0"``."""
        return f"accelerator:{self.index}"


class NamedDevice(Device):
    """A device by the name that its framework gives it.

    Parameters
    ----------
    name : str
        As ``arraybridge.list_devices`` shows it.
    """

    __slots__ = ("name",)
    __match_args__ = ("name",)

    name: str

    def __init__(self, name: str) -> None:
        self._fill({"name": name})

    @property
    def label(self) -> str:
        """``"device:<name>"``."""
        return f"device:{self.name}"


HOST = HostDevice()
