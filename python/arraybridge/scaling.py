# SPDX-License-Identifier: MIT
"""Give an array another dtype, by a rule for what happens to its values."""

from __future__ import annotations

from functools import partial

from . import framework_cast
from ._library import native
from .errors import MemoryConversionError
from .framework_cast import DTYPES
from .policy import (
    Known,
    Policy,
    check_together,
    dtype_name,
    look_at,
    read_nan,
    read_scaling,
    tell_negative,
    tell_overflow,
    tell_unstretched,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def _read_dtype(dtype: object) -> str:
    name = dtype_name(dtype)
    if name is None:
        raise ValueError(f"dtype must be one that can be computed with, not {dtype!r}; there are {', '.join(DTYPES)}")
    return name


def _look_at_array(x: object) -> Known:
    known = look_at(x)
    if known is None:
        what = native.describe(x)  # says what is wrong with it, if it is no array of anybody's
        if not what.convertible and what.backend != "numpy":  # NumPy's are arrays of text, objects, dates
            reason, _, hint = what.why_not.partition("; ")
            raise MemoryConversionError(what.backend, "", "scale", reason, hint)
        raise TypeError(f"scale() takes an array of numbers, not {type(x).__name__}")
    return known


def scale(x: Any, dtype: object, *, scaling: str = "clip", nan: float | None = None) -> Any:
    """Give an array another dtype.

    On the host this is done in C, in one pass over memory (``"minmax"``: two), on an accelerator with the framework's
    own operations. Under tracing (jax.jit, vmap, grad, torch.compile, tf.function) no value is looked at: nothing is
    refused, and NaN becomes 0 or ``nan``.

    Parameters
    ----------
    x : array of any backend
        Left as it is.
    dtype : str or dtype of any library
        What the result has.
    scaling : {"clip", "unit", "exact", "minmax", "wrap"}
        How real numbers become integers. ``"clip"``: rounded to nearest even, saturated. ``"unit"``: [0, 1] to the full
        range of an unsigned type, where negative numbers from -1 on become 0; [-1, 1] to that of a signed one; beyond
        is an error. ``"exact"``: an error if any value would change.
        ``"minmax"``: least to lowest, greatest to highest, truncated; an image of one value saturates. ``"wrap"``:
        truncated, modulo the range. Integers are never stretched: they saturate (``"exact"``, ``"wrap"`` as said); to
        stretch them make them real numbers first, ``scale(scale(x, "float32"), dtype, scaling="minmax")``.
    nan : number, optional
        What stands in an integer result in place of NaN; None: NaN is an error that says where the first one is.

    Returns
    -------
    array of the same backend
        Same shape.

    Raises
    ------
    MemoryConversionError
        ``WOULD_CAST``, with the first value that has no place, its index, and what to pass instead.
    ValueError
        No such dtype or scaling, or ``x`` is no array.

    Warns
    -----
    DtypeWarning
        Finite numbers were too large for a smaller floating-point type; numbers were negative under ``"unit"`` into an
        unsigned type; or ``"minmax"`` was asked for integers.
    """
    return _scaled(x, None, _read_dtype(dtype), read_scaling(scaling), None if nan is None else read_nan(nan))


def _scaled(x: Any, home: str | None, goal: str, scaling: str, nan: float | None) -> Any:
    check_together(Policy(goal, scaling, nan))
    known = _look_at_array(x)
    if scaling == "minmax":
        tell_unstretched(known, goal)
    if known.traced or (not known.on_host and framework_cast.covers(known.backend)):
        made = framework_cast.change(x, known.backend, known.dtype, goal, scaling, nan, checked=not known.traced)
    else:
        made = native.scale(x, known.backend if home is None else home, goal, scaling, nan)
    if scaling == "unit" and DTYPES[known.dtype][0] == "f":
        tell_negative(known, goal, made[0], made[1])
    tell_overflow(known, goal, made[0], made[2])
    return made[0]


def _stretched(name: str, array: Any, dtype: object) -> Any:
    """``scale(array, dtype, scaling="minmax")`` as an array of the framework ``name``."""
    goal = _read_dtype(dtype)
    known = look_at(array)
    if known is not None and DTYPES[known.dtype][0] != "f":
        return _scaled(array, name, goal, "clip", None)
    return _scaled(array, name, goal, "minmax", None)


#: For each of the six frameworks a function ``(array, dtype)``: real numbers are stretched to the full range of an
#: integer dtype, ``(x - min) / (max - min)``, truncated; an image of one value and every other pair of dtypes saturate.
SCALING_FUNCTIONS: Mapping[str, Callable[[Any, object], Any]] = {
    name: partial(_stretched, name) for name in ("numpy", "cupy", "torch", "tensorflow", "jax", "pyclesperanto")
}
