"""What a case is: a small function in the form of an older release, and what this package must give for it.

A case returns anything; ``plain`` makes JSON of it that says framework, dtype, shape and values. What it raises is its
result as well: ``{"raises": "ValueError"}``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One case."""

    name: str
    function: Callable[[], Any]
    expect: Any
    needs: tuple[str, ...]
    differs: str
    about: str


class Cases(dict[str, Case]):
    """The cases of one file, by name."""

    def __call__(
        self, expect: Any, *, needs: str = "", differs: str = ""
    ) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
        """Add a case.

        ``expect``: the result here. ``needs``: frameworks beside NumPy, or "gpu". ``differs``: the heading on the page
        "Coming from arraybridge 0.2-0.5" that says why it is not what the older release gives.
        """

        def add(function: Callable[[], Any]) -> Callable[[], Any]:
            name = function.__name__.replace("_", " ")
            about = ": ".join(text for text in (name, " ".join((function.__doc__ or "").split()).rstrip(".")) if text)
            assert function.__name__ not in self, function.__name__
            self[function.__name__] = Case(
                function.__name__, function, plain(expect), tuple(needs.split()), differs, about
            )
            return function

        return add


def raises(name: str) -> dict[str, str]:
    """The result of a case that ends with this exception."""
    return {"raises": name}


def array(framework: str, dtype: str, values: Any) -> dict[str, Any]:
    """The result of a case that gives this array."""
    return {"framework": framework, "dtype": dtype, "values": values}


# ---------------------------------------------------------------- results as JSON


def _numbers(value: Any) -> Any:
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value


def _of_array(value: Any) -> Any:
    top = type(value).__module__.partition(".")[0]
    if top == "numpy" and hasattr(value, "tolist"):
        if not value.shape:  # a scalar, or an array without axes
            return _numbers(value.tolist())
        dtype = value.dtype.name
        if "bfloat" in dtype or "float8" in dtype:
            value = value.astype("float32")
        return array("numpy", dtype, _numbers(value.tolist()))
    if top == "torch" and hasattr(value, "detach"):
        dtype = str(value.dtype).rpartition(".")[2]
        return array("torch", dtype, _numbers(value.detach().resolve_conj().cpu().tolist()))
    if top in ("jax", "jaxlib") and hasattr(value, "dtype"):
        import numpy

        return array("jax", value.dtype.name, _numbers(numpy.asarray(value).tolist()))
    if top == "tensorflow" and hasattr(value, "numpy"):
        return array("tensorflow", value.dtype.name, _numbers(value.numpy().tolist()))
    if "pyclesperanto" in top and hasattr(value, "get"):
        found = value.get()
        return array("pyclesperanto", found.dtype.name, _numbers(found.tolist()))
    return None


def plain(value: Any) -> Any:
    """``value`` as JSON."""
    if isinstance(value, Enum):
        return str(value)
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(one) for one in value), key=str)
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    found = _of_array(value)
    return f"<{type(value).__name__}>" if found is None else found


def result_of(case: Case) -> Any:
    """Run a case here."""
    missing = [name for name in case.needs if not _installed(name)]
    if missing:
        return {"missing": missing}
    try:
        return plain(case.function())
    except Exception as error:
        return raises(type(error).__name__) | {"text": str(error)[:300]}


def same(result: Any, expect: Any) -> bool:
    """Whether a result is as expected; texts of exceptions are not compared."""
    if isinstance(result, dict) and "raises" in result:
        return isinstance(expect, dict) and result["raises"] == expect.get("raises")
    return bool(result == expect)


def _installed(name: str) -> bool:
    from importlib.util import find_spec

    if name == "gpu":
        import torch

        return torch.cuda.is_available()
    return name in sys.modules or find_spec(name) is not None


def place() -> Any:
    """The host, as the release that runs wants it said: a Device, or an accelerator's number."""
    try:
        from arraybridge import HOST
    except ImportError:
        return 0
    return HOST
