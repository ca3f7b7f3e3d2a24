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
    from typing import Any

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
        from .errors import MemoryConversionError

        raise MemoryConversionError(
            name, name, "stack", f"arrays of {name} on an accelerator cannot be stacked there",
            'convert each to "numpy" first, and stack those',
        )  # fmt: skip
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
    return pieces if pieces is not None else flat(array, ROWS.get(name, rows_any), leading)
