"""How every figure looks: sizes at print scale, what each colour means, and marks that several figures draw."""

from collections.abc import Iterable
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (after the backend is chosen)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

WIDTH = 7.0  # inches: a full text width (178 mm)

# One colour has one meaning in the whole paper; what has no colour of its own is black (SERIES). The colours of the
# classes are those of Okabe and Ito; a search found the others, far from these and from each other for readers with
# any common colour vision, as a test measures.
COLOURS = {
    "excitatory": "#D55E00",
    "inhibitory": "#0072B2",
    "2D": "#73A06E",
    "2.5D": "#10AF3A",
    "3D": "#074100",
    "untrained": "#767676",
    "fault": "#C983B8",
    "evidence for": "#F0E442",
    "evidence against": "#5225A2",
    "presynaptic": "#45CCFF",
    "postsynaptic": "#54095D",
    "other": "#262626",
}
INK = COLOURS["other"]
CLASS_COLOURS = {1: COLOURS["excitatory"], 0: COLOURS["inhibitory"]}
MARKERS = {"2D": "o", "2.5D": "D", "3D": "s"}
DASHES = {"2D": "-", "2.5D": (0, (7, 1.5)), "3D": "-."}
REFERENCE = {"color": "0.5", "linestyle": ":", "linewidth": 1, "zorder": 0}  # lines at chance, or at no effect

# An analysis with a fault of earlier work, and with its remedy.
FAULTY = {"color": COLOURS["fault"], "marker": "^"}
RIGHT = {"color": INK, "marker": "o"}

#: Looks of things that have no colour of their own.
SERIES = tuple(
    {"color": INK, "marker": marker, "markerfacecolor": face, "linestyle": dash}
    for marker, face, dash in (("o", INK, "-"), ("s", "white", "--"), ("^", INK, "-."), ("D", "white", ":"))
)

plt.rcParams.update(
    {
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "text.color": INK,
        "axes.labelsize": 8.5,
        "axes.titlesize": 8.5,
        "axes.linewidth": 0.8,
        "axes.axisbelow": True,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "lines.solid_capstyle": "round",
        "patch.edgecolor": "white",
        "patch.force_edgecolor": True,
        "figure.constrained_layout.use": True,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "synapse-ei",  # the same picture gives the same bytes
    }
)
TICKS = {"color": INK, "labelsize": 8, "major.size": 6, "major.width": 1.25, "minor.size": 4, "minor.width": 1}
plt.rcParams.update({f"{axis}tick.{name}": value for axis in "xy" for name, value in TICKS.items()})


def network(model: Any) -> dict[str, Any]:
    """Look of a model, a row with `dimensionality` and `trained`: colour, marker and dash say what it sees, an open
    grey marker that it was not trained."""
    seen = model["dimensionality"]
    if model["trained"]:
        return {"color": COLOURS[seen], "marker": MARKERS[seen], "linestyle": DASHES[seen]}
    return {"color": COLOURS["untrained"], "marker": MARKERS[seen], "markerfacecolor": "white", "linestyle": "--"}


def letter(axes: Axes, text: str) -> None:
    """A panel letter at the upper left, outside the axes."""
    axes.set_title(text, loc="left", fontweight="bold", fontsize=10)


def corner_letter(figure: Any, text: str) -> None:
    """A panel letter in the upper left corner of a figure or subfigure that holds several axes."""
    figure.text(0.005, 0.99, text, va="top", fontweight="bold", fontsize=10)


def row_label(axes: Axes, text: str, **look: Any) -> None:
    """A label that runs upwards along the left side of an image."""
    place = {"rotation": 90, "ha": "right", "va": "center", "transform": axes.transAxes}
    axes.text(-0.06, 0.5, text, **place, **look)


def estimates(
    axes: Axes,
    x: Any,
    y: Any,
    rows: Any,
    horizontal: bool = False,
    joined: bool = False,
    value: str = "value",
    **look: Any,
) -> None:
    """Estimates at `x, y` with intervals, from columns `value`, `low` and `high` of `rows`, a table or a single row.

    Lines join them where `joined`. An interval without width would look like certainty: it is written as missing.
    """
    error = np.reshape([rows[value] - rows["low"], rows["high"] - rows[value]], (2, -1))
    look = {"markersize": 4.5, "capsize": 2, "elinewidth": 1} | look | ({} if joined else {"linestyle": ""})
    axes.errorbar(x, y, **{"xerr" if horizontal else "yerr": error}, **look)
    points = np.broadcast_arrays(np.atleast_1d(x), np.atleast_1d(y))
    for place in np.column_stack(points)[error.sum(axis=0) == 0]:
        axes.annotate("no interval", place, (0, 5), textcoords="offset points", ha="center", fontsize=8)


def end_labels(axes: Axes, ends: dict[str, tuple[float, float]]) -> None:
    """Write the name of each line beside its end `(x, y)`, from top to bottom and one below the other."""
    gap = 0.07 * np.ptp(axes.get_ylim())
    right, below = max(x for x, _ in ends.values()), np.inf
    for name, end in sorted(ends.items(), key=lambda entry: -entry[1][1]):
        below = min(end[1], below - gap)
        leader = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
        axes.annotate(
            name, end, (right + 0.25, below), va="center", fontsize=8, arrowprops=leader, annotation_clip=False
        )


def layers(pixels: pd.DataFrame, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Images `[Y, X]` by name, from one row a pixel with its `y` and `x`."""
    pixels = pixels.sort_values(["y", "x"])
    shape = pixels["y"].max() + 1, pixels["x"].max() + 1
    return {name: pixels[name].to_numpy().reshape(shape) for name in names}


def tint(grey: np.ndarray, colours: Any, opacity: Any) -> np.ndarray:
    """Grey levels `[Y, X]` with colours in [0, 1] laid over them, RGB `[Y, X, 3]` in [0, 1].

    `colours` is one colour or `[Y, X, 3]`; `opacity` `[Y, X]` is 0 where the grey level stays as it is.
    """
    opacity = np.asarray(opacity, dtype=float)[..., None]
    return (1 - opacity) * grey[..., None] / 255 + opacity * colours


def image(axes: Axes, grey: np.ndarray, pixel_nm: float | None = None, bar_nm: float | None = None) -> None:
    """Draw grey levels `[Y, X]` on the full range 0 to 255, with a scale bar of `bar_nm` where given."""
    axes.imshow(grey, vmin=0, vmax=255)
    axes.set_axis_off()
    if bar_nm is not None:
        scale_bar(axes, grey.shape, pixel_nm, bar_nm)


def scale_bar(axes: Axes, shape: tuple[int, ...], pixel_nm: float, bar_nm: float) -> None:
    """A bar at the lower right of an image of `shape` `[Y, X]`; the caption gives its length."""
    height, width = shape[:2]
    length, thick, margin = bar_nm / pixel_nm, max(1.5, height * 0.02), 0.05 * width
    corner = (width - margin - length, height - margin - thick)
    bar = plt.Rectangle(corner, length, thick, facecolor="white", edgecolor="black", linewidth=0.5)
    axes.add_patch(bar)


def middle(images: np.ndarray, side: int) -> np.ndarray:
    """The middle `side` pixels of square images `[..., Y, X]`, or all of smaller ones."""
    side = min(side, images.shape[-1])
    start = (images.shape[-1] - side) // 2
    return images[..., start : start + side, start : start + side]
