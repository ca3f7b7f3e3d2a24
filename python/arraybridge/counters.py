# SPDX-License-Identifier: MIT
"""Totals of conversions: how many of each kind, how many bytes, how long."""

from __future__ import annotations

from threading import RLock

from .observer import ConversionObserver
from .report import duration
from .value import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from .record import ConversionRecord

    Key = tuple[str | tuple[str, ...], ...]

#: What makes two conversions the same kind.
_KIND = ("source_library", "source_device", "target_library", "target_device", "mechanism", "declined_mechanisms")

#: Not a Lock: a signal's handler that converts comes here on the thread that it has interrupted here.
_lock = RLock()


class ConversionTotal:
    """Sums over conversions of one kind.

    Attributes
    ----------
    count : int
    nbytes, bytes_copied : int
        Size of the arrays, and how much of it was copied.
    seconds : float
    """

    __slots__ = ("bytes_copied", "count", "nbytes", "seconds")

    def __init__(self, count: int = 0, nbytes: int = 0, seconds: float = 0.0, bytes_copied: int = 0) -> None:
        self.count = count
        self.nbytes = nbytes
        self.seconds = seconds
        self.bytes_copied = bytes_copied

    def _values(self) -> tuple[int, int, float, int]:
        return self.count, self.nbytes, self.seconds, self.bytes_copied

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConversionTotal) and self._values() == other._values()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ConversionTotal(count={self.count}, nbytes={self.nbytes}, seconds={self.seconds})"

    def __reduce__(self) -> tuple[Any, ...]:
        return ConversionTotal, self._values()


class ConversionCounters(ConversionObserver):
    """An observer that adds up. Pickle it, or send its JSON, from worker processes and merge.

    Attributes
    ----------
    totals : dict
        ``ConversionTotal`` by kind: source and its device, target and its device, mechanism, ways declined.

    Examples
    --------
    >>> counters = arraybridge.ConversionCounters()
    >>> with counters.installed():
    ...     pipeline(image)
    >>> print(counters.format_table())
    """

    def __init__(self, totals: dict[Key, ConversionTotal] | None = None) -> None:
        self.totals: dict[Key, ConversionTotal] = {} if totals is None else totals

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ConversionCounters) and self.totals == other.totals

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ConversionCounters(totals={self.totals!r})"

    def _add(self, kind: Key, count: int, nbytes: int, seconds: float, bytes_copied: int) -> None:
        with _lock:
            total = self.totals.setdefault(kind, ConversionTotal())
            total.count += count
            total.nbytes += nbytes
            total.seconds += seconds
            total.bytes_copied += bytes_copied

    def record(self, record: ConversionRecord) -> None:
        """Count one conversion."""
        kind = tuple(getattr(record, name) for name in _KIND)
        self._add(kind, 1, record.nbytes, record.seconds, record.bytes_copied)

    def merge(self, other: ConversionCounters) -> ConversionCounters:
        """Add the totals of another to these; gives this one."""
        for kind, total in list(other.totals.items()):
            self._add(kind, *total._values())
        return self

    def _largest_first(self) -> list[tuple[Key, ConversionTotal]]:
        return sorted(self.totals.items(), key=lambda item: (-item[1].nbytes, item[0]))

    def rows(self) -> list[dict[str, Any]]:
        """One dict for each kind, ready for ``json.dumps``; most bytes first."""
        return [
            {
                **dict(zip(_KIND, kind, strict=True)),
                "declined_mechanisms": list(kind[-1]),
                "count": total.count,
                "nbytes": total.nbytes,
                "seconds": total.seconds,
                "bytes_copied": total.bytes_copied,
            }
            for kind, total in self._largest_first()
        ]

    def to_json(self) -> list[dict[str, Any]]:
        """The same as ``rows()``."""
        return self.rows()

    @classmethod
    def from_json(cls, rows: Iterable[Mapping[str, Any]]) -> ConversionCounters:
        """Read what ``to_json`` wrote, here or in the older package."""
        counters = cls()
        for row in rows:
            kind = tuple(tuple(row[name]) if name == "declined_mechanisms" else str(row[name]) for name in _KIND)
            counters._add(kind, row["count"], row["nbytes"], row["seconds"], row.get("bytes_copied", 0))
        return counters

    def format_table(self) -> str:
        """Text in columns, one line for each kind."""
        table = [("source", "target", "mechanism", "count", "size", "copied", "time", "declined")]
        for row in self.rows():
            table.append((
                f"{row['source_library']} {row['source_device']}",
                f"{row['target_library']} {row['target_device']}",
                row["mechanism"],
                str(row["count"]),
                size_text(row["nbytes"]),
                size_text(row["bytes_copied"]),
                duration(row["seconds"]),
                ", ".join(row["declined_mechanisms"]),
            ))  # fmt: skip
        return aligned(table)


def aligned(table: Sequence[tuple[str, ...]]) -> str:
    """Rows of texts as lines of columns."""
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in table]
    return "\n".join(line.rstrip() for line in lines)
