# SPDX-License-Identifier: MIT
"""Observers: objects that are told of each conversion of a context, one at a time being the current one."""

from __future__ import annotations

from abc import ABC, ABCMeta, abstractmethod
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ClassVar

from ._library import native
from .record import join, leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .record import ConversionRecord


class _OfThisContext(ABCMeta):
    """Gives ``ConversionObserver.current``, read and set."""

    @property
    def current(cls) -> ConversionObserver:
        """This context's observer."""
        watch = _watch.get()
        return _IGNORE if watch is None else watch.observer

    @current.setter
    def current(cls, observer: ConversionObserver) -> None:
        _install(observer)


class ConversionObserver(ABC, metaclass=_OfThisContext):
    """Is told of the conversions of the context that it is installed in. Subclasses say what to do with a record.

    ``ConversionObserver.current`` is the one of this context; assigning to it installs another. Threads start without
    one, asyncio tasks with that of the code that starts them. An array that is handed back as it is makes no record,
    and neither does what is converted while an observer is being told.

    Attributes
    ----------
    wants_records : bool
        False: conversions are not measured for it.
    """

    wants_records: ClassVar[bool] = True

    @abstractmethod
    def record(self, record: ConversionRecord) -> None:
        """Take one conversion. What this raises is raised by the conversion."""

    def install(self) -> ConversionObserver:
        """Make this the observer of this context, for good, and give the one before."""
        return _install(self)

    @contextmanager
    def installed(self) -> Iterator[ConversionObserver]:
        """Make this the observer of this context for a ``with`` block."""
        before = self.install()
        try:
            yield self
        finally:
            before.install()


class IgnoreConversions(ConversionObserver):
    """The observer of a context that has none."""

    wants_records = False

    def record(self, record: ConversionRecord) -> None:
        """Nothing."""


_IGNORE = IgnoreConversions()


class _Watch:
    """Stands for an observer in the contexts that it is installed in, and counts as a listener as long as it does.

    A context that was copied from another shares it, so no single ``install()`` can tell when it is not needed.
    """

    __slots__ = ("_counts", "observer")

    def __init__(self, observer: ConversionObserver) -> None:
        self._counts = False
        self.observer = observer
        self._counts = observer.wants_records
        if self._counts:
            native.count_recorders(1)

    def __del__(self, count: Callable[[int], None] = native.count_recorders) -> None:
        if self._counts:
            count(-1)

    def add(self, record: ConversionRecord) -> None:
        if record.mechanism != "same":
            self.observer.record(record)


_watch: ContextVar[_Watch | None] = ContextVar("arraybridge_observer", default=None)


def _install(observer: ConversionObserver) -> ConversionObserver:
    old = _watch.get()
    if old is not None:
        leave(old)
    new = None if observer is _IGNORE else _Watch(observer)
    _watch.set(new)
    if new is not None and observer.wants_records:
        join(new)
    return _IGNORE if old is None else old.observer
