# SPDX-License-Identifier: MIT
"""The picture of the demo: input, stages, measured objects."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from chain import Result
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from stages import CUT, SEED_LEVEL, SEED_SIGMA

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
SMALL, LARGE = "#E69F00", "#56B4E9"
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
CUT_OFF = "#BBBBBB"
SIZE, DPI = (10.5, 8.1), 130
GROUPS = ((0, "small", SMALL), (1, "large", LARGE), (2, "cut by the edge", CUT_OFF))
CONTRAST = 98
"""The percentile of the projection that is shown white: dividing nuclei outshine all others."""
CAPTION = (
    "A demonstration, not a tuned segmentation. Cores are what lies above {level:g} in the mask blurred with "
    "σ = {sigma:g} voxels; parts of the mask in c without a core are no objects, and are gone in d.\n"
    "Objects that reach the edge of the stack (any side, first and last plane too) are marked and not grouped. "
    "The size of a voxel is not given in the file."
)


def colours_of_labels(count: int) -> NDArray[np.float64]:
    """RGB of each label, black for 0."""
    cycle = [to_rgb(PALETTE[index % len(PALETTE)]) for index in range(count)]
    return np.array([(0.0, 0.0, 0.0), *cycle])


def edges(labels: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """Where a label in a plane borders on another one."""
    result = np.zeros(labels.shape, bool)
    result[:-1] |= labels[:-1] != labels[1:]
    result[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return result


def title(axes: Axes, letter: str, what: str, who: str) -> None:
    """Say what a panel shows and which framework made it."""
    axes.set_title(f"{letter}  {what}", loc="left", fontsize=10, fontweight="bold", pad=17)
    axes.text(0, 1.015, who, transform=axes.transAxes, fontsize=8.5, color="0.35", va="bottom")


def show_plane(axes: Axes, plane: NDArray[np.generic], **options: object) -> None:
    """One plane of a volume, without ticks."""
    axes.imshow(plane, interpolation="nearest", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def scale_bar(axes: Axes, length: int, height: int) -> None:
    """Draw a bar of `length` voxels; `height` is that of the plane. The size of a voxel is not given in the file."""
    axes.plot([8, 8 + length], [height - 9] * 2, color="white", linewidth=2.5, solid_capstyle="butt")
    axes.text(8 + length / 2, height - 13, f"{length} voxels", color="white", fontsize=7.5, ha="center", va="bottom")


def show_mask(axes: Axes, foreground: NDArray[np.bool_], cores: NDArray[np.uint8]) -> None:
    """Show the mask in grey and the cores in white."""
    show_plane(axes, 0.5 * foreground + 0.5 * cores.astype(bool), cmap="gray", vmin=0, vmax=1)


def show_labels(axes: Axes, labels: NDArray[np.uint32], count: int) -> None:
    """Show the objects of a plane, in colours."""
    rgb = colours_of_labels(count)[labels]
    rgb[edges(labels)] = 1
    show_plane(axes, rgb)


def show_measured(axes: Axes, image: NDArray[np.float32], result: Result) -> None:
    """Show all objects: brightest intensities along z, the outline of each object, its number at its centroid."""
    projection = image.max(axis=0)
    show_plane(axes, projection, cmap="gray", vmin=0, vmax=float(np.percentile(projection, CONTRAST)))
    for label, (row, group) in enumerate(zip(result.measurements, result.groups, strict=True), 1):
        colour, y, x = GROUPS[group][2], row[3], row[4]
        shadow = np.pad((result.labels == label).any(axis=0), 1).astype(float)
        rows, columns = (np.arange(-1, size - 1) for size in shadow.shape)
        style = "dashed" if group == CUT else "solid"
        axes.contour(columns, rows, shadow, [0.5], colors=colour, linewidths=1.2, linestyles=style)
        text = axes.text(x, y, str(label), color=colour, fontsize=7.5, ha="center", va="center", fontweight="bold")
        text.set_bbox({"facecolor": "black", "alpha": 0.6, "pad": 1.2, "linewidth": 0})
    axes.set_xlim(-0.5, projection.shape[1] - 0.5)
    axes.set_ylim(projection.shape[0] - 0.5, -0.5)


def show_volumes(axes: Axes, result: Result) -> None:
    """Draw a histogram of the volumes of the whole objects, in the colours of the groups."""
    volumes = result.measurements[:, 0] / 1e3
    whole = [one for one in GROUPS if one[0] != CUT]
    parts = [volumes[result.groups == group] for group, _, _ in whole]
    names = [f"{name} ({len(part)})" for part, (_, name, _) in zip(parts, whole, strict=True)]
    bins = np.arange(0, volumes.max() + 5, 5)
    colours = [colour for _, _, colour in whole]
    axes.hist(parts, bins, stacked=True, color=colours, label=names, edgecolor="white", linewidth=0.8)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("volume / 1000 voxels", fontsize=9)
    axes.set_ylabel("number of objects", fontsize=9)
    axes.tick_params(labelsize=8.5)
    axes.legend(frameon=False, fontsize=8.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def places() -> list[tuple[float, float, float, float]]:
    """Left, bottom, width and height of the panels; the last one leaves room for its axis."""
    columns, rows, width, height = (0.012, 0.345, 0.678), (0.54, 0.068), 0.31, 0.31 * SIZE[0] / SIZE[1]
    panels = [(left, bottom, width, height) for bottom in rows for left in columns]
    left, bottom, width, height = panels.pop()
    return [*panels, (left + 0.04, bottom + 0.035, width - 0.04, height - 0.035)]


def draw(path: Path, image: NDArray[np.float32], result: Result) -> None:
    """Write the picture. The planes shown lie where most of the mask is."""
    z = int(result.foreground.sum(axis=(1, 2)).argmax())
    top = float(np.percentile(image[z], 99.7))
    figure = plt.figure(figsize=SIZE)
    a, b, c, d, e, f = (figure.add_axes(place) for place in places())

    title(a, "a", "Input", f"NumPy: plane {z} of {len(image)}, float32")
    show_plane(a, image[z], cmap="gray", vmin=0, vmax=top)
    scale_bar(a, 50, image.shape[1])
    title(b, "b", "Blurred", "pyclesperanto: Gaussian, 3-D, σ = 2 voxels")
    show_plane(b, result.blurred[z], cmap="gray", vmin=0, vmax=top)
    title(c, "c", "Mask and its cores", "torch: Otsu's threshold (grey) · pyclesperanto: cores")
    show_mask(c, result.foreground[z], result.cores[z])
    title(d, "d", "Objects", "pyclesperanto: components · JAX: growing back")
    show_labels(d, result.labels[z], len(result.groups))
    how = f"maximum along z, white from the {CONTRAST}th percentile on"
    title(e, "e", "Measured (JAX), grouped (TensorFlow)", how)
    show_measured(e, image, result)
    cut = int((result.groups == CUT).sum())
    said = f"NumPy; without the {cut} cut ones, dashed in e"
    title(f, "f", f"Volumes of {len(result.groups) - cut} whole objects", said)
    show_volumes(f, result)
    figure.text(0.012, 0.008, CAPTION.format(level=SEED_LEVEL, sigma=SEED_SIGMA), fontsize=7.5, color="0.35")

    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})
    plt.close(figure)
