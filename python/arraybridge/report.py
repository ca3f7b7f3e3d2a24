# SPDX-License-Identifier: MIT
"""What the core's report flags mean: one table."""

from __future__ import annotations

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


def flags_of(bits: int) -> dict[str, bool]:
    """``bits`` as one truth value for each name."""
    return {name: bool(bits >> place & 1) for place, name in enumerate(FLAGS)}


def mechanism_of(steps: list[tuple[str, bool, int, str]]) -> str:
    """The ways that were taken, joined: ``"pivot+exchange"``."""
    return "+".join(way for way, refused, _, _ in steps if not refused)
