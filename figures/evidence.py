"""Evidence maps: where the networks find evidence for the true class, by distance to the synapse and by structure."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import style
from matplotlib.colors import to_rgb

from pipeline import glue

BAR_NM = 200
METHODS = {"occlusion": "Occlusion", "grad_cam": "Grad-CAM"}
FOR, AGAINST = style.COLOURS["evidence for"], style.COLOURS["evidence against"]  # the true class

study = glue.study("figures/evidence.py")
values = study.values("evidence")
chosen = study.rows("evidence", "chosen").assign(trained=lambda rows: rows["role"] == "trained")
result = study.rows("evidence", "result")
pictures = study.rows("evidence", "pictures")
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]


def overlay(grey, evidence):
    """Grey levels with evidence laid over, opaque where it is strongest in this section: RGB `[Y, X, 3]` in [0, 1]."""
    strength = 0.8 * np.abs(evidence) / max(np.abs(evidence).max(), 1e-12)
    return style.tint(grey, np.where(evidence[..., None] > 0, to_rgb(FOR), to_rgb(AGAINST)), strength)


# --- A: examples, three rows of pictures for each network ------------------------------------------------------------
pictured = [name for name in ("2D", "3D") if name in set(pictures["dimensionality"])]
shown = pictures["synapse_id"].unique()
figure = plt.figure(figsize=(style.WIDTH, 0.9 * 3 * len(pictured) + 0.5))
left, right = figure.subfigures(1, 2, width_ratios=(1, 0.95))
grid = left.subplots(3 * len(pictured), len(shown), squeeze=False)
for block, dimensionality in enumerate(pictured):
    of_network = pictures[pictures["dimensionality"] == dimensionality]
    block_panels = grid[3 * block : 3 * block + 3]
    for panels, synapse_id in zip(block_panels.T, shown, strict=True):
        pixels = of_network[of_network["synapse_id"] == synapse_id]
        layer = style.layers(pixels, ("grey", "near", *METHODS))
        style.image(panels[0], layer["grey"], pixel_nm, BAR_NM)
        for panel, method in zip(panels[1:], METHODS, strict=True):
            panel.imshow(overlay(layer["grey"], layer[method]))
            panel.set_axis_off()
        for panel in panels:
            panel.contour(layer["near"], [0.5], colors="white", linewidths=0.8, linestyles="--")
        if block == 0:
            panels[0].set_title(glue.CLASSES[pixels["label"].iloc[0]], fontsize=8)
    for panel, name in zip(block_panels[:, 0], (dimensionality, *METHODS.values()), strict=True):
        style.row_label(panel, name, fontsize=8, fontweight="bold" if name == dimensionality else "normal")
style.corner_letter(left, "A")

# --- B and C: shares near the synapse, and of each structure ---------------------------------------------------------
near_panel, part_panel = right.subplots(2, 1, height_ratios=(1.15, 1))
EVEN = {"color": "black", "linestyle": ":", "linewidth": 1.6}
LOOK = {"horizontal": True, "elinewidth": 1.1, "capsize": 0}


def look_of(model, method):
    """The look of the model, filled for occlusion and open for Grad-CAM."""
    own = style.network(model) | LOOK
    return own | {"markerfacecolor": own["color"] if method == "occlusion" else "white"}


keys = ["dimensionality", "role", "method", "part", "measure"]
found = result.set_index(keys)[glue.ESTIMATE].sort_index()
ticks = {}
for place, (_, model) in enumerate(chosen.iterrows()):
    even = found.loc[(model["dimensionality"], "even", "even", "near", "share"), "value"]
    near_panel.plot([even, even], [place - 0.45, place + 0.45], **EVEN)
    for shift, method in zip((-0.17, 0.17), METHODS, strict=True):
        row = found.loc[(model["dimensionality"], model["role"], method, "near", "share")]
        glue.require(0 <= row["low"] <= row["high"] <= 1, f"the shares of {model['label']} lie between 0 and 1")
        style.estimates(near_panel, row["value"], place + shift, row, **look_of(model, method))
    ticks[place] = textwrap.fill(f"{model['label']} ({model['dimensionality']})", 18)
near_panel.set_yticks(list(ticks), ticks.values())
near_panel.set(xlim=(0, 1), ylim=(len(ticks) - 0.4, -0.6), xlabel=f"Share within {values['reach_nm'].text} nm")
style.letter(near_panel, "B")

parts = {
    "synapse": "cleft and\ndensities",
    "vesicles": "vesicles",
    "mitochondria": "mito-\nchondria",
    "elsewhere": "elsewhere",
}
trained = chosen[chosen["trained"]]
lines = [(model, method) for _, model in trained.iterrows() for method in METHODS]
for place, part in enumerate(parts):
    for shift, (model, method) in zip(np.linspace(-0.3, 0.3, len(lines)), lines, strict=True):
        row = found.loc[(model["dimensionality"], "trained", method, part, "times even")]
        style.estimates(part_panel, row["value"], place + shift, row, **look_of(model, method))
part_panel.axvline(1, **EVEN)
part_panel.set_yticks(range(len(parts)), parts.values())
part_panel.set(ylim=(len(parts) - 0.5, -0.5), xlabel="Evidence over even spread")
part_panel.set_xlim(left=0)
style.letter(part_panel, "C")
marks = [{"color": style.INK, "marker": "v", "markerfacecolor": face} for face in (style.INK, "white")]
marks += [{key: style.network(model)[key] for key in ("color", "marker")} for _, model in trained.iterrows()]
handles = [plt.Line2D([], [], linestyle="", markersize=4.5, **mark) for mark in marks] + [plt.Line2D([], [], **EVEN)]
names = [*METHODS.values(), *trained["dimensionality"], "even spread"]
right.legend(handles, names, loc="outside lower center", ncols=3)

models = " and ".join(
    f"{row.label} ({row.dimensionality})" for row in trained.itertuples() if row.dimensionality in pictured
)
study.save_figure(
    figure,
    f"""**Evidence for the true class ({study.data_phrase}).**
    **A**, {models}: yellow, evidence for; purple, against; dashed, within {values["reach_nm"].text} nm of the cleft;
    bars {BAR_NM} nm.
    **B**, share of the positive evidence there; **C**, share in each structure over even spread (dotted); grey,
    untrained.
    Bars: {study.interval_phrase}.""",
)
