# SPDX-License-Identifier: MIT
"""Options: what the keywords of a conversion default to, in the process and in one context."""

from __future__ import annotations

from contextvars import ContextVar
from operator import index
from threading import RLock
from typing import NamedTuple

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

# AB_CONVERT_COPY_IMMUTABLE, _COPY_MUTABLE, _RELEASE_CONTEXT and _NO_RECOVERY of arraybridge.h, and what sets them.
_FLAGS = {"immutable": 1 << 1, "mutable": 1 << 2, "release": 1 << 8}
_SETTING = {"immutable": "copy", "mutable": "copy", "release": "context"}
_NO_RECOVERY = 1 << 16

#: Those that the native module knows. The others cost a conversion nothing, whatever they are.
_NATIVE = frozenset({*_FLAGS, "threads", "max_retries", "pinned_memory"})

#: Those that decorated functions look at in each call, as soon as anybody anywhere has changed one.
_OF_CALLS = {"dtype_conversion": "preserve", "prefer_accelerator": False, "check_inputs": False}


def _sharing(name: str, value: object) -> object:
    if value not in ("share", "copy"):
        raise ValueError(f'{name} must be "share" or "copy", not {value!r}')
    return value


def _release(name: str, value: object) -> object:
    if value not in ("streams", "context"):
        raise ValueError(f'release must be "streams" or "context", not {value!r}')
    return value


def _switch(name: str, value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return value


def _threads(name: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1024:
        raise ValueError(f"threads must be a number from 0 (as many as useful) to 1024, not {value!r}")
    return value


def _bytes(name: str, value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 60:
        raise ValueError(f"{name} must be a number of bytes, 0 for none, not {value!r}")
    return value


def read_retries(name: str, value: object) -> int:
    """A number of repetitions."""
    number = -1 if isinstance(value, bool) or not hasattr(value, "__index__") else index(value)
    if not 0 <= number <= 1000:
        raise ValueError(f"{name} must be a number from 0 (never again) to 1000, not {value!r}")
    return number


def _of_policy(name: str, value: object) -> object:
    from . import policy

    if name == "dtype_conversion":
        return policy.read_conversion(value)
    if value is None and name in ("scaling", "nan"):
        return None
    return {"scaling": policy.read_scaling, "nan": policy.read_nan, "labels": policy.read_labels}[name](value)


_CHECKS = {
    "immutable": _sharing, "mutable": _sharing, "release": _release, "threads": _threads,
    "pinned_memory": _bytes,
    "dtype_conversion": _of_policy, "scaling": _of_policy, "nan": _of_policy, "labels": _of_policy,
    "prefer_accelerator": _switch, "max_retries": read_retries, "host_fallback": _switch, "check_inputs": _switch,
}  # fmt: skip


def _known(name: str) -> str:
    if name not in _CHECKS:
        raise TypeError(f"there is no option {name!r}; there are {', '.join(_CHECKS)}")
    return name


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _CHECKS[_known(name)](name, value) for name, value in values.items()}


def _bits(values: dict[str, Any]) -> int:
    flags = sum(bit for name, bit in _FLAGS.items() if values.get(name) == _SETTING[name])
    return flags | (_NO_RECOVERY if values.get("max_retries") == 0 else 0)


_process: dict[str, Any] = {
    "immutable": "share", "mutable": "share", "release": "streams", "threads": 0,
    "pinned_memory": 64 << 20,
    "dtype_conversion": "preserve", "scaling": None, "nan": None, "labels": False,
    "prefer_accelerator": False, "max_retries": 2, "host_fallback": False, "check_inputs": False,
}  # fmt: skip


def _changes_calls() -> int:
    return int(any(_process[name] != default for name, default in _OF_CALLS.items()))


class _Scope(NamedTuple):
    """What the blocks around say: ``values`` of all together, and the blocks from the outermost on."""

    values: dict[str, Any]
    blocks: tuple[OptionScope, ...]


_scope: ContextVar[_Scope | None] = ContextVar("arraybridge_options", default=None)

#: Held while options and counts change; a signal's handler may come in between, on the same thread.
_lock = RLock()


def _values_here() -> dict[str, Any] | None:
    scope = _scope.get()
    return None if scope is None else scope.values


def of_process(name: str) -> Any:
    """The process's value, whatever the context says: all that torch.compile can follow, and guard."""
    return _process[name]


def _scope_here() -> tuple[int, int, int | None, int | None, int | None] | None:
    """This context's options, or None: asked by the native module.

    As ``(mask, flags, threads, max_retries, pinned_memory)``.
    """
    values = _values_here()
    if values is None:
        return None
    mask = sum(bit for name, bit in _FLAGS.items() if name in values)
    if "max_retries" in values:
        mask |= _NO_RECOVERY
    return mask, _bits(values), values.get("threads"), values.get("max_retries"), values.get("pinned_memory")


native.connect({"scope": _scope_here})


class OptionScope:
    """What ``options(…)`` gives: in force from entering to leaving, in this context and those that it starts.

    One object may be entered any number of times, by any thread or task: where it is in force each context says.
    """

    __slots__ = ("_calls", "_native", "_open", "_values")

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = _checked(values)
        self._native = not _NATIVE.isdisjoint(values)
        self._calls = not values.keys().isdisjoint(_OF_CALLS)
        self._open = 0

    def _count(self, more: int) -> None:
        with _lock:
            if self._open + more < 0:
                raise RuntimeError("this options(...) block has not been entered")
            self._open += more
            if self._native:
                native.scope_settings(more)
            if self._calls:
                native.count_policies(more)

    def __enter__(self) -> Options:
        self._count(1)
        _scope.set(_merged((*_blocks_here(), self)))
        return options

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._count(-1)
        blocks = _blocks_here()
        # The last entry of this block. Left in another context than it was entered in, there is nothing to undo.
        for place in reversed(range(len(blocks))):
            if blocks[place] is self:
                _scope.set(_merged(blocks[:place] + blocks[place + 1 :]))
                break


def _blocks_here() -> tuple[OptionScope, ...]:
    scope = _scope.get()
    return () if scope is None else scope.blocks


def _merged(blocks: tuple[OptionScope, ...]) -> _Scope | None:
    values = {name: value for block in blocks for name, value in block._values.items()}
    return _Scope(values, blocks) if blocks else None


class Options:
    """Defaults of conversions and decorated functions. Use the one instance, ``arraybridge.options``.

    ================== ============== ==========================================================================
    name               default        meaning
    ================== ============== ==========================================================================
    immutable          ``"share"``    arrays that are immutable by convention (JAX, TensorFlow): or ``"copy"``
    mutable            ``"share"``    arrays that can be written: shared, or ``"copy"``
    release            ``"streams"``  when device memory goes back to its framework: after the streams that are known
                                      to use it, or after all of ``"context"`` (breaks captures; CUDA 12.5)
    threads            0              threads for copies on the host; 0: as many as there are cores, 4 at most,
                                      16 for transfers to and from devices
    pinned_memory      67108864       bytes that these may keep pinned for each device; 0: none, and they are slower
    dtype_conversion   ``"preserve"`` dtype of results: the first input's; ``"native"``: as they are; or a dtype
    scaling            None           real numbers to integers: ``"clip"``, ``"unit"``, ``"exact"``, ``"minmax"``,
                                      ``"wrap"``; None: clip, and images of fractions within [-1, 1] are refused
    nan                None           what stands in an integer result in place of NaN; None: an error
    labels             False          integer results are labels: their dtype stays
    prefer_accelerator False          decorated functions take host arrays to the accelerator
    max_retries        2              how often work is repeated after out-of-memory
    host_fallback      False          whether it may be repeated on the host in the end
    check_inputs       False          warn of decorated functions that change an input in place (slow)
    ================== ============== ==========================================================================

    Examples
    --------
    >>> arraybridge.options.set(threads=2)                      # for the process
    >>> with arraybridge.options(immutable="copy"):             # for this context
    ...     y = arraybridge.convert(x, "torch")
    """

    __slots__ = ()

    def get(self, name: str) -> Any:
        """The value in force here: this context's, else the process's."""
        _known(name)
        scope = _values_here()
        return _process[name] if scope is None or name not in scope else scope[name]

    def set(self, **values: Any) -> None:
        """Set options for the whole process; those not named stay."""
        checked = _checked(values)
        with _lock:
            before = _changes_calls()
            _process.update(checked)
            native.count_policies(_changes_calls() - before)
            if not _NATIVE.isdisjoint(checked):
                native.set_settings(
                    _bits(_process), _process["threads"], _process["max_retries"], _process["pinned_memory"]
                )

    def __call__(self, **values: Any) -> OptionScope:
        """Set options for a ``with`` block in this context."""
        return OptionScope(values)

    if not TYPE_CHECKING:  # mypy says itself that there is no such attribute

        def __getattr__(self, name: str) -> Any:
            if name not in _CHECKS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(f'options are no attributes: arraybridge.options.get("{name}") reads this one')

        def __setattr__(self, name: str, value: object) -> None:
            if name not in _CHECKS:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise AttributeError(f"options are no attributes: arraybridge.options.set({name}=...) sets this one")

    def __repr__(self) -> str:
        return f"options({', '.join(f'{name}={self.get(name)!r}' for name in _CHECKS)})"

    def __reduce__(self) -> str:
        return "options"


options = Options()
