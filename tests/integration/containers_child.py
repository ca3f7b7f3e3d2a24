"""Cases about containers that may end their process; each is called in a child by test_containers.py."""

from __future__ import annotations

import ctypes
import gc
import sys
import types
import weakref
from typing import Any

import arraybridge
import numpy as np


class Sub(np.ndarray):
    """No framework's own type: every recogniser is asked."""


class Other:
    """No array either."""


def an_array_taken_out_while_looking(kind: str) -> str:
    """A lazily imported module runs Python when the recognisers look into it; here that empties the container."""
    holder: Any = None

    class Lazy(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            if not name.startswith("__"):
                holder.clear()
                gc.collect()
            raise AttributeError(name)

    @arraybridge.torch
    def answer(container: Any, other: Any = None) -> str:
        return "done"

    answer(np.ones(3))
    sys.modules["cupy"] = Lazy("cupy")
    for _ in range(300):
        many = np.full(1000, 7.0).view(Sub)
        holder = [many] if kind == "list" else {"image": many}
        del many
        answer(holder, Other())
    del sys.modules["cupy"]
    return "done"


def a_call_of_what_the_collector_has_cleared() -> list[str]:
    """An array, which the collector does not see, dies with a cycle; what is told of that calls the function in it."""
    said: list[str] = []
    watching: list[Any] = []

    def make() -> None:
        @arraybridge.numpy
        def function(image: Any) -> Any:
            return function, image

        native = next(cell.cell_contents.__self__ for cell in function.__closure__)  # type: ignore[attr-defined]
        address = id(native)

        def ask(gone: Any) -> None:
            native = ctypes.cast(address, ctypes.py_object).value
            for call, given in (
                (native.call, ((1,), {})), (native.begin, ((1,), {})), (native.finish, (1, None)), (native.take, (1,)),
            ):  # fmt: skip
                try:
                    call(*given)
                except RuntimeError as error:
                    said.append(str(error))

        image = np.ones(3)
        watching.append(weakref.ref(image, ask))
        last: list[Any] = [image, native]
        last.append(last)
        after: list[Any] = [native]
        after.append(after)

    gc.collect()
    make()
    gc.collect()
    return said


def ends_in_time(shape: str) -> str:
    """Containers that hold each other: each is gone through once."""

    @arraybridge.torch(output_type="numpy")
    def identity(image: Any, other: Any = None) -> Any:
        return image if other is None else other

    held: Any = np.ones((2, 2), np.float32)
    if shape == "shared":
        for _ in range(64):
            held = [held, held]
    else:
        nodes: list[dict[str, Any]] = [{} for _ in range(16)]
        for node in nodes:
            node["others"] = [other for other in nodes if other is not node]
            node["image"] = held
        held = nodes[0]
    result = identity(np.ones((2, 2), np.float32), held)
    while not isinstance(result, np.ndarray):
        result = result[0] if isinstance(result, list) else result["image"]
    return str(result.dtype)
