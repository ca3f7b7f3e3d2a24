# SPDX-License-Identifier: MIT
"""Routes, records and observers of conversions under the older names.

``ConversionRoute`` tells from the frameworks and devices alone what would be tried first. What really happens depends
on the array: ``arraybridge.plan`` says it, and the record of a conversion has it, in this package's own words.
"""

from __future__ import annotations

from typing import Any, ClassVar

from arraybridge.calls import convert_memory
from arraybridge.counters import ConversionCounters, ConversionTotal
from arraybridge.observer import ConversionObserver, IgnoreConversions
from arraybridge.record import ConversionRecord

from .devices import Device, HostDevice
from .libraries import ArrayLibrary

__all__ = [
    "ConversionCounters",
    "ConversionObserver",
    "ConversionRecord",
    "ConversionRoute",
    "ConversionTotal",
    "IgnoreConversions",
    "RouteDeclinedError",
]


class RouteDeclinedError(Exception):
    """A route that cannot carry an array. Nothing raises it here: ways that are refused stand in plans and records."""


class ConversionRoute:
    """One way of a conversion. ``mechanism`` is its name; ``planned`` and ``candidates`` give the classes below."""

    mechanism: ClassVar[str | None] = None
    writes_a_record: ClassVar[bool] = True

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Whether the way leads from one framework and device to the other."""
        raise NotImplementedError("ask a route, or ConversionRoute.candidates()")

    @classmethod
    def candidates(
        cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device
    ) -> tuple[type[ConversionRoute], ...]:
        """The ways, best first."""
        return tuple(route for route in _ROUTES if route.applies(source, source_device, target, target_device))

    @classmethod
    def planned(
        cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device
    ) -> type[ConversionRoute]:
        """The way that is tried first."""
        return cls.candidates(source, source_device, target, target_device)[0]

    @classmethod
    def run(cls, data: Any, source: ArrayLibrary, target: ArrayLibrary, target_device: Device) -> Any:
        """Convert ``data``."""
        return convert_memory(data, source.name, target.name, device=target_device)

    convert = run


class StaysInPlace(ConversionRoute):
    """The same object."""

    mechanism = "stays in place"
    writes_a_record = False

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Whether nothing is to be done."""
        return source is target and source_device == target_device


class DeviceMove(ConversionRoute):
    """Another device of the same framework."""

    mechanism = "device move"

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Whether only the device changes."""
        return source is target and source_device != target_device


class DLPackExchange(ConversionRoute):
    """Memory of an accelerator, shared."""

    mechanism = "dlpack"

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Whether both use the same accelerator through the same driver."""
        return (
            source is not target
            and source_device == target_device
            and not isinstance(source_device, HostDevice)
            and {source.name, target.name} <= {"cupy", "torch", "tensorflow", "jax"}
        )


class SharedHostBuffer(ConversionRoute):
    """Memory of the host, shared."""

    mechanism = "shared host buffer"

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Whether both are on the host."""
        return source is not target and isinstance(source_device, HostDevice) and isinstance(target_device, HostDevice)


class HostCopy(ConversionRoute):
    """A copy by way of the host."""

    mechanism = "host copy"

    @classmethod
    def applies(cls, source: ArrayLibrary, source_device: Device, target: ArrayLibrary, target_device: Device) -> bool:
        """Always."""
        return True


_ROUTES: tuple[type[ConversionRoute], ...] = (
    StaysInPlace, DeviceMove, DLPackExchange, SharedHostBuffer, HostCopy,
)  # fmt: skip
