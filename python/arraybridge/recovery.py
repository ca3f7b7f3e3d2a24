# SPDX-License-Identifier: MIT
"""Going on after out-of-memory: what counts as it, and what to do then.

The core decides (ab_recover); this file shows it the exceptions and gives up what the language holds.
"""

from __future__ import annotations

import sys

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import FrameType, TracebackType
    from typing import Any, Literal

    Action = Literal["raise", "retry", "halve", "host"]

# AB_OOM and AB_TOO_LARGE of types.h.
_OOM = 10
_TOO_LARGE = 11

# AB_RECOVERY_* of arraybridge.h: flags, and actions by number.
_SLICEWISE = 1 << 0
_HOST_ALLOWED = 1 << 1
_ONCE = 1 << 2
_ACTIONS: tuple[Action, ...] = ("raise", "retry", "halve", "host")

#: Where the generator and coroutine flags of code objects are (``inspect.CO_*``): such frames may still be suspended.
_SUSPENDS = 0x20 | 0x80 | 0x200

_NOTE = "arraybridge: out of memory"


# ---------------------------------------------------------------- what is out-of-memory


def _frames_above(frame: FrameType | None) -> set[FrameType]:
    above: set[FrameType] = set()
    while frame is not None:
        above.add(frame)
        frame = frame.f_back
    return above


def _family(error: BaseException, above: set[FrameType]) -> Iterator[BaseException]:
    """``error``, its causes and contexts, each once.

    Whatever is raised while an exception is being handled gets that one as its context, also when the handler is far up
    the stack and has called the function that now fails. Such a context is no reason of this failure: it was caught in
    one of the frames ``above``.
    """
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if one.__cause__ is not None:
            waiting.append(one.__cause__)
        context = None if one.__suppress_context__ else one.__context__
        if context is not None and not (context.__traceback__ and context.__traceback__.tb_frame in above):
            waiting.append(context)


def _verdict_of_one(error: BaseException) -> int:
    status = getattr(error, "status", None) if type(error).__module__ == f"{__package__}.errors" else None
    if status in ("OOM", "TOO_LARGE"):
        return _OOM if status == "OOM" else _TOO_LARGE
    verdict: int = native.judge(error)
    return verdict


def _verdict(error: BaseException, above: set[FrameType]) -> int:
    """0, _OOM or _TOO_LARGE. What is no Exception asks the program to stop, whatever its context."""
    if not isinstance(error, Exception):
        return 0
    found = {_verdict_of_one(one) for one in _family(error, above)}
    return _TOO_LARGE if _TOO_LARGE in found else _OOM if _OOM in found else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or a device, in any framework.

    Exact exception types first, then how the texts of each framework begin; causes and contexts are looked at, too.
    A message that merely contains "memory", an illegal access or a failed launch is none.

    Parameters
    ----------
    error : BaseException
        What was raised.
    """
    return _verdict(error, set()) != 0


# ---------------------------------------------------------------- what the language holds


def _clear_frames(trace: TracebackType | None, may_be_suspended: bool) -> None:
    """Empty the frames that a traceback holds; those that still run stay as they are.

    ``may_be_suspended``: the first frame has caught the exception. If it is a generator's it may go on later, and
    clearing it would end it.
    """
    if trace is not None and may_be_suspended and trace.tb_frame.f_code.co_flags & _SUSPENDS:
        trace = trace.tb_next
    while trace is not None:
        try:
            trace.tb_frame.clear()
        except RuntimeError:
            pass  # it is still running
        trace = trace.tb_next


def _forget(error: BaseException, above: set[FrameType]) -> None:
    """Drop what the frames of a failure hold: of this one, and of the last one that an interactive session keeps."""
    for one in _family(error, above):
        _clear_frames(one.__traceback__, may_be_suspended=one is not error)
    _clear_frames(getattr(sys, "last_traceback", None), may_be_suspended=True)


def _leaves(value: object, outer: tuple[int, ...] = ()) -> Iterator[object]:
    """What stands in tuples, lists and dicts, each of them once on the way down."""
    if not isinstance(value, (tuple, list, dict)):
        yield value
    elif id(value) not in outer:
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves(one, (*outer, id(value)))


def _is_gone(value: object) -> bool:
    """Whether an array has been given away: JAX deletes the inputs that a compiled function was allowed to reuse."""
    asked = getattr(type(value), "is_deleted", None)
    return callable(asked) and asked(value) is True


# ---------------------------------------------------------------- the engine


class Recovery:
    """What to do when a call runs out of memory. One object for each call, made before it or at its first failure.

    Parameters
    ----------
    max_retries : int
        How often a call of the same size is repeated.
    slices : int, optional
        The work can be done in parts: how many slices there are. None: it cannot.
    host_fallback : bool
        The work may be done on the host in the end.
    idempotent : bool
        False: what has run once must not run again.
    device : str, optional
        Where it ran (``"cuda:0"``): caches are cleared there only. None: everywhere.

    Attributes
    ----------
    batch : int
        Slices to do at a time, from ``slices`` down to 1; 0 if the work cannot be done in parts.
    retries, halvings : int
        How often ``"retry"`` and ``"halve"`` were the answer.
    returned : int
        Bytes that clearing caches has given back so far, as far as that can be known.
    on_host : bool
        ``"host"`` was the answer.
    watch : InputWatch or None
        What knows whether the call has changed its inputs in place: then it must not be repeated.

    Examples
    --------
    The call is repeated after the ``except`` block: inside it the exception still holds what should be freed.

    >>> recovery = Recovery(max_retries=2)
    >>> while True:
    ...     try:
    ...         result = function(x)
    ...         break
    ...     except Exception as error:
    ...         if recovery.decide(error, inputs=(x,)) == "raise":
    ...             raise
    """

    __slots__ = ("_device", "_flags", "_max_retries", "batch", "halvings", "on_host", "retries", "returned", "watch")

    def __init__(
        self,
        max_retries: int = 2,
        slices: int | None = None,
        host_fallback: bool = False,
        idempotent: bool = True,
        device: object = None,
        watch: InputWatch | None = None,
    ) -> None:
        self._max_retries = max_retries
        self._device: tuple[int, int] = (0, 0) if device is None else native.read_device(device)
        self.watch = watch
        self._flags = (
            (_SLICEWISE if slices is not None else 0)
            | (_HOST_ALLOWED if host_fallback else 0)
            | (0 if idempotent else _ONCE)
        )
        self.batch = slices or 0
        self.retries = 0
        self.halvings = 0
        self.on_host = False
        self.returned = 0

    def in_slices(self, count: int) -> None:
        """Say that the work is done at most ``count`` slices at a time, and can be done in fewer."""
        self.batch = min(self.batch, count) if self._flags & _SLICEWISE else count
        self._flags |= _SLICEWISE

    def decide(self, error: BaseException, inputs: Iterable[object] = ()) -> Action:
        """Judge a failure, free what can be freed, and say what comes next.

        Parameters
        ----------
        error : BaseException
            What the call has raised. If it is out-of-memory its frames below the caller's are emptied; its traceback
            stays.
        inputs : iterable
            What the call was given: a JAX array that it has consumed (a donated one) cannot be given again.

        Returns
        -------
        {"raise", "retry", "halve", "host"}
            ``"raise"``: it is no out-of-memory, or nothing is left to try; a note then says who holds what. Say a bare
            ``raise``, so that the traceback stays as it is. ``"retry"``: once more. ``"halve"``: once more, ``batch``
            slices at a time. ``"host"``: once more on the host.
        """
        return self._decide(error, inputs, sys._getframe(1))

    def next(self, error: BaseException, inputs: Iterable[object] = ()) -> Literal["retry", "halve", "host"]:
        """As ``decide``, but raise ``error`` itself where that says ``"raise"``."""
        action = self._decide(error, inputs, sys._getframe(1))
        if action == "raise":
            raise error
        return action

    def _decide(self, error: BaseException, inputs: Iterable[object], caller: FrameType) -> Action:
        above = _frames_above(caller)
        verdict = _verdict(error, above)
        if verdict == 0:
            return "raise"
        trouble = self._why_not(inputs)
        action: Action = "raise"
        if not trouble:
            if not self._is_last(verdict):
                _forget(error, above)
            action = self._step(verdict)
        if action == "raise":
            _add_note(error, self, trouble)
        return action

    def _why_not(self, inputs: Iterable[object]) -> str:
        """Why the call must not be repeated; empty if it may."""
        if self._flags & _ONCE:
            return "it was declared with idempotent=False, so it runs once"
        if any(_is_gone(value) for value in _leaves(inputs)):
            return "an input was donated and is gone"
        changed = self.watch.changed() if self.watch is not None else []
        if changed:
            return f"it has changed {', '.join(changed)} in place: declare idempotent=False"
        return ""

    def _is_last(self, verdict: int) -> bool:
        """Whether nothing is left to try: then locals stay for whoever looks at the traceback."""
        again = verdict == _OOM and self.retries < self._max_retries
        return not again and self.batch <= 1 and (self.on_host or not self._flags & _HOST_ALLOWED)

    def _step(self, verdict: int) -> Action:
        number, flags, batch, retries, halvings, returned = native.recover(
            verdict, self._flags, *self._device, self._max_retries, self.batch, self.retries, self.halvings
        )
        action: Action = _ACTIONS[number]
        self._flags, self.batch, self.retries, self.halvings = flags, batch, retries, halvings
        self.on_host = self.on_host or action == "host"
        self.returned += returned
        return action


def _attempts_text(recovery: Recovery) -> str:
    facts = [f"{recovery.retries + recovery.halvings + recovery.on_host + 1} attempts"]
    if recovery.halvings:
        facts.append(f"at last {recovery.batch} slice{'s' if recovery.batch > 1 else ''} at a time")
    if recovery.on_host:
        facts.append("at last on the host")
    return ", ".join(facts) if len(facts) > 1 or facts[0] != "1 attempts" else "1 attempt"


def _add_note(error: BaseException, recovery: Recovery, trouble: str) -> None:
    """Say who holds what. Never fails: it is said of an exception that is under way."""
    if any(note.startswith(_NOTE) for note in getattr(error, "__notes__", ())):
        return
    try:
        from .holdings import memory_report
        from .value import size_text

        returned = f"; clearing caches gave back {size_text(recovery.returned)}" if recovery.returned else ""
        why = f"; {trouble}" if trouble else ""
        error.add_note(f"{_NOTE} after {_attempts_text(recovery)}{why}{returned}. Who holds what:\n{memory_report()}")
    except Exception:
        error.add_note(f"{_NOTE} after {_attempts_text(recovery)}")


# ---------------------------------------------------------------- inputs changed in place


def _digest(array: object) -> int:
    from zlib import crc32

    from .calls import convert

    return crc32(memoryview(convert(array, "numpy", casting="no", copy=True)).cast("B"))


class InputWatch:
    """Notices that a function has changed its inputs in place: a copy and a checksum of each, so for finding defects.

    Parameters
    ----------
    inputs : iterable
        What the function is about to be given, containers of arrays as well; what is no array, or cannot be read, is
        left out.
    names : sequence of str, optional
        What to call each of them.
    """

    __slots__ = ("_watched",)

    def __init__(self, inputs: Iterable[object], names: Sequence[str] | None = None) -> None:
        self._watched: list[tuple[str, object, int]] = []
        for place, value in enumerate(inputs):
            name = names[place] if names is not None else f"input {place}"
            for one in _leaves(value):
                digest = self._look(one)
                if digest is not None:
                    self._watched.append((name, one, digest))

    @staticmethod
    def _look(value: object) -> int | None:
        from .calls import detect_memory_type
        from .errors import MemoryConversionError

        try:
            detect_memory_type(value)
            return _digest(value)
        except (MemoryConversionError, ValueError, TypeError, MemoryError):
            return None

    def changed(self) -> list[str]:
        """Names of the inputs with elements that are no longer what they were."""
        found = (name for name, value, digest in self._watched if self._look(value) not in (digest, None))
        return list(dict.fromkeys(found))


# ---------------------------------------------------------------- calling with recovery


def _to_host(value: object) -> object:
    """An array on the host, in its own framework if that can be there, else as NumPy; what is no array as it is."""
    from .calls import convert, detect_memory_type
    from .errors import MemoryConversionError

    try:
        home = detect_memory_type(value)
    except ValueError:
        return value
    try:
        return convert(value, home, device="cpu")
    except MemoryConversionError:
        return convert(value, "numpy")


def run_with_recovery(
    function: Callable[..., Any],
    *args: Any,
    max_retries: int = 2,
    host_fallback: bool | Callable[..., Any] = False,
    idempotent: bool = True,
    **kwargs: Any,
) -> Any:
    """Call ``function(*args, **kwargs)``; after out-of-memory free what can be freed and call it again.

    Parameters
    ----------
    function : callable
        What to call.
    *args, **kwargs
        Its arguments.
    max_retries : int
        How often it is called again, at most.
    host_fallback : bool or callable
        After that: True moves the array arguments to the host and calls it a last time; a callable is called in its
        place, with the arguments as they are.
    idempotent : bool
        False: it changes something, its inputs for one, and must not run twice.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    Exception
        What it raised last; after out-of-memory with a note that says who holds what.

    Notes
    -----
    What is not out-of-memory passes at once. While the call fails for good, its frames keep their locals; before it is
    repeated they are emptied, and so are those of the last error that an interactive session keeps
    (``sys.last_traceback``).
    """
    recovery = Recovery(max_retries, host_fallback=bool(host_fallback), idempotent=idempotent)
    if _checks_inputs():
        recovery.watch = InputWatch([*args, *kwargs.values()])
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            action = recovery.decide(error, (*args, *kwargs.values()))
            if action == "raise":
                raise
        if action == "host" and callable(host_fallback):
            function = host_fallback
        elif action == "host":
            args = tuple(_to_host(value) for value in args)
            kwargs = {name: _to_host(value) for name, value in kwargs.items()}


def _checks_inputs() -> bool:
    from .settings import options

    try:
        return bool(options.get("check_inputs"))
    except TypeError:  # no such option
        return False
