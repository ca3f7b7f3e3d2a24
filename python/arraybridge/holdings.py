# SPDX-License-Identifier: MIT
"""Who holds which memory, and making frameworks give back what they keep for later."""

from __future__ import annotations

from ._library import native
from .value import Value, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

#: The figures of a row, and how a table calls them.
_FIGURES = {"in_use": "in use", "cached": "cached", "returned": "returned", "limit": "limit"}


class MemoryHolding(Value):
    """What one framework holds on one device. Figures are bytes; None: cannot be known.

    Attributes
    ----------
    backend : str
        Its name; ``"process"`` for the host memory of the whole process, whoever took it.
    device : str
        ``"cuda:0"``; empty: all of the framework's devices together.
    in_use, cached, limit : int or None
        By live arrays; kept by its allocator for later; the most it may take.
    returned : int or None
        What went back to the driver or the system when its caches were cleared. None as well if they were not.
    pooled : int or None
        What went back to the framework's own pool, where only it can use it again.
    cleared : bool
        Whether its caches were cleared for this report.
    idle : bool
        Whether the framework is imported and has touched no device yet.
    reason, clear_reason : str
        Why figures cannot be known, and why clearing gives nothing back; may be empty.
    """

    __slots__ = (
        "backend", "device", "in_use", "cached", "limit", "returned", "pooled", "cleared", "idle", "reason",
        "clear_reason",
    )  # fmt: skip

    backend: str
    device: str
    in_use: int | None
    cached: int | None
    limit: int | None
    returned: int | None
    pooled: int | None
    cleared: bool
    idle: bool
    reason: str
    clear_reason: str

    def __init__(self, values: dict[str, Any]) -> None:
        self._fill(values)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return self._values()

    def figure_text(self, name: str) -> str:
        """One figure for people: a size, ``"cannot be known"``, or empty where it was not asked for."""
        value = getattr(self, name)
        if value is not None:
            return size_text(value)
        return "" if name == "returned" and not self.cleared else "cannot be known"

    @property
    def why(self) -> str:
        """``reason`` and ``clear_reason`` in one line."""
        return "; ".join(text for text in (self.reason, self.clear_reason) if text)


class MemoryReport(Value):
    """Who holds what. Prints as a table.

    Attributes
    ----------
    holdings : tuple of MemoryHolding
        The process first, then each framework that is imported, on each of its devices.
    remark : str
        Why there are none: nobody uses the device that was asked for. Else empty.
    """

    __slots__ = ("holdings", "remark")

    holdings: tuple[MemoryHolding, ...]
    remark: str

    def __init__(self, holdings: tuple[MemoryHolding, ...], remark: str = "") -> None:
        self._fill({"holdings": holdings, "remark": remark})

    def __iter__(self) -> Iterator[MemoryHolding]:
        return iter(self.holdings)

    def __len__(self) -> int:
        return len(self.holdings)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values, ready for ``json.dumps``."""
        return [holding.to_json() for holding in self.holdings]

    def _rows(self) -> list[list[str]]:
        figures = {name: title for name, title in _FIGURES.items() if name != "returned" or self._was_cleared()}
        rows = [["", "device", *figures.values(), ""]]
        for one in self.holdings:
            rows.append([one.backend, one.device or "all", *(one.figure_text(name) for name in figures), one.why])
        return rows

    def _was_cleared(self) -> bool:
        return any(holding.cleared for holding in self.holdings)

    def __str__(self) -> str:
        if self.remark:
            return self.remark
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(line.rstrip() for line in lines)


def _cleared(place: tuple[int, int]) -> dict[str, dict[str, Any]]:
    """What clearing gave back, by backend; several answers of one (its pinned pool comes last) are added up."""
    found: dict[str, dict[str, Any]] = {}
    for values in native.clear_caches(*place):
        known = found.setdefault(values["backend"], values)
        if known is not values:
            for name in ("returned", "pooled"):
                known[name] = None if None in (known[name], values[name]) else known[name] + values[name]
    return found


def _merged(rows: list[dict[str, Any]], cleared: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Each row with what was cleared of its backend; where that has several devices, a row for all of them."""
    names = [values["backend"] for values in rows]
    for values in rows:
        what = cleared.pop(values["backend"], None) if names.count(values["backend"]) == 1 else None
        taken = ("returned", "pooled", "cleared", "clear_reason")
        yield values if what is None else {**values, **{name: what[name] for name in taken}}
    several = "all its devices together: what they hold stands above"
    for name, values in cleared.items():
        if name in names:  # who has not the device that was asked for has no row
            yield {**values, "reason": several}


def clear_caches(device: object = None) -> MemoryReport:
    """Have every imported framework give back what it keeps for later, pinned host memory last, and malloc as well.

    Live arrays are not touched. What frameworks then need again they have to ask the driver for, which is slow: it is
    done for you when memory runs out.

    Parameters
    ----------
    device : str, optional
        ``"cuda:0"``: only there. None: everywhere.

    Returns
    -------
    MemoryReport
        What came back, by framework: its other figures are not asked for.
    """
    place = native.read_device(device)
    return MemoryReport(tuple(MemoryHolding(values) for values in _cleared(place).values()))


def _nobody(device: object) -> str:
    """What to say of a device that no row is about."""
    used = sorted({values["device"] for values in native.holdings(0, 0) if values["device"]})
    return f"no framework that is in use here has a device {device}; those in use have {', '.join(used) or 'none'}"


def memory_report(device: object = None, *, clear: bool = False) -> MemoryReport:
    """Say what each imported framework holds, and the process as a whole.

    Imports no framework and touches no device that is not in use.

    Parameters
    ----------
    device : str, optional
        ``"cuda:0"``: only there. None: everywhere.
    clear : bool
        Clear the caches first, and say what that gave back.

    Returns
    -------
    MemoryReport
        Prints as a table; ``to_json()`` gives plain values.
    """
    place = native.read_device(device)
    cleared = _cleared(place) if clear else {}
    holdings = tuple(MemoryHolding(values) for values in _merged(native.holdings(*place), cleared))
    return MemoryReport(holdings, "" if holdings else _nobody(device))
