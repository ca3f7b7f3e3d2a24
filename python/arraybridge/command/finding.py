# SPDX-License-Identifier: MIT
"""What ``doctor`` finds."""

from __future__ import annotations

from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Severity = Literal["ok", "absent", "note", "problem"]


class Finding(NamedTuple):
    """One thing that was looked at.

    Attributes
    ----------
    section : str
        ``"plugins"``, ``"frameworks"``, ``"clashes"``, ``"environment"``, ``"library"``.
    severity : str
        ``"ok"``; ``"absent"``: not there, and nothing else needs it; ``"note"``: works, but good to know;
        ``"problem"``: something does not work.
    subject : str
        A file, a framework, a variable.
    text : str
        What was found.
    advice : str
        What to do; may be empty.
    """

    section: str
    severity: Severity
    subject: str
    text: str
    advice: str = ""
