# SPDX-License-Identifier: MIT
"""How each framework stacks arrays and takes them apart itself, and when that is the better way."""

from __future__ import annotations

import sys
from importlib import import_module

from ._library import native
from .calls import convert, detect_memory_type

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, NoReturn

    from .errors import MemoryConversionError

    Leading = tuple[int, ...] | None


def is_array(value: object) -> bool:
    try:
        detect_memory_type(value)
    except ValueError:
        return False
    return True


def shape_of(array: Any) -> tuple[int, ...]:
    shape = getattr(array, "shape", None)
    if shape is None:
        from .calls import describe

        return tuple(describe(array).shape)
    return tuple(shape)


# ---------------------------------------------------------------- what cannot be done


def _refusal(
    array: object, target: str, method: str, otherwise: tuple[str, str], where: str = ""
) -> MemoryConversionError:
    """Why nothing can be done with ``array``: its plugin knows, if it cannot be converted. Else ``otherwise``."""
    from .calls import describe
    from .errors import MemoryConversionError

    what = describe(array)
    reason, _, hint = what.why_not.partition("; ") if not what.convertible else ("", "", "")
    if not reason:
        reason, hint = otherwise
    return MemoryConversionError(what.backend, target, method, where + reason, hint)


def refuse_mask(one: object, target: str, index: int) -> None:
    """Refuse a masked array, of which NumPy's ``stack`` loses the mask. What else cannot be converted it can stack."""
    masked = getattr(sys.modules.get("numpy.ma"), "MaskedArray", None)
    if masked is not None and isinstance(one, masked):
        otherwise = ("a masked array's mask would be lost", "pass x.filled(value) or x.data")
        raise _refusal(one, target, "stack", otherwise, f"slice {index}: ")


def _refuse_foreign(slices: Sequence[Any], name: str) -> NoReturn:
    """No ``stack`` of that framework is known here, and the core has left the slices to it: one of them is why."""
    from .calls import describe

    index = next((index for index, one in enumerate(slices) if not describe(one).convertible), 0)
    otherwise = (
        f"arrays of {name} on an accelerator cannot be stacked there",
        'convert each to "numpy" first, and stack those',
    )
    raise _refusal(slices[index], name, "stack", otherwise, f"slice {index}: ")


# ---------------------------------------------------------------- stacking

#: Where a framework has its ``stack``, for what only it can stack: traced values, autograd, memory of an accelerator.
_NAMESPACES = {"numpy": "numpy", "cupy": "cupy", "torch": "torch", "tensorflow": "tensorflow", "jax": "jax.numpy"}


class _Wide:
    """JAX's 64-bit scope: without it jnp.stack() would narrow int64 and float64 in silence."""

    def __init__(self, name: str, slices: Sequence[Any]) -> None:
        self._scope: Any = None
        if name != "jax":
            return
        jax = import_module("jax")
        if not any(isinstance(one, jax.core.Tracer) for one in slices):
            self._scope = jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64()

    def __enter__(self) -> None:
        if self._scope is not None:
            self._scope.__enter__()

    def __exit__(self, *raised: object) -> None:
        if self._scope is not None:
            self._scope.__exit__(*raised)


def _check_shapes(slices: Sequence[Any], slice_ndim: int | None) -> None:
    shapes = [shape_of(one) for one in slices]
    for index, shape in enumerate(shapes):
        if slice_ndim is not None and len(shape) != slice_ndim:
            raise ValueError(
                f"slice {index} is not a {slice_ndim}D array, it has {len(shape)} axes; "
                f"pass slice_ndim={len(shape)} if that is meant"
            )
        if shape != shapes[0]:
            raise ValueError(f"slice {index} has the shape {shape}, slice 0 has {shapes[0]}")


def framework_stack(
    slices: Sequence[Any], name: str, leading: Leading, slice_ndim: int | None, keywords: Mapping[str, Any]
) -> Any:
    """``stack`` of the target's own, on the device where the slices are."""
    if name not in _NAMESPACES:
        _refuse_foreign(slices, name)
    for index, one in enumerate(slices) if name == "numpy" else ():
        refuse_mask(one, name, index)
    here = [convert(one, name, **keywords) for one in slices]
    _check_shapes(here, slice_ndim)
    space = import_module(_NAMESPACES[name])
    with _Wide(name, here):
        stacked = space.stack(here)
        return space.reshape(stacked, (*leading, *shape_of(here[0]))) if leading is not None else stacked


def tensorflow_stack(slices: Sequence[Any], leading: Leading) -> Any:
    """TensorFlow does not say that a tape watches a tensor, but its own op keeps the gradient. None: not here."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not all(isinstance(one, tensorflow.Tensor) for one in slices):
        return None
    if len({one.dtype for one in slices}) > 1:
        return None  # tf.stack() would refuse; the core promotes
    try:
        return framework_stack(slices, "tensorflow", leading, None, {})
    except tensorflow.errors.OpError:
        return None  # a dtype without that op


def stack_into(
    slices: Sequence[Any], name: str, leading: Leading, slice_ndim: int | None, keywords: Mapping[str, Any]
) -> Any:
    made = native.stack(slices, name, leading, slice_ndim, **keywords)
    return made if made is not None else framework_stack(slices, name, leading, slice_ndim, keywords)


# ---------------------------------------------------------------- taking apart


def _rows_numpy(array: Any) -> list[Any]:
    if array.ndim == 1:  # its items are NumPy scalars, and these are no arrays
        return [array[index, ...] for index in range(len(array))]
    return list(array)


def _rows_torch(array: Any) -> list[Any]:
    return list(array.unbind(0))


def _rows_tensorflow(array: Any) -> list[Any]:
    rows: list[Any] = sys.modules["tensorflow"].unstack(array)
    return rows


def _rows_jax(array: Any) -> list[Any]:
    with _Wide("jax", (array,)):
        return list(import_module("jax.numpy").unstack(array))


def rows_any(array: Any) -> list[Any]:
    return [array[index] for index in range(shape_of(array)[0])]


#: How a framework itself takes an array apart: views, except in JAX, and in TensorFlow unless a slice is aligned.
ROWS: dict[str, Callable[[Any], list[Any]]] = {
    "numpy": _rows_numpy,
    "cupy": rows_any,
    "torch": _rows_torch,
    "tensorflow": _rows_tensorflow,
    "jax": _rows_jax,
}

#: The frameworks whose own views are the cheapest slices there are.
HAVE_VIEWS = frozenset({"numpy", "cupy", "torch", "tensorflow"})


def flat(array: Any, rows: Callable[[Any], list[Any]], leading: int) -> list[Any]:
    pieces = rows(array)
    for _ in range(leading - 1):
        pieces = [row for piece in pieces for row in rows(piece)]
    return pieces


def split(array: Any, name: str, leading: int, slice_ndim: int) -> Iterable[Any]:
    """The slices of an array in its own framework."""
    if name == "pyclesperanto":  # no views there: one copy at a time, so that they need not all exist at once
        return (array[index] for index in range(shape_of(array)[0]))
    if name == "tensorflow":
        try:
            return flat(array, _rows_tensorflow, leading)
        except sys.modules["tensorflow"].errors.OpError:
            pass  # a dtype without that op
    elif name in HAVE_VIEWS:
        return flat(array, ROWS[name], leading)
    pieces: list[Any] | None = native.unstack(array, name, slice_ndim)
    if pieces is not None:
        return pieces
    if name not in ROWS and not has_items(array):
        raise _refusal(array, name, "unstack", (f"arrays of {name} there have no x[i] to take slices with", ""))
    return flat(array, ROWS.get(name, rows_any), leading)


def has_items(array: object) -> bool:
    """Whether an array's own class gives parts of it."""
    return hasattr(type(array), "__getitem__")


def cutter(array: Any, name: str) -> Callable[[slice], Any]:
    """What gives parts of the first axis: the array itself; else the core, by stacking slices again."""
    if has_items(array):
        cut: Callable[[slice], Any] = array.__getitem__
        return cut
    pieces = list(split(array, name, 1, len(shape_of(array)) - 1))
    return lambda at: stack_into(pieces[at], name, None, None, {})
