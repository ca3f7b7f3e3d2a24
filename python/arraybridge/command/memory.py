# SPDX-License-Identifier: MIT
"""``arraybridge memory``: what each framework takes when it starts, and what can be known of its memory."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from .children import Outcome

SUMMARY = "show what can be known of each framework's memory, by device"
EXAMPLES = """\
  arraybridge memory
  arraybridge memory torch cupy --clear  clear their caches first: what comes back
  arraybridge memory --json

Each framework is started in a process of its own: figures are those of a process that has just started it. In your own
process arraybridge.memory_report() says who holds what.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help="which ones (default: all that are installed)")
    parser.add_argument("--clear", action="store_true", help="clear the caches first, and show what comes back")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds that a framework may take (default: 60)"
    )


def _names(asked: list[str]) -> list[str]:
    import arraybridge

    from .refusal import unknown

    installed = {backend.name: backend.installed for backend in arraybridge.backends()}
    for name in asked:
        if name not in installed:
            raise unknown("backend", name, list(installed))
    return asked or [name for name, there in installed.items() if there]


def _found(name: str, outcome: Outcome) -> dict[str, Any]:
    """The rows of one framework and of its process, and what went wrong."""
    answer = outcome.answers[-1] if outcome.answers else {}
    if "holdings" in answer:
        rows = [row for row in answer["holdings"] if row["backend"] in (name, "process")]
        return {"backend": name, "holdings": rows, "problem": outcome.how}
    error = answer.get("error")
    problem = f"{error['reason']}; {error['hint']}".rstrip("; ") if error else outcome.how
    return {"backend": name, "holdings": [], "problem": problem}


def gather(asked: list[str], clear: bool, patience: float) -> list[dict[str, Any]]:
    """Everything that ``memory`` shows, in the form of ``--json``."""
    from . import children, tables

    names = _names(asked)
    with tables.progress("asking for memory", len(names)) as show:
        done: list[str] = []

        def heed(name: str) -> None:
            done.append(name)
            show(", ".join(one for one in names if one not in done), len(done))

        outcomes = children.run_each(
            "memory", {name: {"name": name, "clear": clear} for name in names}, patience, heed
        )
    return [_found(name, outcomes[name]) for name in names]


def _show(found: list[dict[str, Any]], clear: bool) -> None:
    from ..holdings import MemoryHolding
    from . import tables

    out = tables.console()
    figures = ["in_use", "cached", *(["returned"] if clear else []), "limit"]
    titles = {"in_use": "In use", "cached": "Cached", "returned": "Returned", "limit": "Limit"}
    shown = tables.table("Backend", "Of", "Device", *(titles[name] for name in figures), "Remarks", keep=("Backend",))
    for one in found:
        label = one["backend"]
        for row in map(MemoryHolding, one["holdings"]):
            of = "its process" if row.backend == "process" else "its arrays"
            cells = [tables.marked("" if getattr(row, name) is not None else "note", row.figure_text(name))
                     for name in figures]  # fmt: skip
            shown.add_row(label, of, row.device or "all", *cells, row.why)
            label = ""
        if one["problem"]:
            shown.add_row(label, *[""] * (len(figures) + 2), tables.marked("problem", one["problem"]))
    out.print(shown)


def run(options: argparse.Namespace) -> int:
    """Print who takes what. Exit code 1 if a framework that was asked for by name does not start."""
    from . import tables

    found = gather(options.backends, options.clear, options.timeout)
    if options.json:
        tables.print_json(found)
    else:
        _show(found, options.clear)
    return 1 if options.backends and any(one["problem"] for one in found) else 0
