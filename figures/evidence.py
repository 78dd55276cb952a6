"""Where the networks find evidence for the true class: examples, and shares at the synapse and by structure."""

import matplotlib.pyplot as plt
import numpy as np
import style
from matplotlib.colors import to_rgb

from pipeline import glue

BAR_NM = 200
METHODS = {"occlusion": ("Occlusion", "o"), "grad_cam": ("Grad-CAM", "s")}
FOR, AGAINST, BORDER = "#E69F00", "#0072B2", "#FFFFFF"

study = glue.study("figures/evidence.py")
values = study.values("evidence")
chosen = study.frame("evidence", "chosen")
result = study.frame("evidence", "result")
pictures = study.frame("evidence", "pictures")
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]


def overlay(grey, evidence):
    """Grey levels with evidence laid over, opaque where it is strongest in this section: RGB `[Y, X, 3]` in [0, 1]."""
    strength = 0.8 * np.clip(np.abs(evidence) / max(np.abs(evidence).max(), 1e-12), 0, 1)[..., None]
    colours = np.where(evidence[..., None] > 0, to_rgb(FOR), to_rgb(AGAINST))
    return (1 - strength) * grey[..., None] / 255 + strength * colours


kinds = [kind for kind in ("2D", "3D") if kind in set(pictures["kind"])]
shown = pictures["synapse_id"].unique()
figure = plt.figure(figsize=(style.WIDTH, 0.9 * 3 * len(kinds) + 0.5))
left, right = figure.subfigures(1, 2, width_ratios=(1, 0.95))
grid = left.subplots(3 * len(kinds), len(shown), squeeze=False)
for block, kind in enumerate(kinds):
    for column, synapse_id in enumerate(shown):
        pixels = pictures[(pictures["kind"] == kind) & (pictures["synapse_id"] == synapse_id)].sort_values(["y", "x"])
        shape = pixels["y"].max() + 1, pixels["x"].max() + 1
        layer = {name: pixels[name].to_numpy().reshape(shape) for name in ("grey", "near", *METHODS)}
        panels = grid[3 * block : 3 * block + 3, column]
        style.image(panels[0], layer["grey"], pixel_nm, BAR_NM)
        for panel, method in zip(panels[1:], METHODS, strict=True):
            panel.imshow(overlay(layer["grey"], layer[method]))
            panel.set_axis_off()
        for panel in panels:
            panel.contour(layer["near"], [0.5], colors=BORDER, linewidths=0.8, linestyles="--")
        if block == 0:
            panels[0].set_title(glue.CLASSES[pixels["label"].iloc[0]], fontsize=8)
    for panel, name in zip(grid[3 * block : 3 * block + 3, 0], (kind, "Occlusion", "Grad-CAM"), strict=True):
        panel.text(
            -0.06, 0.5, name, transform=panel.transAxes, rotation=90, ha="right", va="center", fontsize=8,
            fontweight="bold" if name == kind else "normal",
        )  # fmt: skip
left.text(0.01, 0.995, "A", va="top", fontweight="bold", fontsize=10)

# --- Shares near the synapse, and of each structure ------------------------------------------------------------------
near_panel, part_panel = right.subplots(2, 1, height_ratios=(1.15, 1))


def bar(panel, row, y, colour, marker):
    error = [[row["value"] - row["low"]], [row["high"] - row["value"]]]
    panel.errorbar(row["value"], y, xerr=error, fmt=marker, color=colour, markersize=4.5, linewidth=1.1, capsize=0)


keys = ["kind", "role", "method", "part", "measure"]
found = result.set_index(keys)[["value", "low", "high"]].sort_index()
ticks = {}
for place, model in enumerate(chosen.itertuples()):
    colour = style.KIND_COLOURS[model.kind] if model.role == "trained" else style.CONTROL["color"]
    even = found.loc[(model.kind, "even", "even", "near", "share"), "value"]
    near_panel.plot([even, even], [place - 0.45, place + 0.45], color="black", linestyle=":", linewidth=1.6)
    for shift, (method, (_, marker)) in zip((-0.17, 0.17), METHODS.items(), strict=True):
        row = found.loc[(model.kind, model.role, method, "near", "share")]
        glue.require(0 <= row["low"] <= row["high"] <= 1, f"the shares of {model.label} lie between 0 and 1")
        bar(near_panel, row, place + shift, colour, marker)
    ticks[place] = f"{model.label}\n({model.kind})"
near_panel.set_yticks(list(ticks), ticks.values())
near_panel.set(xlim=(0, 1), ylim=(len(ticks) - 0.4, -0.6), xlabel=f"Share within {values['reach_nm'].text} nm of cleft")
style.letter(near_panel, "B")

parts = {
    "synapse": "cleft and\ndensities",
    "vesicles": "vesicles",
    "mitochondria": "mito-\nchondria",
    "elsewhere": "elsewhere",
}
trained = chosen[chosen["role"] == "trained"]
lines = [(model, method) for model in trained.itertuples() for method in METHODS]
for place, part in enumerate(parts):
    for shift, (model, method) in zip(np.linspace(-0.3, 0.3, len(lines)), lines, strict=True):
        row = found.loc[(model.kind, "trained", method, part, "times even")]
        bar(part_panel, row, place + shift, style.KIND_COLOURS[model.kind], METHODS[method][1])
part_panel.axvline(1, color="black", linestyle=":", linewidth=1.6)
part_panel.set_yticks(range(len(parts)), parts.values())
part_panel.set(ylim=(len(parts) - 0.5, -0.5), xlabel="Evidence over even spread")
part_panel.set_xlim(left=0)
style.letter(part_panel, "C")
handles = [
    plt.Line2D([], [], color="black", marker=marker, linestyle="", markersize=4.5) for _, marker in METHODS.values()
]
handles.append(plt.Line2D([], [], color="black", linestyle=":", linewidth=1.6))
right.legend(handles, [*(name for name, _ in METHODS.values()), "even spread"], loc="outside lower center", ncols=3)

models = " and ".join(f"{row.label} ({row.kind})" for row in trained.itertuples() if row.kind in kinds)
study.save_figure(
    figure,
    f"""**Where the networks find evidence for the true class ({study.data_phrase}).**
    **A**, {len(shown)} test synapses, the first of each class in a random draw, in the central section of the input of
    {models}: the micrograph, the evidence by occlusion (how much the logit of the true class, less that of the other,
    falls when a box of {values["box_nm"].text} nm is hidden) and by Grad-CAM (gradient-weighted class activation map,
    the last feature map weighted by its gradient).
    Orange speaks for the true class, blue against it, each map on a scale of its own; dashed, what lies within
    {values["reach_nm"].text} nm of the synapse's true cleft; bars {BAR_NM} nm.
    **B**, share of the positive evidence inside that distance, and **C**, share in each true structure over the
    structure's share of the input, for the best trained model of each kind of input in colour (2D, one section; 2.5D,
    several sections as channels; 3D, a cube) and untrained controls in grey; dotted, evenly spread evidence.
    Means over {values["n_synapses"].text} test synapses of {values["n_neurons"].text} presynaptic neurons; bars are
    {study.interval_phrase}.""",
)
