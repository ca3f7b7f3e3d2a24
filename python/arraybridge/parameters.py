# SPDX-License-Identifier: MIT
"""What the parameters of a function tell its decorator."""

from __future__ import annotations

from inspect import Parameter, Signature, signature
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

#: The keywords that each call of a decorated function may say.
CONTROLS = ("slice_by_slice", "dtype_conversion", "dtype_config")

_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Shape(NamedTuple):
    """What the parameters of a function tell."""

    signature: Signature | None
    parameters: tuple[str, ...]
    bound: bool
    own: frozenset[str]
    in_class: bool  # and not known to be bound: a static method, or one that calls its object something else


def shape_of(function: Callable[..., Any]) -> Shape:
    """Read the parameters.

    ``self`` and ``cls`` in first place are known by their names: nothing else tells a method from a function while the
    class is being made.
    """
    try:
        found = signature(function)
    except (TypeError, ValueError):  # some built-ins have none
        return Shape(None, (), False, frozenset(), False)
    names = tuple(found.parameters)
    bound = bool(names) and names[0] in ("self", "cls") and found.parameters[names[0]].kind in _POSITIONAL
    place = getattr(function, "__qualname__", "").rpartition(".")[0]
    in_class = not bound and place != "" and not place.endswith("<locals>")
    return Shape(found, names, bound, frozenset(names) & set(CONTROLS), in_class)


def argument_names(shape: Shape, count: int) -> list[str]:
    """What the first ``count`` positional arguments are called."""
    parameters = shape.signature.parameters.values() if shape.signature is not None else ()
    names = [one.name for one in parameters if one.kind in _POSITIONAL][:count]
    rest = next((one.name for one in parameters if one.kind is Parameter.VAR_POSITIONAL), "args")
    return [*names, *(f"{rest}[{place}]" for place in range(count - len(names)))]


def chosen_of(convert: object, shape: Shape, name: str) -> tuple[int, frozenset[str]]:
    """The places and names of the arguments that are converted."""
    if convert is False:
        return 0, frozenset()
    names = (convert,) if isinstance(convert, str) else convert
    try:
        wanted = frozenset(names)  # type: ignore[call-overload]
    except TypeError:
        raise TypeError(f"convert must be True, False or names of parameters, not {convert!r}") from None
    parameters = shape.signature.parameters if shape.signature is not None else {}
    open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in parameters.values())
    unknown = [one for one in wanted if one not in parameters]
    if unknown and not open_ended:
        raise ValueError(f"{name}() has no parameter {unknown[0]!r}; there are {', '.join(parameters) or 'none'}")
    places = 0
    for place, one in enumerate(parameters.values()):
        if one.name in wanted and one.kind in _POSITIONAL:
            places |= 1 << min(place, 63)
        if one.name in wanted and one.kind is Parameter.VAR_POSITIONAL:
            places |= -1 << min(place, 63) & (1 << 64) - 1
    return places, wanted


def with_controls(found: Signature, sliced: bool, config: object, own: frozenset[str]) -> Signature:
    """The signature with the keywords that each call may say; ``sliced``, ``config``: their defaults."""
    defaults = {"slice_by_slice": (sliced, bool), "dtype_conversion": (None, object),
                "dtype_config": (config, object)}  # fmt: skip
    parameters = list(found.parameters.values())
    at = len(parameters) - (1 if parameters and parameters[-1].kind is Parameter.VAR_KEYWORD else 0)
    parameters[at:at] = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (default, kind) in defaults.items()
        if name not in own
    ]
    return found.replace(parameters=parameters)
