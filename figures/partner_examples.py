"""Clefts with the partners that each method assigned: one correct, and one wrong or least certain."""

import matplotlib.pyplot as plt
import numpy as np
import style
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from pipeline import glue

BAR_NM = 200
ASSIGNED = {number: (side, style.COLOURS[side]) for number, side in ((1, "presynaptic"), (2, "postsynaptic"))}
TRUE = {1: ("presynaptic", "-"), 2: ("postsynaptic", "--")}
N_COLUMNS = 2  # methods side by side, with two examples each

study = glue.study("figures/partner_examples.py")
methods = study.rows("partners", "methods").set_index("method")
pictures = study.rows("partners", "pictures")
colours = np.array([to_rgb("black"), *(to_rgb(colour) for _, colour in ASSIGNED.values())])

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
    examples = pictures[pictures["method"] == method].groupby("example", sort=False)
    for panel, (example, pixels) in zip(panels, examples, strict=False):
        layer = style.layers(pixels, ("grey", "cleft", "assigned", "true"))
        panel.imshow(style.tint(layer["grey"], colours[layer["assigned"]], 0.4 * (layer["assigned"] > 0)))
        for side, (_, line) in TRUE.items():
            panel.contour(layer["true"] == side, [0.5], colors="black", linewidths=0.9, linestyles=line)
        panel.contour(layer["cleft"], [0.5], colors="white", linewidths=1.2)
        style.scale_bar(panel, layer["grey"].shape, pixels["pixel_nm"].iloc[0], BAR_NM)
        outcome = pixels["outcome"].iloc[0].replace("_", " ")
        panel.set_title(f"{example}: {outcome}" if example == "wrong" else example, fontsize=8)

handles = [Patch(facecolor=colour, alpha=0.7, label=f"assigned {name}") for name, colour in ASSIGNED.values()]
handles += [plt.Line2D([], [], color="black", linestyle=line, label=f"truly {name}") for name, line in TRUE.values()]
handles += [plt.Line2D([], [], color="0.75", linewidth=2, label="cleft")]
figure.legend(handles=handles, loc="outside lower center", ncols=5, columnspacing=1.2, handlelength=1.6)

study.save_figure(
    figure,
    f"""**Partners assigned to clefts ({study.data_phrase}).**
    Two clefts (white) of each method, drawn at random: one correct, one wrong or, where none is, least certain.
    Light blue, assigned as presynaptic; purple, as postsynaptic; black lines, the true presynaptic (solid) and
    postsynaptic (broken) partners; bar, {BAR_NM} nm.""",
)
