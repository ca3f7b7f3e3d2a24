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

    # What has been tried before a recovery gave up on an exception: all sizes alike; the host as well; nothing may be.
    Spent = Literal["retries", "host", "all"]

    Action = Literal["raise", "retry", "halve", "host"]
    Reason = tuple[BaseException, int]

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

#: Why what must not be repeated is not.
RUNS_ONCE = "it was declared with idempotent=False, so it runs once"
_DONATED = "an input was donated and is gone"

#: Where an exception says what has been tried: each recovery that it passes on its way up would try that again.
_SPENT = "_arraybridge_spent"
_SPENT_ORDER: tuple[Spent, ...] = ("retries", "host", "all")

#: The batch travels as 32 bits.
_MOST_SLICES = 2**32 - 1


# ---------------------------------------------------------------- what is out-of-memory


def _frames_above(frame: FrameType | None) -> set[FrameType]:
    above: set[FrameType] = set()
    while frame is not None:
        above.add(frame)
        frame = frame.f_back
    return above


def _family(error: BaseException, above: set[FrameType], members: bool = False) -> Iterator[BaseException]:
    """``error``, its causes and contexts, each once; with ``members`` what exception groups hold as well.

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
        if members and isinstance(one, BaseExceptionGroup):
            waiting.extend(one.exceptions)
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


def _reasons_of_group(group: BaseExceptionGroup[Any], above: set[FrameType], outer: tuple[int, ...]) -> list[Reason]:
    """Those of all members, if each has one: a member that has none would fail again."""
    if id(group) in outer:
        return []
    members = {id(one): one for one in group.exceptions}.values()
    parts = [_reasons(one, above, (*outer, id(group))) for one in members]
    return [reason for part in parts for reason in part] if all(parts) else []


def _reasons(error: BaseException, above: set[FrameType], outer: tuple[int, ...] = ()) -> list[Reason]:
    """What ran out of memory, and how; empty if nothing did.

    What is no Exception asks the program to stop, whatever its context. ``outer``: the groups that this stands in.
    """
    found: list[Reason] = []
    for one in _family(error, above) if isinstance(error, Exception) else ():
        if isinstance(one, BaseExceptionGroup):
            found += _reasons_of_group(one, above, outer)
        elif verdict := _verdict_of_one(one):
            found.append((one, verdict))
    return found


def _worst(reasons: list[Reason]) -> int:
    """0, _OOM or _TOO_LARGE."""
    return max((verdict for _, verdict in reasons), default=0)


def _verdict(error: BaseException, above: set[FrameType]) -> int:
    return _worst(_reasons(error, above))


def _spent_on(error: BaseException) -> Spent | None:
    spent = object.__getattribute__(error, "__dict__").get(_SPENT)
    return spent if spent in _SPENT_ORDER else None


def _spent(reasons: list[Reason]) -> Spent | None:
    """What has been tried already, of a failure that some recovery further down has given up on."""
    spents = [_spent_on(one) for one, _ in reasons]
    known = [spent for spent in spents if spent is not None]
    return max(known, key=_SPENT_ORDER.index) if known and len(known) == len(spents) else None


def _give_up(reasons: list[Reason], spent: Spent) -> None:
    for one, _ in reasons:
        before = _spent_on(one)
        if before is None or _SPENT_ORDER.index(before) < _SPENT_ORDER.index(spent):
            object.__getattribute__(one, "__dict__")[_SPENT] = spent


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on the host or a device, in any framework.

    Exact exception types first, then how the texts of each framework begin; causes and contexts are looked at, too. An
    exception group is one if all its members are. A message that merely contains "memory", an illegal access or a
    failed launch is none.

    Parameters
    ----------
    error : BaseException
        What was raised.
    """
    return _verdict(error, set()) != 0


# ---------------------------------------------------------------- what the language holds


def _frames_of(trace: TracebackType | None) -> Iterator[FrameType]:
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _suspended(frames: list[FrameType]) -> set[int]:
    """Ids of the frames whose generator or coroutine may go on later; clearing one would end it.

    It has caught an exception that was raised again elsewhere. From Python 3.13 on clearing it is an error.
    """
    candidates = [frame for frame in frames if frame.f_code.co_flags & _SUSPENDS]
    if not candidates or sys.version_info >= (3, 13):
        return set()
    # No frame tells whether it is suspended; its generator has it as long as it may go on.
    import gc
    from types import AsyncGeneratorType, CoroutineType, GeneratorType

    found: set[int] = set()
    for holder in gc.get_referrers(*candidates):
        if type(holder) is GeneratorType:
            found.add(id(holder.gi_frame))
        elif type(holder) is CoroutineType:
            found.add(id(holder.cr_frame))
        elif type(holder) is AsyncGeneratorType:
            found.add(id(holder.ag_frame))
    return found


def _forget(error: BaseException, above: set[FrameType]) -> None:
    """Drop what the frames of a failure hold: of this one, and of the last one that an interactive session keeps.

    Those that still run stay as they are, and so do those that may go on.
    """
    traces = [one.__traceback__ for one in _family(error, above, members=True)]
    traces.append(getattr(sys, "last_traceback", None))
    frames = [frame for trace in traces for frame in _frames_of(trace)]
    suspended = _suspended(frames)
    for frame in frames:
        if id(frame) in suspended:
            continue
        try:
            frame.clear()
        except RuntimeError:
            pass  # it is still running


def _items(container: tuple[Any, ...] | list[Any] | dict[Any, Any]) -> list[Any]:
    """What stands in a container, whatever methods its type has: they may fail."""
    if isinstance(container, dict):
        return list(dict.values(container))
    return list(list.__iter__(container)) if isinstance(container, list) else list(tuple.__iter__(container))


def _leaves(value: object) -> Iterator[object]:
    """What stands in tuples, lists and dicts, each of these once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, (tuple, list, dict)):
            yield one
        elif id(one) not in seen:
            seen.add(id(one))
            waiting.extend(reversed(_items(one)))


def are_on_host(inputs: Iterable[object]) -> bool:
    """Whether there are arrays among ``inputs``, all on the host: then nothing changes by moving them there."""
    places: set[str] = set()
    for value in _leaves(tuple(inputs)):
        try:
            places.add(native.describe(value).device.partition(":")[0])
        except Exception:  # no array; one that has been deleted
            continue
    return bool(places) and places <= {"cpu"}


def _is_gone(value: object) -> bool:
    """Whether an array has been given away: JAX deletes the inputs that a compiled function was allowed to reuse.

    Other libraries mean something else by that name.
    """
    try:
        return native.detect_memory_type(value) == "jax" and value.is_deleted() is True  # type: ignore[attr-defined]
    except Exception:  # no array; a traced value
        return False


# ---------------------------------------------------------------- the engine


class Recovery:
    """What to do when a call runs out of memory. One object for each call, made before it or at its first failure.

    Parameters
    ----------
    max_retries : int
        How often a call of the same size is repeated.
    slices : int, optional
        The work can be done in parts: how many slices there are. None: it cannot.
    host_fallback : bool or callable
        The work may be done on the host in the end, unless its inputs lie there already. A callable: by that, wherever
        they lie.
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
    failure : str
        What a framework has raised when its caches were to be cleared; else empty.
    on_host : bool
        ``"host"`` was the answer.
    was_on_host : bool or None
        Whether all that has failed worked on lay on the host, so that going there changes nothing; None: see by
        ``inputs``.
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

    __slots__ = (
        "_device", "_flags", "_max_retries", "_moves", "batch", "failure", "halvings", "on_host", "retries", "returned",
        "was_on_host", "watch",
    )  # fmt: skip

    def __init__(
        self,
        max_retries: int = 2,
        slices: int | None = None,
        host_fallback: object = False,
        idempotent: bool = True,
        device: object = None,
        watch: InputWatch | None = None,
    ) -> None:
        from .settings import read_retries

        self._max_retries = read_retries("max_retries", max_retries)
        self._device: tuple[int, int] = (0, 0) if device is None else native.read_device(device)
        self.watch = watch
        self._moves = not callable(host_fallback)
        self._flags = (
            (_SLICEWISE if slices is not None else 0)
            | (_HOST_ALLOWED if host_fallback else 0)
            | (0 if idempotent else _ONCE)
        )
        self.batch = min(slices or 0, _MOST_SLICES)
        self.retries = 0
        self.halvings = 0
        self.on_host = False
        self.was_on_host: bool | None = None
        self.returned = 0
        self.failure = ""

    def in_slices(self, count: int) -> None:
        """Say that the work is done at most ``count`` slices at a time, and can be done in fewer."""
        self.batch = min(self.batch if self._flags & _SLICEWISE else _MOST_SLICES, count)
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
            slices at a time. ``"host"``: once more on the host. What another recovery, further down, has repeated in
            vain and given up on is not repeated in that size again. This never fails itself.
        """
        return self._decide(error, inputs, sys._getframe(1))

    def next(self, error: BaseException, inputs: Iterable[object] = ()) -> Literal["retry", "halve", "host"]:
        """As ``decide``, but raise ``error`` itself where that says ``"raise"``."""
        action = self._decide(error, inputs, sys._getframe(1))
        if action == "raise":
            raise error
        return action

    def _decide(self, error: BaseException, inputs: Iterable[object], caller: FrameType) -> Action:
        try:
            return self._answer(error, inputs, _frames_above(caller))
        except Exception as failure:  # the user's exception is under way, and worth more than ours
            _say(error, f"arraybridge: nothing was tried again, recovery itself has failed ({type(failure).__name__})")
            return "raise"

    def _answer(self, error: BaseException, inputs: Iterable[object], above: set[FrameType]) -> Action:
        reasons = _reasons(error, above)
        if not reasons:
            return "raise"
        spent = _spent(reasons)
        trouble = self._why_not(inputs) if spent != "all" else "what has failed must not run twice"
        action: Action = "raise"
        if not trouble:
            # What was repeated in vain can be made smaller or taken elsewhere, as what is too large for any repetition.
            verdict = _worst(reasons) if spent is None else _TOO_LARGE
            hosted = spent == "host" or (self._moves and not self.on_host and self._is_on_host(inputs))
            flags = self._flags & ~_HOST_ALLOWED if hosted else self._flags
            if not self._is_last(verdict, flags):
                _forget(error, above)
            action = self._step(verdict, flags)
        if action == "raise":
            self._give_up(reasons, trouble)
            why = trouble or ("it was repeated further down already" if spent is not None else "")
            _add_note(error, f" after {_attempts_text(self)}", why, self.returned, self.failure)
        return action

    def _give_up(self, reasons: list[Reason], trouble: str) -> None:
        """Leave word of what was tried, so that nobody on the way up tries it again."""
        if trouble and trouble != _DONATED:  # whoever has made what was donated may make it anew
            _give_up(reasons, "all")
        elif self.on_host:
            _give_up(reasons, "host")
        elif self.retries or self.halvings:
            _give_up(reasons, "retries")

    def _is_on_host(self, inputs: Iterable[object]) -> bool:
        return are_on_host(inputs) if self.was_on_host is None else self.was_on_host

    def _why_not(self, inputs: Iterable[object]) -> str:
        """Why the call must not be repeated; empty if it may."""
        if self._flags & _ONCE:
            return RUNS_ONCE
        if any(_is_gone(value) for value in _leaves(tuple(inputs))):
            return _DONATED
        changed = self.watch.changed() if self.watch is not None else []
        if changed:
            return f"it has changed {', '.join(changed)} in place: declare idempotent=False"
        return ""

    def _is_last(self, verdict: int, flags: int) -> bool:
        """Whether nothing is left to try: then locals stay for whoever looks at the traceback."""
        again = verdict == _OOM and self.retries < self._max_retries
        return not again and self.batch <= 1 and (self.on_host or not flags & _HOST_ALLOWED)

    def _step(self, verdict: int, flags: int) -> Action:
        number, flags, batch, retries, halvings, returned, failure = native.recover(
            verdict, flags, *self._device, self._max_retries, self.batch, self.retries, self.halvings
        )
        action: Action = _ACTIONS[number]
        self._flags |= flags
        self.batch, self.retries, self.halvings = batch, retries, halvings
        self.on_host = self.on_host or action == "host"
        self.returned += returned
        self.failure = failure or self.failure
        return action


def _attempts_text(recovery: Recovery) -> str:
    facts = [f"{recovery.retries + recovery.halvings + recovery.on_host + 1} attempts"]
    if recovery.halvings:
        facts.append(f"at last {recovery.batch} slice{'s' if recovery.batch > 1 else ''} at a time")
    if recovery.on_host:
        facts.append("at last on the host")
    return ", ".join(facts) if len(facts) > 1 or facts[0] != "1 attempts" else "1 attempt"


def _has_note(error: BaseException) -> bool:
    return any(isinstance(note, str) and note.startswith(_NOTE) for note in getattr(error, "__notes__", ()))


def _say(error: BaseException, note: str) -> None:
    """Add a note, but to an exception that takes none."""
    try:
        error.add_note(note)
    except Exception:
        pass


def _add_note(error: BaseException, when: str, trouble: str, returned: int = 0, failure: str = "") -> None:
    """Say who holds what. Never fails: it is said of an exception that is under way."""
    if _has_note(error):
        return
    try:
        from .holdings import memory_report
        from .value import size_text

        back = f"; clearing caches gave back {size_text(returned)}" if returned else ""
        back += f"; clearing caches failed: {failure}" if failure else ""
        why = f"; {trouble}" if trouble else ""
        error.add_note(f"{_NOTE}{when}{why}{back}. Who holds what:\n{memory_report()}")
    except Exception:
        _say(error, f"{_NOTE}{when}")


def note_out_of_memory(error: BaseException, why: str = "") -> None:
    """Have an exception that nothing is tried after say who holds what, if it is out-of-memory; ``why`` nothing is."""
    try:
        reasons = _reasons(error, _frames_above(sys._getframe(1)))
        if reasons and why == RUNS_ONCE:
            _give_up(reasons, "all")
        if reasons:
            _add_note(error, "", why)
    except Exception:
        pass  # the exception is under way, and worth more than this


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


def _all_to_host(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return tuple(_to_host(value) for value in args), {name: _to_host(value) for name, value in kwargs.items()}


def note_no_host(error: BaseException, failure: Exception) -> None:
    """Say why the host could not be tried."""
    try:
        _say(error, f"arraybridge: the host could not be tried, its arguments cannot be there: {failure}")
    except Exception:
        pass  # a failure that has no text


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
        After that: True moves the array arguments to the host and calls it a last time, unless all are there already;
        a callable is called in its place, with the arguments as they are.
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
    recovery = Recovery(max_retries, host_fallback=host_fallback, idempotent=idempotent)
    if _checks_inputs():
        recovery.watch = InputWatch([*args, *kwargs.values()])
    while True:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            action = recovery.decide(error, (*args, *kwargs.values()))
            if action == "raise":
                raise
            if action == "host" and not callable(host_fallback):
                try:
                    args, kwargs = _all_to_host(args, kwargs)
                except Exception as failure:
                    note_no_host(error, failure)
                    recovery.decide(error)  # nothing is left: says who holds what
                    raise error from error.__cause__
        if action == "host" and callable(host_fallback):
            function = host_fallback


def _checks_inputs() -> bool:
    from .settings import options

    try:
        return bool(options.get("check_inputs"))
    except TypeError:  # no such option
        return False
