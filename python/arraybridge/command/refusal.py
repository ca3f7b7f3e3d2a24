# SPDX-License-Identifier: MIT
"""What a subcommand raises when it cannot go on."""

from __future__ import annotations

from ..advice import BACKENDS_CALLED, question_of, similar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class Refusal(Exception):
    """Shown as one line and its hint, without a traceback.

    Parameters
    ----------
    reason : str
        What is wrong, with which value.
    hint : str
        What to do about it; may be empty.
    exit_code : int
        1: it was asked rightly, and the answer is no. 2: wrong usage.
    """

    def __init__(self, reason: str, hint: str = "", exit_code: int = 2) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint
        self.exit_code = exit_code


def unknown(what: str, wrong: str, names: Sequence[str], hint: str = "") -> Refusal:
    """The refusal of a name that does not exist: it lists those that do."""
    meant = question_of(similar(wrong, names, BACKENDS_CALLED))
    return Refusal(f'there is no {what} "{wrong}"{meant}', hint or f"there is {', '.join(names) or 'none'}")
