"""Clefts with the partners that each method gave them: one right, and one wrong or most doubtful."""

import matplotlib.pyplot as plt
import numpy as np
import style
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from pipeline import glue

BAR_NM = 200
CALLED = {1: ("presynaptic", "#E69F00"), 2: ("postsynaptic", "#56B4E9")}
TRUE = {1: ("presynaptic", "-"), 2: ("postsynaptic", "--")}
N_COLUMNS = 2  # methods side by side, of two examples each

study = glue.study("figures/partner_examples.py")
methods = study.frame("partners", "methods").set_index("method")
pictures = study.frame("partners", "pictures")


def overlay(grey, called):
    """Grey levels with the predicted partners laid over: RGB `[Y, X, 3]` in [0, 1]."""
    picture = np.repeat(grey[..., None] / 255, 3, axis=2)
    for side, (_, colour) in CALLED.items():
        at = called == side
        picture[at] = 0.6 * picture[at] + 0.4 * np.array(to_rgb(colour))
    return picture


shown = pictures["method"].unique()
n_rows = -(-len(shown) // N_COLUMNS)
figure = plt.figure(figsize=(style.WIDTH, 2.05 * n_rows + 0.4))
blocks = figure.subfigures(n_rows, N_COLUMNS, squeeze=False)
for block in blocks.flat[len(shown) :]:
    block.set_visible(False)
for block, method in zip(blocks.flat, shown, strict=False):
    panels = block.subplots(1, 2)
    block.suptitle(methods.loc[method, "label"], fontsize=8.5, fontweight="bold")
    for panel in panels:
        panel.set_axis_off()
    examples = pictures[pictures["method"] == method].groupby("kind", sort=False)
    for panel, (kind, pixels) in zip(panels, examples, strict=False):
        pixels = pixels.sort_values(["y", "x"])
        shape = pixels["y"].max() + 1, pixels["x"].max() + 1
        layer = {name: pixels[name].to_numpy().reshape(shape) for name in ("grey", "cleft", "called", "true")}
        panel.imshow(overlay(layer["grey"], layer["called"]))
        for side, (_, line) in TRUE.items():
            panel.contour(layer["true"] == side, [0.5], colors="black", linewidths=0.9, linestyles=line)
        panel.contour(layer["cleft"], [0.5], colors="white", linewidths=1.2)
        style.scale_bar(panel, shape, pixels["pixel_nm"].iloc[0], BAR_NM)
        verdict = pixels["verdict"].iloc[0]
        panel.set_title(f"{kind}: {verdict}" if kind == "wrong" else kind, fontsize=8)

handles = [Patch(facecolor=colour, alpha=0.7, label=f"called {name}") for name, colour in CALLED.values()]
handles += [plt.Line2D([], [], color="black", linestyle=line, label=f"truly {name}") for name, line in TRUE.values()]
handles += [plt.Line2D([], [], color="0.75", linewidth=2, label="cleft")]
figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2, handlelength=1.6)

study.save_figure(
    figure,
    f"""**Partners given to clefts ({study.data_phrase}).**
    For each method of assignment one cleft drawn at random from those of the test tissue that it got right, and one
    from those to which it gave a wrong pair, with the kind of error: direction, the true pair reversed; identity, a
    wrong segment.
    Where no pair was wrong, the right one with the lowest margin to the runner-up is shown as most doubtful.
    Sections with most of the cleft, which is outlined in white; orange and blue, the segments called presynaptic and
    postsynaptic; black lines, the true partners, the presynaptic one solid and the postsynaptic one broken.
    AVAN, attentional voxel association network; bar, {BAR_NM} nm.""",
)
