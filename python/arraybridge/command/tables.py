# SPDX-License-Identifier: MIT
"""How things look: consoles, tables, progress, numbers. The only file that imports rich."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import contextmanager
from typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TextIO

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

#: Where nobody looks there is no terminal's width to keep to.
WIDTH_WITHOUT_TERMINAL = 160

STYLES = {
    "ok": "green",
    "absent": "dim",
    "note": "yellow",
    "problem": "bold red",
    "shared": "green",
    "same": "green",
    "copied": "yellow",
    "impossible": "dim",
    "failed": "bold red",
    "died": "bold red",
}


class _Trimmed:
    """Standard output without the spaces that rich puts at the ends of lines."""

    def write(self, text: str) -> int:
        """Write ``text``, which holds whole lines."""
        return sys.stdout.write(re.sub(r" +(?=\n)", "", text))

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()


def console() -> Console:
    """Standard output: colours and the terminal's width on a terminal, else plain and wide."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, emoji=False, markup=False)
    return Console(
        file=cast("TextIO", _Trimmed()),
        width=WIDTH_WITHOUT_TERMINAL,
        color_system=None,
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
    )


def table(*columns: str, right: tuple[str, ...] = (), keep: tuple[str, ...] = ()) -> Table:
    """An empty table. Nothing in it is cut off: long cells are folded.

    Parameters
    ----------
    columns : str
        Headings.
    right : tuple of str
        Columns set to the right: numbers.
    keep : tuple of str
        Columns that are never folded.
    """
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
    for column in columns:
        side = "right" if column in right else "left"
        made.add_column(column, justify=side, overflow="fold", no_wrap=column in keep)  # type: ignore[arg-type]
    return made


def marked(word: str, text: str | None = None) -> Text:
    """``text`` (or the word itself) in the colour that belongs to ``word``."""
    from rich.text import Text

    return Text(word if text is None else text, style=STYLES.get(word, ""))


def heading(to: Console, text: str) -> None:
    """An empty line, then a heading."""
    from rich.text import Text

    to.print()
    to.print(Text(text, style="bold"))


def lines(to: Console, rows: list[tuple[Any, str]], indent: int = 2) -> None:
    """Print rows of a label and a text; texts are folded beside their label, never below it."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for label, text in rows:
        grid.add_row(label, text)
    from rich.padding import Padding

    to.print(Padding(grid, (0, 0, 0, indent)))


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    print(json.dumps(value, indent=2))


@contextmanager
def progress(text: str, total: int | None = None) -> Iterator[Callable[[str, int], None]]:
    """Show progress on a terminal's standard error, and nothing elsewhere.

    Gives a function to be called with what is being done and how much of ``total`` is done.
    """
    if not sys.stderr.isatty():
        yield lambda doing, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    bar: tuple[Any, ...] = (BarColumn(bar_width=20),) if total is not None else ()
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *bar,
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
    with shown:
        task = shown.add_task(text, total=total)
        yield lambda doing, done: shown.update(task, description=f"{text}: {doing}", completed=done)


def short_path(path: str) -> str:
    """``path``, with the user's home folder as ``~``."""
    home = os.path.expanduser("~").rstrip("/")
    return f"~{path[len(home) :]}" if len(home) > 1 and path.startswith(f"{home}/") else path


def common_folder(paths: list[str]) -> str:
    """The folder that all files lie in, if it is one; else empty."""
    folders = {os.path.dirname(path) for path in paths}
    return folders.pop() if len(folders) == 1 else ""


def shape_text(shape: list[int] | tuple[int, ...]) -> str:
    """``"3×512×512"``; ``"0-d"`` without axes."""
    return "×".join(str(length) for length in shape) or "0-d"
