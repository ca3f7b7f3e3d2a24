# SPDX-License-Identifier: MIT
"""Traces: a file for Chrome's and Perfetto's viewers, a table, and a picture of the way that the data took."""

from __future__ import annotations

import json
import os
import threading
import time
from contextlib import contextmanager
from errno import EISDIR
from pathlib import Path

from .counters import aligned
from .record import ConversionRecord, add_sink, drop_sink
from .report import duration
from .value import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

    Node = tuple[str, str]

_VIEWER = "open it at https://ui.perfetto.dev or chrome://tracing"


def _check_writable(path: Path) -> None:
    """Raise the OSError now that writing would raise after a long run. Nothing is left behind, nothing is emptied."""
    try:
        with path.open("xb"):
            pass
    except FileExistsError:
        if path.is_file():
            with path.open("ab"):
                return
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "a folder, not a file to write", str(path)) from None
        return  # a pipe or a device: opening it would wait for a reader, or is seen by one
    path.unlink(missing_ok=True)


class Arrow:
    """All conversions from one framework and device to another.

    Attributes
    ----------
    source, target : (str, str)
        Framework and device.
    count : int
    nbytes, bytes_copied : int
    seconds : float
    mechanisms : list of str
        Each once, in the order of their first use.
    """

    __slots__ = ("bytes_copied", "count", "mechanisms", "nbytes", "seconds", "source", "target")

    def __init__(self, source: Node, target: Node) -> None:
        self.source = source
        self.target = target
        self.count = self.nbytes = self.bytes_copied = 0
        self.seconds = 0.0
        self.mechanisms: list[str] = []

    def add(self, record: ConversionRecord) -> None:
        """Count one conversion."""
        self.count += 1
        self.nbytes += record.bytes
        self.bytes_copied += record.bytes_copied
        self.seconds += record.seconds
        if record.mechanism not in self.mechanisms:
            self.mechanisms.append(record.mechanism)

    @property
    def text(self) -> str:
        """``"3x exchange: shared, 0.2 ms"``."""
        what = f"{size_text(self.bytes_copied)} copied" if self.bytes_copied else "shared"
        return f"{self.count}x {', '.join(self.mechanisms)}: {what}, {duration(self.seconds)}"


class Trace:
    """What ``trace()`` gives: collects while its ``with`` block runs, and writes when it ends.

    Attributes
    ----------
    path : pathlib.Path
        The trace file. The table (``.txt``) and the picture (``.png``) lie beside it.
    records : list of ConversionRecord
    picture_note : str
        Why there is no picture; empty if there is one.
    """

    def __init__(self, path: str | os.PathLike[str], picture: bool) -> None:
        self.path = Path(path)
        if self.path.suffix in (".txt", ".png"):
            raise ValueError(f"{self.path.name} is where the table or the picture goes: name the trace file run.json")
        self.records: list[ConversionRecord] = []
        self.picture_note = "" if picture else "picture=False"
        self._events: list[dict[str, Any]] = []
        self._threads: dict[int, str] = {}
        self._began = 0.0
        self._open = False

    def __enter__(self) -> Trace:
        if self._began:
            raise RuntimeError("trace() collects once: call it again for another file")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for path in self._paths():
            _check_writable(path)
        self._began = time.perf_counter()
        self._open = True
        add_sink(self, everywhere=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        drop_sink(self)
        self.write()

    # ------------------------------------------------------------ collecting

    def _event(self, name: str, category: str, seconds: float, arguments: dict[str, Any]) -> None:
        thread = threading.get_native_id()
        if thread not in self._threads:
            self._threads[thread] = threading.current_thread().name
        ends = time.perf_counter() - self._began
        self._events.append({
            "name": name, "cat": category, "ph": "X", "ts": max(ends - seconds, 0.0) * 1e6, "dur": seconds * 1e6,
            "pid": os.getpid(), "tid": thread, "args": arguments,
        })  # fmt: skip

    def add(self, record: ConversionRecord) -> None:
        """Take one conversion."""
        if not self._open:
            return
        self.records.append(record)
        self._event(f"{record.source} -> {record.target}", "conversion", record.seconds, record.to_json())

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Mark a stretch of work, so that the trace shows which conversions it made."""
        began = time.perf_counter()
        try:
            yield
        finally:
            if self._open:
                self._event(name, "span", time.perf_counter() - began, {})

    # ------------------------------------------------------------ giving

    def arrows(self) -> list[Arrow]:
        """The arrows between frameworks and devices, in the order of their first use."""
        found: dict[tuple[Node, Node], Arrow] = {}
        for record in self.records:
            ends = (record.source, record.source_device), (record.target, record.target_device)
            found.setdefault(ends, Arrow(*ends)).add(record)
        return list(found.values())

    def table(self) -> str:
        """The arrows as text: which copied how much, in what time."""
        rows = [("from", "to", "count", "size", "copied", "time", "way")]
        for arrow in self.arrows():
            rows.append((
                " ".join(arrow.source), " ".join(arrow.target), str(arrow.count), size_text(arrow.nbytes),
                size_text(arrow.bytes_copied), duration(arrow.seconds), ", ".join(arrow.mechanisms),
            ))  # fmt: skip
        return aligned(rows)

    def to_json(self) -> dict[str, Any]:
        """The trace in the Trace Event Format; times in microseconds from entering the block."""
        process = os.getpid()
        names = [
            {"name": "thread_name", "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}
            for thread, name in self._threads.copy().items()  # a thread may still be telling its first conversion
        ]
        copied = 0
        sums = []
        for event in self._events:
            if event["cat"] == "conversion":
                copied += event["args"]["bytes_copied"]
                ends = event["ts"] + event["dur"]
                sums.append({"name": "bytes copied", "ph": "C", "ts": ends, "pid": process, "args": {"bytes": copied}})
        return {"traceEvents": [*names, *self._events, *sums], "displayTimeUnit": "ms"}

    def _paths(self) -> list[Path]:
        """What ``write`` writes: the trace, the table and the picture."""
        beside = [".txt"] if self.picture_note else [".txt", ".png"]
        return [self.path, *map(self.path.with_suffix, beside)]

    def write(self) -> None:
        """Write the three files. Without matplotlib there is no picture; ``picture_note`` says so."""
        self.path.write_text(json.dumps(self.to_json()))
        self.path.with_suffix(".txt").write_text(f"{self.table()}\n\n{self.path.name}: {_VIEWER}\n")
        if not self.picture_note:
            try:
                self.draw(self.path.with_suffix(".png"))
            except ImportError as error:
                self.picture_note = f"no picture: {error}"

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw frameworks and the arrows between them, as wide as their bytes; red where elements were copied."""
        from .trace_picture import draw

        draw(self.arrows(), path)


def trace(path: str | os.PathLike[str], *, picture: bool = True) -> Trace:
    """Trace the conversions of this process, of all its threads.

    Parameters
    ----------
    path : str or path
        The trace file to write, such as ``"run.json"``; ``run.txt``, a table, and ``run.png``, a picture of the data's
        way, are written beside it.
    picture : bool
        False: no picture. It needs matplotlib, which is imported at the end of the block.

    Returns
    -------
    Trace
        For a ``with`` statement; ``span("name")`` marks stretches of work inside it.

    Raises
    ------
    OSError
        On entering the block: a file cannot be written there. They are written when the block ends, however it does.

    Examples
    --------
    >>> with arraybridge.trace("run.json") as t, t.span("nuclei"):
    ...     result = pipeline(image)
    >>> print(t.table())
    """
    return Trace(path, picture)
