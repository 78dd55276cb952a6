"""How every figure looks: sizes at print scale, a colour-blind-safe palette, panel letters, scale bars."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (after the backend is chosen)
import seaborn as sns  # noqa: E402

WIDTH = 7.0  # inches: a full text width (178 mm)

# Okabe and Ito's palette, which readers with any common colour vision can tell apart.
CLASS_COLOURS = {1: "#D55E00", 0: "#0072B2"}
MODEL_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
KIND_COLOURS = dict(zip(("2D", "2.5D", "3D"), MODEL_COLOURS, strict=False))  # of what a network sees
CONTROL = {"color": "#767676", "linestyle": "--"}

sns.set_theme(
    style="ticks",
    rc={
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.labelsize": 8.5,
        "axes.titlesize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "legend.frameon": False,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.4,
        "figure.constrained_layout.use": True,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "synapse-ei",  # the same picture gives the same bytes
    },
)


def letter(axes, text):
    """A panel letter at the upper left, outside the axes."""
    axes.set_title(text, loc="left", fontweight="bold", fontsize=10)


def image(axes, grey, pixel_nm=None, bar_nm=None):
    """Draw grey levels `[Y, X]` on the full range 0 to 255, with a scale bar of `bar_nm` where given."""
    axes.imshow(grey, vmin=0, vmax=255)
    axes.set_axis_off()
    if bar_nm is not None:
        scale_bar(axes, grey.shape, pixel_nm, bar_nm)


def scale_bar(axes, shape, pixel_nm, bar_nm):
    """A bar at the lower right of an image of `shape` `[Y, X]`; its length stands in the caption."""
    height, width = shape[:2]
    length, thick, margin = bar_nm / pixel_nm, max(1.5, height * 0.02), 0.05 * width
    corner = (width - margin - length, height - margin - thick)
    bar = plt.Rectangle(corner, length, thick, facecolor="white", edgecolor="black", linewidth=0.5)
    axes.add_patch(bar)
