# SPDX-License-Identifier: MIT
"""What the core says of a conversion, planned or done, in words: one table of flags, one way to print them."""

from __future__ import annotations

import sys

from .value import size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: Name of each flag, from bit 0 up (AB_REPORT_* of types.h).
FLAGS = (
    "shared",
    "copied",
    "blocked_host",
    "gradient_detached",
    "conj_resolved",
    "neg_resolved",
    "aliases_mutable",
    "cast",
    "host_fallback",
)

#: What there is to know where a flag is set.
_REMARKS = {
    "aliases_mutable": "the source stays writable: writing to it changes the result as well",
    "gradient_detached": "the result is detached: no gradient flows back to the source",
    "conj_resolved": "a lazy conjugate is computed",
    "neg_resolved": "a lazy negation is computed",
    "blocked_host": "the host waits for a device",
    "host_fallback": "there is no accelerator: the host is used in its place",
}

#: Their arrays are never to change, but nothing keeps others from writing to their memory; and who can write.
_IMMUTABLE = ("jax", "tensorflow")
_WRITES = ("torch", "cupy", "pyclesperanto")

_WIDE = ("int64", "uint64", "float64", "complex128")


def flags_of(bits: int) -> dict[str, bool]:
    """``bits`` as one truth value for each name."""
    return {name: bool(bits >> place & 1) for place, name in enumerate(FLAGS)}


def mechanism_of(steps: list[tuple[str, bool, int, str]]) -> str:
    """The ways that were taken, joined: ``"pivot+exchange"``."""
    return "+".join(way for way, refused, _, _ in steps if not refused)


# ---------------------------------------------------------------- notes


def _jax_cuts() -> bool:
    """Whether JAX's operations give 32 bits where 64 were asked for."""
    config = getattr(sys.modules.get("jax"), "config", None)
    return config is not None and not getattr(config, "jax_enable_x64", True)


def remarks_of(values: Mapping[str, Any], flags: Mapping[str, bool]) -> list[str]:
    """What there is to know of a conversion that works; ``values``: what the native module says of it."""
    remarks = [text for flag, text in _REMARKS.items() if flags[flag]]
    if flags["shared"] and values["source"] in _IMMUTABLE and values["target"] in _WRITES:
        remarks.append(f"writing to the result changes the array of {values['source']}, which is meant never to change")
    if values["target"] == "jax" and values["target_dtype"] in _WIDE and _jax_cuts():
        remarks.append("JAX's own operations cut to 32 bits unless jax_enable_x64 is on")
    return remarks


def notes_of(values: Mapping[str, Any], flags: Mapping[str, bool]) -> tuple[str, ...]:
    """What the steps taken had to say, then the remarks."""
    said = [reason for _, refused, _, reason in values["steps"] if reason and not refused]
    return tuple(dict.fromkeys([*said, *remarks_of(values, flags)]))


# ---------------------------------------------------------------- printing


def _end(name: str, device: str, dtype: str) -> str:
    # A device of type 0 is "several"; so is one that nobody has looked for.
    known = device and (device != "several" or dtype)
    return f"{name} ({device})" if known else name


def headline(one: Any, verdict: str) -> str:
    """The line that says from where to where, what, and ``verdict``; what is unknown is left out."""
    dtypes = dict.fromkeys(name for name in (one.source_dtype, one.target_dtype) if name)
    ends = " -> ".join((
        _end(one.source, one.source_device, one.source_dtype), _end(one.target, one.target_device, one.source_dtype),
    ))  # fmt: skip
    size = size_text(one.bytes) if one.source_dtype else ""
    return f"{', '.join(part for part in (ends, ' to '.join(dtypes), size) if part)}: {verdict}"


def verdict_of(one: Any) -> str:
    """What becomes of the memory."""
    if one.bytes_copied:
        return f"copies {size_text(one.bytes_copied)}"
    return "the same object" if one.mechanism == "same" else "shares memory" if one.shared else "copies nothing"


def row(label: str, way: str, text: str) -> str:
    """One line below the headline."""
    return f"  {label:8}{way:10}{text}".rstrip()


def note_rows(notes: tuple[str, ...]) -> list[str]:
    """One line for each note."""
    return [f"  {'note':8}{note}" for note in notes]


def duration(seconds: float | None) -> str:
    """``"312 ns"``, ``"4.2 µs"``, ``"13 ms"``: two or three digits; empty for None."""
    if seconds is None:
        return ""
    for unit, scale in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        value = seconds * scale
        if value < 999.5:
            return f"{value:.1f} {unit}" if value < 9.95 and unit != "ns" else f"{value:.0f} {unit}"
    return f"{seconds:.1f} s"
