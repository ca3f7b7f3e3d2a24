# SPDX-License-Identifier: MIT
"""Plans: what a conversion would do."""

from __future__ import annotations

from .report import FLAGS, flags_of, mechanism_of
from .value import Value, size_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Step(Value):
    """One way that was considered.

    Attributes
    ----------
    way : str
        ``"same"``, ``"exchange"``, ``"wrap"``, ``"map"``, ``"pivot"``, ``"to_host"``, ``"from_host"``.
    refused : bool
        Considered and not taken; ``reason`` says why.
    copies : bool
        Whether it copies elements.
    bytes : int
        How many bytes it copies.
    reason : str
        One line; may be empty for a step that is taken.
    """

    __slots__ = ("way", "refused", "copies", "bytes", "reason")

    way: str
    refused: bool
    copies: bool
    bytes: int
    reason: str

    def __init__(self, way: str, refused: bool, bytes: int, reason: str) -> None:
        self._fill({"way": way, "refused": refused, "copies": bytes > 0, "bytes": bytes, "reason": reason})

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return self._values()

    def __str__(self) -> str:
        verdict = "refused" if self.refused else "taken"
        what = f"copies {size_text(self.bytes)}" if self.copies else ""
        return f"{verdict:8}{self.way:10}{'; '.join(text for text in (what, self.reason) if text)}".rstrip()


class Plan(Value):
    """What ``convert`` would do with the same arguments.

    Attributes
    ----------
    source, target, source_device, target_device, source_dtype, target_dtype : str
        As in ConversionRecord.
    possible : bool
        Whether the conversion can be done at all.
    status, reason, hint : str
        If it cannot: the core's name of the reason, what is in the way, and what to do.
    mechanism : str
        The steps that would be taken, joined.
    bytes, bytes_copied : int
        Size of the elements, and how many bytes would be copied.
    steps : tuple of Step
        Every way considered: those refused first, then those taken.
    shared, copied, blocked_host, gradient_detached, conj_resolved, neg_resolved, aliases_mutable, cast : bool
        As in ConversionRecord.
    """

    __slots__ = (
        "source", "target", "source_device", "target_device", "source_dtype", "target_dtype", "possible", "status",
        "reason", "hint", "mechanism", "bytes", "bytes_copied", "steps", *FLAGS,
    )  # fmt: skip

    source: str
    target: str
    source_device: str
    target_device: str
    source_dtype: str
    target_dtype: str
    possible: bool
    status: str
    reason: str
    hint: str
    mechanism: str
    bytes: int
    bytes_copied: int
    steps: tuple[Step, ...]
    shared: bool
    copied: bool
    blocked_host: bool
    gradient_detached: bool
    conj_resolved: bool
    neg_resolved: bool
    aliases_mutable: bool
    cast: bool

    def __init__(self, values: dict[str, Any]) -> None:
        self._fill({
            **values, **flags_of(values["flags"]),
            "possible": values["status"] == "OK",
            "mechanism": mechanism_of(values["steps"]),
            "steps": tuple(Step(*step) for step in values["steps"]),
        })  # fmt: skip

    @property
    def taken(self) -> tuple[Step, ...]:
        """The steps that would be done, in order."""
        return tuple(step for step in self.steps if not step.refused)

    @property
    def declined(self) -> tuple[tuple[str, str], ...]:
        """The ways that were refused, each with its reason."""
        return tuple((step.way, step.reason) for step in self.steps if step.refused)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``."""
        return {**self._values(), "steps": [step.to_json() for step in self.steps]}

    def _verdict(self) -> str:
        if not self.possible:
            return f"not possible: {self.reason}" + (f"; {self.hint}" if self.hint else "")
        if self.bytes_copied:
            return f"copies {size_text(self.bytes_copied)}"
        return "the same object" if self.mechanism == "same" else "shares memory" if self.shared else "copies nothing"

    def __str__(self) -> str:
        dtypes = dict.fromkeys(name for name in (self.source_dtype, self.target_dtype) if name)
        head = (
            f"{self.source} ({self.source_device}) -> {self.target} ({self.target_device}), "
            f"{' to '.join(dtypes)}, {size_text(self.bytes)}: {self._verdict()}"
        )
        return "\n".join([head, *(f"  {step}" for step in self.steps)])

    __repr__ = __str__
