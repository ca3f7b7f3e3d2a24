# SPDX-License-Identifier: MIT
"""Change dtypes with a framework's own operations: on its device, under tracing, with its gradient.

The rules are those of the kernels that do it on the host (``ab_scaling`` of arraybridge.h), and so are the results, bit
for bit, but where a framework has no float64 (JAX without x64, under jit) and under ``unit`` into 32 and 64 bits, whose
products need more digits than float64 has.

Operations come from array-api-compat where that covers the framework, from TensorFlow itself otherwise.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from importlib import import_module
from math import prod
from struct import pack

from .errors import MemoryConversionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Any

    from .recovery import Recovery

#: Kind and size in bits of every dtype that can be computed with: ``b``, ``u``, ``i``, ``f``, ``c``, as NumPy has them.
DTYPES: dict[str, tuple[str, int]] = {
    "bool": ("b", 8),
    **{f"uint{bits}": ("u", bits) for bits in (8, 16, 32, 64)},
    **{f"int{bits}": ("i", bits) for bits in (8, 16, 32, 64)},
    "float8_e4m3fn": ("f", 8), "float8_e5m2": ("f", 8), "bfloat16": ("f", 16), "float16": ("f", 16),
    "float32": ("f", 32), "float64": ("f", 64), "complex64": ("c", 64), "complex128": ("c", 128),
}  # fmt: skip


#: What stands for dtypes that JAX does not have without x64.
_NARROW = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def integer_range(dtype: str) -> tuple[int, int]:
    """The least and the greatest value of an integer dtype, or of bool."""
    kind, bits = DTYPES[dtype]
    if kind == "b":
        return 0, 1
    return (0, 2**bits - 1) if kind == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


# ---------------------------------------------------------------- the frameworks


class _Operations:
    """What is asked of a framework, by the names of the array API. ``wide``: bits of its widest integers and floats."""

    wide = 64

    def __init__(self, xp: Any, dtypes: Any) -> None:
        self.xp = xp
        self.dtypes = dtypes

    def scope(self) -> AbstractContextManager[object]:
        return nullcontext()

    def dtype(self, name: str) -> Any:
        return getattr(self.dtypes, name)

    def cast(self, x: Any, name: str) -> Any:
        return self.xp.astype(x, self.dtype(name), copy=False)

    def bits(self, x: Any, name: str) -> Any:
        return x.view(self.dtype(name))

    def fill(self, x: Any, mask: Any, value: float) -> Any:
        """``x`` with ``value`` where the mask is true."""
        return self.xp.where(mask, self.xp.asarray(value, dtype=x.dtype), x)

    def either(self, mask: Any, x: Any, y: Any) -> Any:
        return self.xp.where(mask, x, y)

    def divide(self, x: Any, scalar: Any) -> Any:
        return x / scalar

    def round(self, x: Any) -> Any:
        return self.xp.round(x)

    def trunc(self, x: Any) -> Any:
        return self.xp.trunc(x)

    def floor(self, x: Any) -> Any:
        return self.xp.floor(x)

    def abs(self, x: Any) -> Any:
        return self.xp.abs(x)

    def finite(self, x: Any) -> Any:
        return self.xp.isfinite(x)

    def least(self, x: Any) -> Any:
        return self.xp.min(x)

    def greatest(self, x: Any) -> Any:
        return self.xp.max(x)

    def count(self, mask: Any) -> int:
        return int(self.xp.sum(self.cast(mask, "int32" if self.wide == 32 else "int64")))

    def first(self, mask: Any) -> tuple[int, ...]:
        """Index of the first true element."""
        at = int(self.xp.argmax(self.cast(self.xp.reshape(mask, (-1,)), "int32")))
        index: list[int] = []
        for length in reversed(tuple(mask.shape)):
            at, one = divmod(at, int(length))
            index.append(one)
        return tuple(reversed(index))


class _Torch(_Operations):
    def fill(self, x: Any, mask: Any, value: float) -> Any:
        return x.masked_fill(mask, value)

    def cast(self, x: Any, name: str) -> Any:
        return x.to(self.dtype(name))  # what array-api-compat does; torch.compile need not look into it


class _Jax(_Operations):
    def __init__(self, xp: Any, traced: bool) -> None:
        super().__init__(xp, xp)
        self._jax = import_module("jax")
        # A trace has made up its mind about 64 bits; outside of one the scope has them for the asking.
        self.wide = 64 if not traced or self._jax.config.jax_enable_x64 else 32
        self._traced = traced

    def scope(self) -> AbstractContextManager[object]:
        if self._traced:
            return nullcontext()
        made: AbstractContextManager[object] = self._jax.enable_x64(True)
        return made

    def cast(self, x: Any, name: str) -> Any:
        return x.astype(self.dtype(name))

    def divide(self, x: Any, scalar: Any) -> Any:
        # XLA turns a division by one number into a multiplication by its inverse, which misses the top of the range.
        return x / self._jax.lax.optimization_barrier(self.xp.broadcast_to(scalar, x.shape))


class _TensorFlow(_Operations):
    """array-api-compat does not cover TensorFlow."""

    def __init__(self, module: Any) -> None:
        super().__init__(module, module)

    def cast(self, x: Any, name: str) -> Any:
        if name.startswith("float8") and not x.dtype.is_floating:
            x = self.xp.cast(x, self.xp.float32)  # TensorFlow 2.21 has no way from integers; what this rounds is beyond
        return self.xp.cast(x, self.dtypes.dtypes.as_dtype(name))

    def bits(self, x: Any, name: str) -> Any:
        return self.xp.bitcast(x, self.dtypes.dtypes.as_dtype(name))

    def fill(self, x: Any, mask: Any, value: float) -> Any:
        return self.xp.where(mask, self.xp.constant(value, x.dtype), x)

    def trunc(self, x: Any) -> Any:
        # tf has no trunc for every device: towards zero from either side.
        return self.xp.where(x < 0, self.xp.math.ceil(x), self.xp.floor(x))

    def finite(self, x: Any) -> Any:
        return self.xp.math.is_finite(x)

    def least(self, x: Any) -> Any:
        return self.xp.reduce_min(x)

    def greatest(self, x: Any) -> Any:
        return self.xp.reduce_max(x)

    def count(self, mask: Any) -> int:
        return int(self.xp.math.count_nonzero(mask))


def _operations(backend: str, traced: bool) -> _Operations:
    if backend == "torch":
        torch = sys.modules["torch"]  # it has made the array; torch.compile follows no import
        return _Torch(torch if traced else import_module("array_api_compat.torch"), torch)
    if backend == "jax":
        return _Jax(import_module("jax.numpy"), traced)  # an array API namespace by itself
    if backend == "tensorflow":
        return _TensorFlow(import_module("tensorflow"))
    return _Operations(import_module(f"array_api_compat.{backend}"), import_module(backend))


def covers(backend: str) -> bool:
    """Whether the framework's own operations can do it: pyclesperanto's do not round half to even, for one."""
    return backend in ("torch", "jax", "tensorflow", "cupy")


# ---------------------------------------------------------------- what has no value


def _shortest(value: float, dtype: str) -> str:
    """The shortest digits that name a value, six or more."""
    if value != value:
        return "NaN"
    kept = "d" if dtype == "float64" else "f"
    texts = (f"{value:.{digits}g}" for digits in range(6, 18))
    return next((text for text in texts if pack(kept, float(text)) == pack(kept, value)), repr(value))


class _Work:
    """One change of dtype."""

    def __init__(
        self, ops: _Operations, backend: str, have: str, goal: str, scaling: str, nan: float | None, checked: bool
    ) -> None:
        self.ops = ops
        self.backend = backend
        self.have = have
        self.goal = goal
        self.scaling = scaling
        self.nan = nan
        self.checked = checked
        self.counts = scaling not in ("unit", "minmax")  # there, what is beyond is so by rounding alone
        self.saturated = 0
        self.overflowed = 0

    def refuse(self, bad: Any, x: Any, reason: str, hint: str) -> None:
        """Raise if any element is bad, naming the first. ``{value}`` and ``{index}`` in the reason are filled in."""
        if not self.checked or self.ops.count(bad) == 0:
            return
        index = self.ops.first(bad)
        element = x[index] if index else x
        value = float(self.ops.cast(element, "float64" if self.ops.wide == 64 else "float32"))
        raise self.error(reason.format(value=_shortest(value, self.have), index=index), hint)

    def error(self, reason: str, hint: str) -> MemoryConversionError:
        return MemoryConversionError(self.backend, self.backend, "scale", reason, hint, "WOULD_CAST")

    def odd(self, x: Any) -> Any:
        """NaN, and infinities where they have no value either: refused, or replaced later."""
        bad = x != x if self.scaling in ("clip", "exact") else ~self.ops.finite(x)
        if self.nan is None:
            hint = "pass nan=0, or what else shall stand in its place"
            if self.scaling != "clip":
                hint += '; scaling="clip" saturates infinities'
            reason = f'{{value}} at index {{index}} has no value in {self.goal} under scaling="{self.scaling}"'
            self.refuse(bad, x, reason, hint)
        return bad


# ---------------------------------------------------------------- to integers


def _wide_name(ops: _Operations, letter: str = "int") -> str:
    return f"{letter}{ops.wide}"


def _unsigned_bits(ops: _Operations, whole: Any, wide: int) -> Any:
    """Whole numbers from 0 to below 2^wide as the bits of an unsigned integer, in a signed one of that size."""
    half = float(2 ** (wide - 1))
    top = whole >= half
    low = ops.cast(ops.either(top, whole - half, whole), _wide_name(ops))
    return ops.either(top, low + -(2 ** (wide - 1)), low)


def _narrowed(ops: _Operations, y: Any, goal: str) -> Any:
    kind, bits = DTYPES[goal]
    if bits == ops.wide:
        return ops.bits(y, goal) if kind == "u" else y
    return ops.cast(y, goal)


def _saturated(work: _Work, whole: Any, odd: Any) -> Any:
    """Whole numbers, in floating point, as integers; what lies beyond becomes the nearest that there is."""
    ops, goal = work.ops, work.goal
    kind, bits = DTYPES[goal]
    low, high = integer_range(goal)
    above, below = whole >= float(high + 1), whole < float(low)
    if work.checked and work.counts:
        work.saturated = ops.count((above | below) & ~odd)
    safe = ops.fill(whole, above | below | odd, 0)
    if kind == "u" and bits == ops.wide:
        y = ops.fill(_unsigned_bits(ops, safe, bits), above, -1)
    else:
        y = ops.fill(ops.fill(ops.cast(safe, _wide_name(ops)), above, high), below, low)
    nan = int(work.nan or 0)
    return _narrowed(ops, ops.fill(y, odd, nan - 2**ops.wide if nan >= 2 ** (ops.wide - 1) else nan), goal)


def _wrapped(work: _Work, x: Any, odd: Any) -> Any:
    ops = work.ops
    _, bits = DTYPES[work.goal]
    period = float(2**bits)
    size = ops.abs(ops.trunc(ops.fill(x, odd, 0)))
    rest = size - ops.floor(size / period) * period  # exact: a power of two divides, and the rest is not finer
    y = _unsigned_bits(ops, rest, bits) if bits == ops.wide else ops.cast(rest, _wide_name(ops))
    y = ops.either(x < 0, -y, y)
    nan = int(work.nan or 0)
    y = ops.fill(y, odd, nan - 2**ops.wide if nan >= 2 ** (ops.wide - 1) else nan)
    return _narrowed(ops, y, work.goal)


def _in_unit(work: _Work, x: Any, odd: Any) -> Any:
    """[0, 1] to [0, max], [-1, 1] to [min, max]; not rounded yet."""
    ops = work.ops
    outside = (x > 1) | (x < -1)
    reason = '{value} at index {index} is outside [-1, 1], the range of scaling="unit"'
    hint = 'pass scaling="clip" to keep values, or "minmax" to stretch the image to the full range'
    work.refuse(outside & ~odd, x, reason, hint)
    low, high = integer_range(work.goal)
    x = ops.fill(x, odd, 0)
    if low == 0:
        if work.checked:
            work.saturated = ops.count(x * float(high) < -0.5)  # what is nearer to 0 is rounded, as any number is
        return ops.round(ops.fill(x, x < 0, 0) * float(high))
    stretched = x * float(high - low)
    y = ops.round((stretched - 1) * 0.5)
    # Beside a 1 so small a number is lost, but it decides on which side of the tie at -1/2 it is.
    tiny = ops.abs(stretched) < 2.0**-20
    return ops.fill(ops.fill(y, tiny & (x >= 0), 0), tiny & (x < 0), -1)


def _stretched(work: _Work, x: Any, odd: Any, wider: Any) -> Any:
    """Least to lowest, greatest to highest; not truncated yet."""
    ops = work.ops
    low, high = integer_range(work.goal)
    infinity = float("inf")
    least, greatest = ops.least(ops.fill(x, odd, infinity)), ops.greatest(ops.fill(x, odd, -infinity))
    constant = ~(least < greatest)
    if DTYPES[work.goal][1] > 16 or (work.checked and not bool(ops.finite(greatest - least))):
        x, least, greatest = wider(x), wider(least), wider(greatest)
    shrink = 1.0 if not work.checked or bool(ops.finite(greatest - least)) else 0.5
    work.counts = work.checked and bool(constant)
    span = ops.fill(greatest * shrink - least * shrink, constant, 1)
    y = ops.divide(x * shrink - least * shrink, span) * float(high - low) + float(low)
    return ops.either(constant, x, y)


def _float_to_integer(work: _Work, x: Any) -> Any:
    ops = work.ops
    odd = work.odd(x)

    def wider(y: Any) -> Any:
        return ops.cast(y, _wide_name(ops, "float"))

    if work.scaling == "wrap":
        return _wrapped(work, x, odd)
    if work.scaling == "unit":
        return _saturated(work, _in_unit(work, wider(x), odd), odd)
    if work.scaling == "minmax":
        return _saturated(work, ops.trunc(_stretched(work, x, odd, wider)), odd)
    result = _saturated(work, ops.round(x), odd)
    if work.scaling == "exact":
        low, high = integer_range(work.goal)
        changed = ((x != ops.trunc(x)) | (x < float(low)) | (x >= float(high + 1))) & ~odd
        _refuse_change(work, changed, x)
    return result


def _refuse_change(work: _Work, changed: Any, x: Any) -> None:
    reason = f'{{value}} at index {{index}} does not exist in {work.goal}, and scaling="exact" changes no value'
    work.refuse(changed, x, reason, 'pass scaling="clip" to round and saturate')


def _integer_to_integer(work: _Work, x: Any) -> Any:
    ops, goal = work.ops, work.goal
    kind, bits = DTYPES[work.have]
    (least, greatest), (low, high) = integer_range(work.have), integer_range(goal)
    unsigned = kind == "u" and bits == ops.wide
    y = ops.bits(x, _wide_name(ops)) if unsigned else ops.cast(x, _wide_name(ops))
    if work.scaling == "wrap" or (low <= least and greatest <= high):
        return _narrowed(ops, y, goal)
    # The upper half of the widest unsigned integers is negative in `y`, and beyond every other integer.
    above = y < 0 if unsigned else y != y  # no integer differs from itself
    if high < (1 << (ops.wide - 1)) - 1:
        above = above | (y > high)
    below = (y < low) & ~above
    if work.scaling == "exact":
        _refuse_change(work, above | below, x)
    if work.checked:
        work.saturated = ops.count(above | below)
    return _narrowed(ops, ops.fill(ops.fill(y, above, min(high, greatest)), below, low), goal)


# ---------------------------------------------------------------- to everything else


def _to_bool(work: _Work, x: Any) -> Any:
    ops = work.ops
    if work.scaling in ("unit", "minmax"):
        hint = 'pass scaling="clip" for "is not zero", or compare with a threshold first'
        raise work.error(f'bool has no range that scaling="{work.scaling}" could fill', hint)
    if DTYPES[work.have][0] == "f":
        odd = work.odd(x)
        x = ops.fill(x, odd, work.nan or 0)
    zero = x == 0 if DTYPES[work.have][0] == "f" else ops.cast(x, _wide_name(ops)) == 0
    if work.scaling == "exact":
        _refuse_change(work, ~(zero | (x == 1)), x)
    return ~zero


def _to_float(work: _Work, x: Any, original: Any) -> Any:
    ops = work.ops
    y = ops.cast(original, work.goal)
    if not work.checked or DTYPES[work.have][0] != "f":
        return y
    back = ops.cast(y, str("float64" if work.have == "float64" and ops.wide == 64 else "float32"))
    if work.scaling == "exact":
        _refuse_change(work, (back != x) & (x == x), x)
    work.overflowed = ops.count(ops.finite(x) & ~ops.finite(back))
    return y


def change(
    x: Any, backend: str, have: str, goal: str, scaling: str, nan: float | None = None, checked: bool = True
) -> tuple[Any, int, int]:
    """Give an array another dtype with its framework's own operations.

    Parameters
    ----------
    x : array of `backend`, of dtype `have`
        Anything but an array of no dimensions works; tracers and tensors with a gradient, too.
    goal : str
        Name of the new dtype.
    scaling : {"clip", "unit", "exact", "minmax", "wrap"}
        How real numbers become integers.
    nan : float, optional
        What stands in an integer result in place of NaN.
    checked : bool
        Whether to look at values at all, which waits for the device and cannot be done under tracing. If not, NaN is 0
        or `nan`, nothing is refused, and nothing counted.

    Returns
    -------
    tuple
        The array; how many values saturated; how many finite ones became infinite.

    Raises
    ------
    MemoryConversionError
        ``WOULD_CAST``, with the first value that has no place and its index.
    """
    if not checked:  # torch.compile follows this
        return _changed(x, backend, have, goal, scaling, nan, checked)
    engine: Recovery | None = None
    while True:
        try:
            return _changed(x, backend, have, goal, scaling, nan, checked)
        except Exception as error:
            engine = engine or _recovery()
            if engine.decide(error) == "raise":
                raise


def _recovery() -> Recovery:
    """As conversions have it; those on the host bring their own."""
    from .recovery import Recovery
    from .settings import options

    return Recovery(max_retries=options.get("max_retries"))


def _changed(
    x: Any, backend: str, have: str, goal: str, scaling: str, nan: float | None, checked: bool
) -> tuple[Any, int, int]:
    ops = _operations(backend, not checked)
    if ops.wide == 32:
        goal = _NARROW.get(goal, goal)  # what the framework itself makes of it there
    work = _Work(ops, backend, have, goal, scaling, nan, checked)
    with ops.scope():
        return _change(work, x), work.saturated, work.overflowed


def _change(work: _Work, x: Any) -> Any:
    ops = work.ops
    kind, bits = DTYPES[work.have]
    to = DTYPES[work.goal][0]
    if kind == "c" and to != "c":
        reason = f'{work.have} would lose its imaginary part as {work.goal}, and scaling="{work.scaling}" has no rule'
        raise work.error(f"{reason} for that", "take its real part or its magnitude first")
    if to == "c" or kind == "b" or (work.checked and prod(x.shape) == 0):
        return ops.cast(x, work.goal)
    computed = ops.cast(x, "float32") if kind == "f" and bits < 32 else x  # exact, and every operation exists there
    if to == "f":
        return _to_float(work, computed, x)
    if to == "b":
        return _to_bool(work, computed)
    return _float_to_integer(work, computed) if kind == "f" else _integer_to_integer(work, x)


def fractions_in_unit(x: Any, backend: str, have: str, ignore_nan: bool) -> tuple[float, float] | None:
    """The least and the greatest value, if all lie within [-1, 1] and one is not whole; None otherwise."""
    ops = _operations(backend, False)
    with ops.scope():
        if prod(x.shape) == 0:
            return None
        y = ops.cast(x, "float32") if DTYPES[have][1] < 32 else x
        nothing = y != y
        if not ignore_nan and ops.count(nothing):
            return None
        least = float(ops.least(ops.fill(y, nothing, float("inf"))))
        greatest = float(ops.greatest(ops.fill(y, nothing, -float("inf"))))
        if not (least >= -1 and greatest <= 1) or ops.count((y != ops.trunc(y)) & ~nothing) == 0:
            return None
        return least, greatest
