# SPDX-License-Identifier: MIT
"""The picture: what went in, what came out here, what came out of an older release; all on the scale of the input."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray
from quantities import found_means, true_means
from release_run import Release
from sample_images import Sample, three_labels
from scipy import ndimage

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
INPUT, OURS, OLDER = "0.45", "#0072B2", "#D55E00"
LABELS = ("#000000", "#E69F00", "#56B4E9", "#009E73")
SIZE, DPI = (13.2, 9.6), 120
BARS = (2, 5, 10, 20, 50, 100)
"""Lengths of scale bars, voxels."""
ABSENT = "No older release was run\nbeside this one\n(--peer FOLDER)"


def quantities_line(image: NDArray[np.generic]) -> str:
    """Give dtype, range and mean in one line."""
    return f"{image.dtype}   {image.min()} … {image.max()}   mean {image.mean(dtype=np.float64):.1f}"


def bare(axes: Axes) -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set(color="0.7", linewidth=0.8)


def beyond(image: NDArray[np.generic], top: float) -> str:
    """Say why a plane has nothing to see on the scale of its input; empty if it has."""
    if image.min() == image.max():
        return f"all voxels are {image.min()}"
    share = float(np.mean(image > top))
    # Rounded down: not quite all is not all.
    return f"{int(1000 * share) / 10} % of the voxels\nare above {top:.0f}" if share > 0.5 else ""


def show_plane(axes: Axes, image: NDArray[np.generic], z: int, scale: tuple[float, float]) -> None:
    """Show one plane, and the quantities of the whole volume above it."""
    shown = axes.imshow(image[z], cmap="gray", vmin=scale[0], vmax=scale[1], interpolation="nearest")
    bare(axes)
    axes.set_title(quantities_line(image), fontsize=9, pad=4)
    if text := beyond(image, scale[1]):
        box = {"facecolor": "white", "edgecolor": "0.7", "linewidth": 0.8, "pad": 4}
        middle = {"transform": axes.transAxes, "ha": "center", "va": "center"}
        axes.text(0.5, 0.5, text, fontsize=9.5, color=OLDER, bbox=box, **middle)
    bar = axes.figure.colorbar(shown, ax=axes, fraction=0.045, pad=0.02)
    bar.ax.tick_params(labelsize=7.5)
    bar.set_label("grey value", fontsize=8)
    bar.outline.set_visible(False)


def scale_bar(axes: Axes, plane: NDArray[np.generic]) -> None:
    """Draw a bar of some voxels, at most two fifths of the plane. The files do not say how large a voxel is."""
    height, width = plane.shape
    length = max(size for size in BARS if size <= max(width / 2.5, BARS[0]))
    left, bottom = 0.04 * width, 0.96 * height
    box = {"facecolor": "black", "alpha": 0.55, "linewidth": 0, "pad": 1.5}
    axes.plot([left, left + length], [bottom] * 2, color="white", linewidth=3, solid_capstyle="butt")
    axes.text(
        left, bottom - 0.03 * height, f"{length} voxels", color="white", fontsize=8, ha="left", va="bottom", bbox=box
    )


def show_labels(axes: Axes, labels: NDArray[np.generic], z: int) -> None:
    """Show a plane of labels, a colour for each object, and the number that stands in the array."""
    plane = labels[z]
    axes.set_title(f"{labels.dtype}   values {', '.join(map(str, np.unique(labels)))}", fontsize=9, pad=4)
    colours = np.array([to_rgb(colour) for colour in LABELS])
    names = np.unique(labels)
    axes.imshow(colours[np.searchsorted(names, plane) % len(colours)], interpolation="nearest")
    bare(axes)
    for name in np.unique(plane)[1:]:
        y, x = ndimage.center_of_mass(plane == name)
        axes.text(x, y, str(name), fontsize=13, fontweight="bold", ha="center", va="center")


def show_absent(axes: Axes) -> None:
    """Say that there is nothing to show."""
    bare(axes)
    axes.set_facecolor("0.95")
    axes.text(0.5, 0.5, ABSENT, transform=axes.transAxes, ha="center", va="center", fontsize=9, color="0.35")


def tidy(axes: Axes, title: str, x: str, y: str) -> None:
    """Write the title and the axes of a plot."""
    axes.set_title(title, fontsize=9.5, loc="left", fontweight="bold")
    axes.set_xlabel(x, fontsize=8.5)
    axes.set_ylabel(y, fontsize=8.5)
    axes.tick_params(labelsize=8)
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def named(releases: list[Release]) -> list[tuple[Release, str, str]]:
    """Each release with its name and colour."""
    words = ("this one", "older")
    return [
        (release, f"{release.version} ({word})", colour)
        for release, word, colour in zip(releases, words, (OURS, OLDER), strict=False)
    ]


def plot_histogram(axes: Axes, sample: Sample, releases: list[Release]) -> None:
    """Draw how many voxels have which grey value, before and after."""
    bins = np.geomspace(50, 70000, 90)
    axes.hist(sample.image.ravel(), bins, color=INPUT, alpha=0.45, label="input")
    for release, name, colour in named(releases):
        values = release.outcomes[sample.name].smoothed.ravel()
        axes.hist(values, bins, histtype="step", linewidth=1.6, color=colour, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(top=5e7)
    tidy(axes, f"{sample.name}: smoothed, all voxels", "grey value", "number of voxels")


def plot_objects(axes: Axes, sample: Sample, releases: list[Release]) -> None:
    """Draw the mean intensity of each object as measured, over that in the input."""
    true = true_means(sample)
    ends = np.array([true.min(), true.max()])
    axes.plot(ends, ends, color="0.6", linewidth=1, zorder=0, label="as in the input")
    for (release, name, colour), marker in zip(named(releases), "ox", strict=False):
        found = found_means(sample, release.outcomes[sample.name])
        axes.scatter(true, found, s=20, marker=marker, color=colour, linewidth=1.1, label=name)
    if len(releases) > 1 and true.max() < 1000:
        axes.set_yscale("log")
        axes.set_ylim(true.min() / 2, 5e6)
    title = f"{sample.name}: {len(true)} objects, measured in JAX"
    tidy(axes, title, "mean intensity in the input, grey values", "as measured, after smoothing")


def fullest(labels: NDArray[np.generic]) -> int:
    """Give the plane in which most voxels are labelled."""
    return int((labels > 0).sum(axis=(1, 2)).argmax())


def draw_rows(figure: Figure, grid: GridSpec, samples: list[Sample], releases: list[Release]) -> None:
    """Draw three rows: input, this release, the older one; three columns: two images and labels."""
    narrow, wide = samples
    three = three_labels(wide.labels)
    planes = fullest(narrow.labels), fullest(wide.labels), fullest(three)
    scales = (float(narrow.image.min()), float(narrow.image.max())), (0.0, float(wide.image[planes[1]].max()) / 2)
    heads = (
        f"StarDist's test image, smoothed\ntorch: convolution layer · plane {planes[0]} of {len(narrow.image)}",
        f"Nuclei, blurred\npyclesperanto: Gaussian · plane {planes[1]} of {len(wide.image)}",
        f"Three of the nuclei's labels, grown by a voxel\ntorch: max pooling · plane {planes[2]} of {len(three)}",
    )
    for row in range(3):
        cells = [figure.add_subplot(grid[row, column]) for column in range(3)]
        if row == 0:
            for axes, head in zip(cells, heads, strict=True):
                place = axes.get_position()
                middle = (place.x0 + place.x1) / 2
                figure.text(middle, place.y1 + 0.032, head, ha="center", va="bottom", fontsize=10)
        if row > len(releases):
            for axes in cells:
                show_absent(axes)
            continue
        outcomes = releases[row - 1].outcomes if row else {}
        show_plane(cells[0], outcomes[narrow.name].smoothed if row else narrow.image, planes[0], scales[0])
        show_plane(cells[1], outcomes[wide.name].blurred if row else wide.image, planes[1], scales[1])
        show_labels(cells[2], outcomes[wide.name].three_grown if row else three, planes[2])
        if row == 0:
            for axes, volume in zip(cells, (narrow.image, wide.image, three), strict=True):
                scale_bar(axes, volume[0])


def row_names(releases: list[Release]) -> list[tuple[str, str]]:
    """What stands left of the rows, and in which colour."""
    older = f"arraybridge {releases[1].version}" if len(releases) > 1 else "older release"
    return [("input", "0.25"), (f"arraybridge {releases[0].version}", OURS), (older, OLDER)]


def draw(path: Path, samples: list[Sample], releases: list[Release]) -> None:
    """Write the picture."""
    figure = plt.figure(figsize=SIZE)
    grid = figure.add_gridspec(
        3, 4, width_ratios=(1, 1, 1.2, 1.15), left=0.035, right=0.985, top=0.88, bottom=0.055, wspace=0.24, hspace=0.3
    )
    draw_rows(figure, grid, samples, releases)
    plot_histogram(figure.add_subplot(grid[0, 3]), samples[0], releases)
    plot_objects(figure.add_subplot(grid[1, 3]), samples[0], releases)
    plot_objects(figure.add_subplot(grid[2, 3]), samples[1], releases)
    for (name, colour), y in zip(row_names(releases), (0.77, 0.47, 0.165), strict=True):
        figure.text(
            0.012, y, name, rotation=90, fontsize=11, fontweight="bold", color=colour, ha="center", va="center"
        )
    figure.suptitle(
        "The same decorated functions: quantities before and after, each column on the grey scale of its input",
        fontsize=12.5, fontweight="bold", x=0.012, y=0.985, ha="left",
    )  # fmt: skip
    figure.savefig(path, dpi=DPI, pil_kwargs={"optimize": True})
    plt.close(figure)
