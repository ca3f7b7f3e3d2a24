# SPDX-License-Identifier: MIT
"""Records of conversions: what was really done."""

from __future__ import annotations

from contextvars import ContextVar
from threading import RLock
from typing import Protocol

from ._library import native
from .report import FLAGS, duration, flags_of, headline, mechanism_of, note_rows, notes_of, row, verdict_of
from .value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType
    from typing import Any


class ConversionRecord(Value):
    """One conversion, as it was done.

    Attributes
    ----------
    source, target : str
        Names of the backends. Also ``source_library``, ``target_library``.
    source_device, target_device : str
        ``"cpu:0"``, ``"cuda:1"``, …
    source_dtype, target_dtype : str
        ``"float32"``, …
    mechanism : str
        The steps taken: ``"same"``, ``"exchange"``, ``"wrap"``, ``"map"``, ``"pivot+exchange"``, …
    bytes : int
        Size of the array's elements. Also ``nbytes``.
    bytes_copied : int
        How many bytes were copied, all steps together.
    seconds : float
        How long it took.
    declined : tuple of (str, str)
        The ways that were considered first, each with the reason why it was not taken.
        ``declined_mechanisms`` has their names alone.
    notes : tuple of str
        What the steps taken had to say, and what there is to know of the result.
    shared, copied, blocked_host, gradient_detached, conj_resolved, neg_resolved : bool
    aliases_mutable, cast, host_fallback : bool
        Whether the result uses the source's memory, elements were copied, the host waited for a device, a gradient
        was detached, a lazy conjugate or negation was computed, a writable source is shared with a target that may
        read it later, the dtype was changed, an accelerator was asked for by number and there was none.
    """

    __slots__ = (
        "source", "source_device", "target", "target_device", "mechanism", "bytes", "seconds", "source_dtype",
        "target_dtype", "bytes_copied", "declined", "notes", *FLAGS,
    )  # fmt: skip

    source: str
    source_device: str
    target: str
    target_device: str
    mechanism: str
    bytes: int
    seconds: float
    source_dtype: str
    target_dtype: str
    bytes_copied: int
    declined: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    shared: bool
    copied: bool
    blocked_host: bool
    gradient_detached: bool
    conj_resolved: bool
    neg_resolved: bool
    aliases_mutable: bool
    cast: bool
    host_fallback: bool

    def __init__(
        self,
        source_library: str,
        source_device: str,
        target_library: str,
        target_device: str,
        mechanism: str,
        nbytes: int,
        seconds: float,
        declined_mechanisms: Iterable[str] = (),
        *,
        source_dtype: str = "",
        target_dtype: str = "",
        bytes_copied: int = 0,
        declined: Iterable[tuple[str, str]] = (),
        notes: Iterable[str] = (),
        **flags: bool,
    ) -> None:
        if unknown := flags.keys() - set(FLAGS):
            raise TypeError(f"ConversionRecord has no {', '.join(sorted(unknown))}")
        ways = tuple((str(way), str(reason)) for way, reason in declined)
        self._fill({
            **dict.fromkeys(FLAGS, False), **flags,
            "source": source_library, "source_device": source_device,
            "target": target_library, "target_device": target_device,
            "mechanism": mechanism, "bytes": nbytes, "seconds": seconds,
            "source_dtype": source_dtype, "target_dtype": target_dtype, "bytes_copied": bytes_copied,
            "declined": ways or tuple((way, "") for way in declined_mechanisms), "notes": tuple(notes),
        })  # fmt: skip

    @classmethod
    def from_native(cls, values: dict[str, Any]) -> ConversionRecord:
        """Build one from what the native module says."""
        steps = values["steps"]
        flags: dict[str, Any] = flags_of(values["flags"])
        return cls(
            values["source"],
            values["source_device"],
            values["target"],
            values["target_device"],
            mechanism_of(steps),
            values["bytes"],
            values["seconds"],
            source_dtype=values["source_dtype"],
            target_dtype=values["target_dtype"],
            bytes_copied=values["bytes_copied"],
            declined=[(way, reason) for way, refused, _, reason in steps if refused],
            notes=notes_of(values, flags),
            **flags,
        )

    @property
    def source_library(self) -> str:
        """The older name of ``source``."""
        return self.source

    @property
    def target_library(self) -> str:
        """The older name of ``target``."""
        return self.target

    @property
    def nbytes(self) -> int:
        """The older name of ``bytes``."""
        return self.bytes

    @property
    def declined_mechanisms(self) -> tuple[str, ...]:
        """Names of the ways that were considered first."""
        return tuple(way for way, _ in self.declined)

    def __str__(self) -> str:
        head = headline(self, f"{verdict_of(self)}, {duration(self.seconds)}")
        declined = (row("refused", way, reason) for way, reason in self.declined)
        return "\n".join([head, *declined, row("taken", self.mechanism, ""), *note_rows(self.notes)])

    def to_json(self) -> dict[str, Any]:
        """Plain values under our names and the older ones, ready for ``json.dumps``."""
        return {
            **self._values(),
            "declined": [list(pair) for pair in self.declined],
            "notes": list(self.notes),
            "source_library": self.source,
            "target_library": self.target,
            "nbytes": self.bytes,
            "declined_mechanisms": list(self.declined_mechanisms),
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> ConversionRecord:
        """Read what ``to_json`` wrote; the older package's eight fields are enough."""
        needed = (
            "source_library", "source_device", "target_library", "target_device", "mechanism", "nbytes", "seconds",
        )  # fmt: skip
        more = ("source_dtype", "target_dtype", "bytes_copied", "declined", "notes", *FLAGS)
        values = {name: row[name] for name in (*needed, *more) if name in row}
        return cls(**values, declined_mechanisms=row.get("declined_mechanisms", ()))


class Recording:
    """What ``records()`` gives: collects from entering to leaving, in this context and those that it starts."""

    __slots__ = ("_log", "_open", "_used")

    def __init__(self) -> None:
        self._log: list[ConversionRecord] = []
        self._open = False
        self._used = False

    def __enter__(self) -> list[ConversionRecord]:
        if self._used:
            raise RuntimeError("records() collects once: call it again for another list")
        self._open = self._used = True
        add_sink(self)
        return self._log

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Contexts that were started inside (tasks) keep the recording but add nothing any more.
        self._open = False
        drop_sink(self)

    def add(self, record: ConversionRecord) -> None:
        """Take one record, unless the ``with`` block has ended."""
        if self._open:
            self._log.append(record)


# ---------------------------------------------------------------- who is told


class Sink(Protocol):
    """Somebody who is told of conversions."""

    def add(self, record: ConversionRecord) -> None:
        """Take one record. What it raises is raised by the conversion."""


_here: ContextVar[tuple[Sink, ...] | None] = ContextVar("arraybridge_sinks", default=None)
_everywhere: tuple[Sink, ...] = ()
#: Not a Lock: a signal's handler may start or end a recording on the thread that it has interrupted here.
_lock = RLock()
#: Somebody is being told. What is converted meanwhile is that one's own doing: telling of it would never end.
_telling: ContextVar[bool] = ContextVar("arraybridge_telling", default=False)


def _sinks() -> tuple[Sink, ...] | None:
    """Who is told of a conversion made here, or None: asked by the native module while there is anybody anywhere."""
    if _telling.get():
        return None
    here = _here.get()
    return here if not _everywhere else (*(here or ()), *_everywhere)


def _without(sinks: tuple[Sink, ...], sink: Sink) -> tuple[Sink, ...]:
    """Drop the last entry of ``sink``."""
    for place in reversed(range(len(sinks))):
        if sinks[place] is sink:
            return sinks[:place] + sinks[place + 1 :]
    return sinks


def join(sink: Sink) -> None:
    """Tell ``sink`` of what is done in this context, as long as somebody counts as a listener."""
    _here.set((*(_here.get() or ()), sink))


def leave(sink: Sink) -> None:
    """Undo one ``join``. Contexts that were started in between keep the sink."""
    _here.set(_without(_here.get() or (), sink) or None)


def add_sink(sink: Sink, everywhere: bool = False) -> None:
    """Tell ``sink`` from now on of what is done in this context, or in the whole process."""
    global _everywhere
    if everywhere:
        with _lock:
            _everywhere = (*_everywhere, sink)
    else:
        join(sink)
    native.count_recorders(1)


def drop_sink(sink: Sink) -> None:
    """Undo one ``add_sink``."""
    global _everywhere
    with _lock:
        _everywhere = _without(_everywhere, sink)
    leave(sink)
    native.count_recorders(-1)


def _deliver(sinks: tuple[Sink, ...], values: dict[str, Any]) -> None:
    """Hand one conversion to everybody; a failure of one keeps it from nobody."""
    record = ConversionRecord.from_native(values)
    failure: Exception | None = None
    token = _telling.set(True)
    try:
        for sink in sinks:
            try:
                sink.add(record)
            except Exception as error:
                failure = failure or error
    finally:
        _telling.reset(token)
    if failure is not None:
        raise failure


native.connect({"sinks": _sinks, "deliver": _deliver})


def records() -> Recording:
    """Collect a record of each conversion made in this context.

    Returns
    -------
    Recording
        For a ``with`` statement: ``with arraybridge.records() as log:`` makes ``log`` a list of ConversionRecord that
        grows while the block runs. Other threads and unrelated asyncio tasks do not appear in it; inner blocks do.
    """
    return Recording()
