# SPDX-License-Identifier: MIT
"""Strict blocks: a copy on the host that nobody asked for is an error there."""

from __future__ import annotations

from .errors import MemoryConversionError
from .record import ConversionRecord, add_sink, drop_sink
from .value import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

#: What the core says of ways that were refused because the caller wants a copy, or other values.
_ASKED = ("asks for a copy", "the dtype changes")

_BEFORE = (
    "convert it before the call and keep the result: the copy is then made once; or allow such copies with "
    'arraybridge.options(mutable="copy")'
)

#: What to do where a way was refused for a reason with these words.
_CURES = {
    "read-only": "give an array that may be written: make the copy once, where the array is made",
    "strides": "make it contiguous where it is made: numpy.ascontiguousarray(x), x.contiguous()",
    "order": "store it in this machine's byte order: x.astype(x.dtype.newbyteorder('='))",
    "its address is": 'let this package allocate it: arraybridge.convert(x, "numpy", copy=True) is aligned',
    "may read the memory after": _BEFORE,
    "do not change, and this memory may be written": _BEFORE,
    "on device": "say device=, or keep both on one device",
    "cannot share it": "hand it over in a form that can be shared (dense, resolved, on one device)",
}


def _is_host(device: str) -> bool:
    return device.startswith(("cpu", "cuda_host", "rocm_host"))


def is_hidden_copy(record: ConversionRecord) -> bool:
    """Whether elements were copied on the host, or by way of it, though a way without that was looked for.

    Bringing an array from the host to a device, or from a device to the host, is what was asked for.
    """
    if record.bytes_copied == 0 or not record.declined:
        return False
    if any(words in reason for _, reason in record.declined for words in _ASKED):
        return False
    ways = record.mechanism.split("+")
    ends = (_is_host(record.source_device), _is_host(record.target_device))
    return "pivot" in ways or all(ends) or (not any(ends) and "to_host" in ways)


def _refusal(record: ConversionRecord) -> MemoryConversionError:
    way, reason = next((pair for pair in record.declined if pair[1]), record.declined[0])
    cure = next((cure for words, cure in _CURES.items() if words in reason), "see arraybridge.plan() for every way")
    if "cannot share it" not in reason:  # else it would have to be copied whatever the caller says
        made = f'convert(x, "{record.target}", copy=True)'
        cure = f"{cure}; where a copy is meant say copy=True, or hand a decorated function {made}"
    return MemoryConversionError(
        record.source,
        record.target,
        "strict",
        f"a hidden copy of {size_text(record.bytes_copied)} on the host ({record.mechanism}), since {way} was refused: "
        f"{reason}",
        cure,
        "WOULD_COPY",
    )


class Strictness:
    """What ``strict()`` gives."""

    __slots__ = ("_above", "_depth")

    def __init__(self, above: int) -> None:
        self._above = above
        self._depth = 0

    def __enter__(self) -> Strictness:
        self._depth += 1
        add_sink(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        drop_sink(self)

    def add(self, record: ConversionRecord) -> None:
        """Refuse a conversion that has copied behind the caller's back."""
        if self._depth > 0 and record.bytes_copied > self._above and is_hidden_copy(record):
            raise _refusal(record)


def strict(above: int = 0) -> Strictness:
    """Make hidden copies on the host errors, in conversions and decorated functions of this context.

    Parameters
    ----------
    above : int
        Copies of at most so many bytes pass.

    Returns
    -------
    Strictness
        For a ``with`` statement.

    Raises
    ------
    MemoryConversionError
        Inside the block, by what has copied: how much, why, and the way that would avoid it.

    Notes
    -----
    Hidden is a copy on the host, or by way of it, that no ``copy=``, ``dtype=``, ``scaling=``, ``immutable=`` or
    ``mutable=`` asks for. The way between the host and a device is no hidden copy, nor is making a stack. A target that
    lacks the array's dtype gives it another one only where ``casting=`` allows that: this is asked for as well.
    Decorated functions allow the same kind by default, and warn of it once; ``casting="no"`` makes it an error.

    Decorated functions copy an array that can be written for frameworks that may read it after the call (JAX,
    pyclesperanto) or whose arrays do not change (TensorFlow). Allow that with ``options(mutable="copy")``, or make the
    copy yourself, once: an array that is in the function's framework already is not copied.

    Examples
    --------
    >>> with arraybridge.strict():
    ...     result = pipeline(image)
    >>> @arraybridge.jax
    ... def smooth(image): ...
    >>> with arraybridge.strict(), arraybridge.options(mutable="copy"):
    ...     result = smooth(image)
    >>> image = arraybridge.convert(image, "jax", copy=True)
    >>> with arraybridge.strict():
    ...     result = smooth(image)
    """
    return Strictness(above)
