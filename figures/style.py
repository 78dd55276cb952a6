"""How every figure looks: sizes at print scale, a colour-blind-safe palette, and marks that several figures draw."""

from collections.abc import Iterable
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (after the backend is chosen)
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

WIDTH = 7.0  # inches: a full text width (178 mm)

# The palette of Okabe and Ito, whose colours readers with any common colour vision can distinguish.
CLASS_COLOURS = {1: "#D55E00", 0: "#0072B2"}
MODEL_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DIMENSIONALITY_COLOURS = dict(zip(("2D", "2.5D", "3D"), MODEL_COLOURS, strict=False))
RIGHT, FAULTY = MODEL_COLOURS[:2]  # an analysis done correctly, and with a fault of earlier work
CONTROL = {"color": "#767676", "linestyle": "--"}
REFERENCE = {"color": "0.5", "linestyle": ":", "linewidth": 1, "zorder": 0}  # lines at chance, or at no effect

INK = "0.15"
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
    axes: Axes, x: Any, y: Any, rows: Any, horizontal: bool = False, value: str = "value", **look: Any
) -> None:
    """Estimates at `x, y` with intervals, from columns `value`, `low` and `high` of `rows`, a table or a single row."""
    error = np.reshape([rows[value] - rows["low"], rows["high"] - rows[value]], (2, -1))
    look = {"markersize": 4.5, "capsize": 2, "elinewidth": 1} | look
    axes.errorbar(x, y, **{"xerr" if horizontal else "yerr": error}, **look)


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
    """The middle `side` pixels of square images `[N, Y, X]`, or all of smaller ones."""
    side = min(side, images.shape[1])
    start = (images.shape[1] - side) // 2
    return images[:, start : start + side, start : start + side]
