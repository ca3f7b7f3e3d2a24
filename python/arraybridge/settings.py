# SPDX-License-Identifier: MIT
"""Options: what the keywords of a conversion default to, in the process and in one context."""

from __future__ import annotations

from contextvars import ContextVar

from ._library import native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from types import TracebackType

# AB_CONVERT_COPY_IMMUTABLE and AB_CONVERT_COPY_MUTABLE of arraybridge.h.
_FLAGS = {"immutable": 1 << 1, "mutable": 1 << 2}
_NAMES = (*_FLAGS, "threads")


def _checked(values: dict[str, str | int]) -> dict[str, str | int]:
    for name, value in values.items():
        if name not in _NAMES:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(_NAMES)}")
        if name in _FLAGS and value not in ("share", "copy"):
            raise ValueError(f'{name} must be "share" or "copy", not {value!r}')
        if name == "threads" and (not isinstance(value, int) or not 0 <= value <= 1024):
            raise ValueError(f"threads must be a number from 0 (as many as useful) to 1024, not {value!r}")
    return values


def _bits(values: dict[str, str | int]) -> int:
    return sum(bit for name, bit in _FLAGS.items() if values.get(name) == "copy")


_process: dict[str, str | int] = {"immutable": "share", "mutable": "share", "threads": 0}
_scope: ContextVar[dict[str, str | int] | None] = ContextVar("arraybridge_options", default=None)


def _scope_here() -> tuple[int, int, int | None] | None:
    """This context's options as ``(mask, flags, threads)``, or None: asked by the native module."""
    values = _scope.get()
    if values is None:
        return None
    mask = sum(bit for name, bit in _FLAGS.items() if name in values)
    threads = values.get("threads")
    return mask, _bits(values), None if threads is None else int(threads)


native.connect({"scope": _scope_here})


class OptionScope:
    """What ``options(…)`` gives: in force from entering to leaving, in this context and those that it starts."""

    __slots__ = ("_tokens", "_values")

    def __init__(self, values: dict[str, str | int]) -> None:
        self._values = _checked(values)
        self._tokens: list[Token[dict[str, str | int] | None]] = []

    def __enter__(self) -> Options:
        self._tokens.append(_scope.set({**(_scope.get() or {}), **self._values}))
        native.scope_settings(1)
        return options

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            _scope.reset(self._tokens.pop())
        finally:
            native.scope_settings(-1)


class Options:
    """Defaults of conversions. Use the one instance, ``arraybridge.options``.

    =========== ============ =================================================================================
    name        default      meaning
    =========== ============ =================================================================================
    immutable   ``"share"``  arrays that are immutable by convention (JAX, TensorFlow): shared, or ``"copy"``
    mutable     ``"share"``  arrays that can be written: shared, or ``"copy"``
    threads     0            threads for copies on the host; 0: as many as there are cores, 4 at most
    =========== ============ =================================================================================

    Examples
    --------
    >>> arraybridge.options.set(threads=2)                      # for the process
    >>> with arraybridge.options(immutable="copy"):             # for this context
    ...     y = arraybridge.convert(x, "torch")
    """

    __slots__ = ()

    def get(self, name: str) -> str | int:
        """The value in force here: this context's, else the process's."""
        if name not in _NAMES:
            raise TypeError(f"there is no option {name!r}; there are {', '.join(_NAMES)}")
        return (_scope.get() or {}).get(name, _process[name])

    def set(self, **values: str | int) -> None:
        """Set options for the whole process; those not named stay."""
        _process.update(_checked(values))
        native.set_settings(_bits(_process), int(_process["threads"]))

    def __call__(self, **values: str | int) -> OptionScope:
        """Set options for a ``with`` block in this context."""
        return OptionScope(values)

    def __repr__(self) -> str:
        return f"options({', '.join(f'{name}={self.get(name)!r}' for name in _NAMES)})"

    def __reduce__(self) -> str:
        return "options"


options = Options()
