# SPDX-License-Identifier: MIT
"""The picture of a trace: frameworks on a circle, arrows as wide as what went along them."""

from __future__ import annotations

from math import cos, log2, pi, sin

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import Any

    from .tracing import Arrow, Node

_COPIED, _SHARED = "#c0392b", "#2471a3"


def _places(arrows: list[Arrow]) -> dict[Node, tuple[float, float]]:
    nodes = list(dict.fromkeys(node for arrow in arrows for node in (arrow.source, arrow.target)))
    turn = 2 * pi / max(len(nodes), 1)
    return {node: (cos(pi - turn * at), sin(pi - turn * at)) for at, node in enumerate(nodes)}


def _width(nbytes: int) -> float:
    """From 1 to some 8 points: one for each factor of 16 above a kilobyte."""
    return 1 + max(log2(max(nbytes, 1)) - 10, 0) / 4


def _line(axes: Any, places: dict[Node, tuple[float, float]], number: int, arrow: Arrow) -> None:
    from matplotlib.patches import FancyArrowPatch

    colour = _COPIED if arrow.bytes_copied else _SHARED
    (x0, y0), (x1, y1) = places[arrow.source], places[arrow.target]
    if arrow.source == arrow.target:
        axes.annotate(f"{number}", (x0, y0 + 0.16), color=colour, ha="center", weight="bold")
        return
    axes.add_patch(FancyArrowPatch(
        (x0, y0), (x1, y1), connectionstyle="arc3,rad=0.18", arrowstyle="-|>",
        mutation_scale=10 + 3 * _width(arrow.nbytes),
        linewidth=_width(arrow.nbytes), color=colour, alpha=0.85, shrinkA=34, shrinkB=34,
    ))  # fmt: skip
    # A third of the way along, on the side that the arrow bends to.
    x, y = x0 + (x1 - x0) * 0.42 + (y1 - y0) * 0.1, y0 + (y1 - y0) * 0.42 - (x1 - x0) * 0.1
    box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": colour}
    axes.text(x, y, f"{number}", color=colour, ha="center", va="center", weight="bold", fontsize=9, bbox=box)


def draw(arrows: list[Arrow], path: str | os.PathLike[str]) -> None:
    """Write the picture. Uses no global state of matplotlib and opens no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    legend = 0.32 * len(arrows) + 0.6
    figure = Figure(figsize=(8, 5.6 + legend), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 1, height_ratios=[5.6, legend])
    axes, notes = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    places = _places(arrows)
    for number, arrow in enumerate(arrows, 1):
        _line(axes, places, number, arrow)
    for (framework, device), (x, y) in places.items():
        box = {"boxstyle": "round,pad=0.5", "facecolor": "#f4f6f7", "edgecolor": "#34495e"}
        axes.text(x, y, f"{framework}\n{device}", ha="center", va="center", bbox=box)
    axes.set(xlim=(-1.45, 1.45), ylim=(-1.3, 1.3), aspect="equal", title="the way of the data")
    axes.axis("off")
    notes.axis("off")
    notes.set(xlim=(0, 1), ylim=(len(arrows) + 0.5, 0))
    for number, arrow in enumerate(arrows, 1):
        colour = _COPIED if arrow.bytes_copied else _SHARED
        text = f"{number}  {' '.join(arrow.source)} → {' '.join(arrow.target)}:  {arrow.text}"
        notes.text(0.0, number, text, color=colour, va="center", fontsize=9)
    if not arrows:
        axes.text(0, 0, "no conversions", ha="center")
    figure.savefig(path, dpi=130)
