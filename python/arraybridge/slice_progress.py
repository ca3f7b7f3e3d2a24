# SPDX-License-Identifier: MIT
"""Progress of work on slices: a bar, a callback, and being cancelled by it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    Progress = bool | Callable[[int, int | None], object] | None


class SlicesCancelled(Exception):
    """Work on slices that a progress callback has cancelled.

    Parameters
    ----------
    done : int
        Slices that were finished before.
    total : int or None
        How many there were to be; None if nobody knew.
    """

    def __init__(self, done: int, total: int | None = None) -> None:
        super().__init__(f"cancelled after {done} of {'an unknown number of' if total is None else total} slices")
        self.done = done
        self.total = total

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.done, self.total)


class _Bar:
    """A bar on standard error."""

    def __init__(self, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("slices"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task("slices", total=total)
        self._bar.start()

    def __call__(self, done: int, total: int | None) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def stop(self) -> None:
        self._bar.stop()


class Listener:
    """Tells a callback or a bar what is done, and lets the callback cancel. Costs nothing if there is neither."""

    def __init__(self, progress: Progress, total: int | None) -> None:
        if progress is not None and not isinstance(progress, bool) and not callable(progress):
            raise TypeError(f"progress must be True or a function of (done, total), not {progress!r}")
        self._tell: Any = _Bar(total) if progress is True else progress or None
        self._total = total
        self.listens = self._tell is not None

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *raised: object) -> None:
        if isinstance(self._tell, _Bar):
            self._tell.stop()

    def __call__(self, done: int) -> None:
        if self._tell(done, self._total) is True and done != self._total:
            raise SlicesCancelled(done, self._total)

    def finish(self, done: int) -> None:
        """Say how many there were, where that was not known before."""
        if self.listens and self._total is None:
            self._tell(done, done)


def _length(slices: object) -> int | None:
    try:
        return len(slices)  # type: ignore[arg-type]
    except TypeError:
        return None


def collected(slices: Iterable[object], progress: Progress) -> Sequence[object]:
    """All slices of an iterable. Reading them may be what takes long, so it is here that one can cancel."""
    with Listener(progress, _length(slices)) as listener:
        if not listener.listens:
            return slices if isinstance(slices, (list, tuple)) else list(slices)
        read: list[object] = []
        for one in slices:
            read.append(one)
            listener(len(read))
        listener.finish(len(read))
        return read
