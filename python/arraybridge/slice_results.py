# SPDX-License-Identifier: MIT
"""What a function has given for each slice, as one result."""

from __future__ import annotations

from .calls import detect_memory_type
from .framework_slices import is_array, refuse_mask, shape_of, split, stack_into, tensorflow_stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Join = Callable[[list[Any]], Any]
    Leading = tuple[int, ...] | None


def joined(results: list[Any], join: Join) -> Any:
    """The results of all slices as one, by what the first one is."""
    first = results[0]
    if isinstance(first, tuple):
        return _joined_tuples(results, join)
    if isinstance(first, dict):
        return _joined_dicts(results, join)
    if first is None and all(one is None for one in results):
        return None
    return join(results) if is_array(first) else list(results)


def _joined_tuples(results: list[tuple[Any, ...]], join: Join) -> tuple[Any, ...]:
    rest = [list(values) for values in zip(*(one[1:] for one in results), strict=True)]
    whole = (joined([one[0] for one in results], join), *rest)
    make = getattr(type(results[0]), "_make", None)
    rebuilt: tuple[Any, ...] = make(whole) if make is not None else whole
    return rebuilt


def _joined_dicts(results: list[dict[Any, Any]], join: Join) -> dict[Any, Any]:
    for index, one in enumerate(results):
        if one.keys() != results[0].keys():
            raise ValueError(f"slice {index} gave a dict with the keys {list(one)}, slice 0 {list(results[0])}")
    return {key: joined([one[key] for one in results], join) for key in results[0]}


def check_kind(result: object, first: object, index: int) -> None:
    """Tuples go with tuples, dicts with dicts, and masks nowhere; told at once, not after the last slice."""
    refuse_mask(result, "numpy", index)
    for kind in (tuple, dict):
        if isinstance(result, kind) is not isinstance(first, kind):
            raise TypeError(
                f"results of slices cannot be mixed, {kind.__name__} and not: slice {index} gave "
                f"{type(result).__name__}, slice 0 gave {type(first).__name__}"
            )
    if (result is None) is not (first is None):
        raise TypeError(f"results of slices cannot be mixed: only one of slice {index} and slice 0 gave None")
    if isinstance(result, tuple) and isinstance(first, tuple) and len(result) != len(first):
        raise ValueError(
            f"results of slices must be tuples of one length: slice {index} gave {len(result)} values, "
            f"slice 0 gave {len(first)}"
        )
    if isinstance(result, tuple) and not result:
        raise ValueError(f"slice {index} gave an empty tuple: its first element is the image")


def joined_traced(results: list[Any], join: Join) -> Any:
    first = results[0]
    if isinstance(first, tuple):
        rest = [[one[place] for one in results] for place in range(1, len(first))]
        return (joined_traced([one[0] for one in results], join), *rest)
    if isinstance(first, dict):
        return {key: joined_traced([one[key] for one in results], join) for key in first}
    return join(results) if hasattr(first, "unbind") else None if first is None else results


def _parts_of(result: Any, size: int, batch: int) -> Iterable[Any]:
    shape = shape_of(result)
    if not shape or shape[0] != size:
        raise ValueError(f"batch {batch} had {size} slices; the function gave back an array of the shape {shape}")
    return split(result, detect_memory_type(result), 1, len(shape) - 1)


class Joiner:
    """Puts the results of slices together: in their own framework, or where the caller wants them."""

    def __init__(self, output: str, leading: tuple[int, ...]) -> None:
        self._output = output
        self._leading = leading if len(leading) > 1 else None
        self.sizes: list[int] | None = None  # of batches
        self.on_host = False  # there is no room elsewhere

    def __call__(self, results: list[Any]) -> Any:
        if self.sizes is None:
            return self._stack(results, self._leading)
        parts: list[Any] = []
        for batch, (result, size) in enumerate(zip(results, self.sizes, strict=True)):
            parts.extend(_parts_of(result, size, batch))
        return self._stack(parts, None)

    def _stack(self, results: list[Any], leading: Leading) -> Any:
        name = self._output or detect_memory_type(results[0])
        if name == "tensorflow":
            stacked = tensorflow_stack(results, leading)
            if stacked is not None:
                return stacked
        return stack_into(results, name, leading, None, {"device": "cpu"} if self.on_host else {})
