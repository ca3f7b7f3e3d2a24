# SPDX-License-Identifier: MIT
"""One call of a decorated function and its repetitions: what it is given now, and what comes after a failure."""

from __future__ import annotations

from .parameters import argument_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .declaration import Declaration
    from .recovery import Recovery


class Attempts:
    """The attempts of one call. Converting the arguments is part of each: memory may run out there as well.

    Parameters
    ----------
    declaration : Declaration
        Of the function.
    args, kwargs : tuple, dict
        As the caller gave them.

    Attributes
    ----------
    taken, named : tuple, dict
        What the function is given; made by ``begin``.
    reference : object
        The first array, as it came.
    """

    __slots__ = (
        "_args", "_declaration", "_engine", "_failed", "_kwargs", "_native", "_on_host", "_watch", "named", "reference",
        "taken",
    )  # fmt: skip

    def __init__(self, declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._declaration = declaration
        self._args = args
        self._kwargs = kwargs
        self._engine: Recovery | None = None
        self._failed: Exception | None = None
        self._native: Any = None
        self._watch: Any = None
        self._on_host = False
        self.taken: tuple[Any, ...] = ()
        self.named: dict[str, Any] = {}
        self.reference: Any = None

    @property
    def engine(self) -> Recovery | None:
        """What decides after a failure; None where the author wants none."""
        if self._engine is None and self._declaration.recovers:
            self._engine = self._declaration.recovery()
            self._engine.was_on_host = False  # what it is shown may be arguments that are not converted yet
        return self._engine

    # ------------------------------------------------------------ trying

    def begin(self) -> None:
        """Convert the arguments to where they are wanted now, unless they are there."""
        on_host = self._engine is not None and self._engine.on_host
        if self._native is not None and on_host == self._on_host:
            return
        native = self._declaration.on_host() if on_host else self._declaration.native
        failed, self._failed = self._failed, None  # it leads back to this call: held no longer than it is needed
        try:
            self.taken, self.named, self.reference = native.begin(self._args, self._kwargs)
        except Exception as error:
            if failed is None or not _lacks_host(failed, error):
                raise
        else:
            self._native, self._on_host = native, on_host
            self._watch = self._declaration.watch(self.taken, self.named)
            return
        raise failed

    def took(self, taken: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Say that the first attempt has been made, and with what."""
        self.taken, self.named, self._native = taken, named, self._declaration.native

    def take(self, value: Any, *chosen: bool) -> Any:
        """One more argument, converted like those of ``begin``; ``chosen``: whether ``convert=`` names it."""
        return self._native.take(value, *chosen)

    def run(self) -> Any:
        """Call the function, and again as long as that may help."""
        while True:
            try:
                self.begin()
                return self._declaration.function(*self.taken, **self.named)
            except Exception as error:
                if not self.goes_on(error):
                    raise

    def goes_on(self, error: Exception) -> bool:
        """After a failure: free what can be freed, and say whether to try again. If not, say a bare ``raise``.

        Try again outside of the ``except`` block: inside it the exception holds what was freed.
        """
        engine = self.engine
        if engine is None:
            self._declaration.note(error)
            return False
        engine.watch = self._watch
        self.note_place(self.taken, self.named)
        action = engine.decide(error, (*self.taken, *self.named.values()))
        if action == "host":
            self._failed = error
        return action != "raise"

    def note_place(self, taken: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Say after a failure what the function was given: what was on the host gains nothing by going there."""
        from .recovery import are_on_host

        if self._engine is not None:
            self._engine.was_on_host = are_on_host((*taken, *named.values()))

    # ------------------------------------------------------------ in-place changes

    def tell_changes(self, level: int = 4) -> None:
        """Warn of inputs that were changed in place, if the options say that they are watched."""
        names = self._watch.changed() if self._watch is not None else ()
        if not names:
            return
        from warnings import warn

        text = f"{self._declaration.name}() has changed an input in place, {names[0]}: say idempotent=False"
        warn(text, RuntimeWarning, stacklevel=level)


def _lacks_host(failed: Exception, error: Exception) -> bool:
    """Whether ``error`` says that there is no host to go to; the failure before it, which is told, is what matters."""
    from .recovery import is_out_of_memory, note_no_host

    if is_out_of_memory(error):
        return False
    note_no_host(failed, error)
    return True


def watch_of(declaration: Declaration, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What remembers these inputs."""
    from .recovery import InputWatch

    names = argument_names(declaration.shape, len(args))
    return InputWatch((*args, *kwargs.values()), [f"argument {name!r}" for name in (*names, *kwargs)])
