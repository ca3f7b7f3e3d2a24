# SPDX-License-Identifier: MIT
"""Plans: what a conversion would do."""

from __future__ import annotations

from .report import FLAGS, flags_of, headline, mechanism_of, note_rows, notes_of, row, verdict_of
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
        what = f"copies {size_text(self.bytes)}" if self.copies else ""
        text = "; ".join(text for text in (what, self.reason) if text)
        return row("refused" if self.refused else "taken", self.way, text).strip()


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
    notes : tuple of str
        What there is to know of it, as in ConversionRecord; empty if it cannot be done.
    shared, copied, blocked_host, gradient_detached, conj_resolved, neg_resolved, aliases_mutable, cast : bool
        As in ConversionRecord.
    """

    __slots__ = (
        "source", "target", "source_device", "target_device", "source_dtype", "target_dtype", "possible", "status",
        "reason", "hint", "mechanism", "bytes", "bytes_copied", "steps", "notes", *FLAGS,
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
    notes: tuple[str, ...]
    shared: bool
    copied: bool
    blocked_host: bool
    gradient_detached: bool
    conj_resolved: bool
    neg_resolved: bool
    aliases_mutable: bool
    cast: bool

    def __init__(self, values: dict[str, Any]) -> None:
        flags = flags_of(values["flags"])
        possible = values["status"] == "OK"
        self._fill({
            **values, **flags,
            "possible": possible,
            "notes": notes_of(values, flags) if possible else (),
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
        return {**self._values(), "steps": [step.to_json() for step in self.steps], "notes": list(self.notes)}

    def _verdict(self) -> str:
        if not self.possible:
            return f"not possible: {self.reason}" + (f"; {self.hint}" if self.hint else "")
        return verdict_of(self)

    def __str__(self) -> str:
        told = {step.reason for step in self.steps}
        notes = tuple(note for note in self.notes if note not in told)
        return "\n".join([headline(self, self._verdict()), *(f"  {step}" for step in self.steps), *note_rows(notes)])

    __repr__ = __str__
