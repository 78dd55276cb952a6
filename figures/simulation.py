"""One section of the simulated tissue with its truth, and what differs between the classes."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

BAR_NM = 500

study = glue.study("figures/simulation.py")
values = study.values("simulation")
overview = study.frame("simulation", "overview")
properties = study.frame("simulation", "properties")
distributions = study.frame("simulation", "distributions")
pixel_nm = values["overview_pixel_nm"].value

shape = overview["y"].max() + 1, overview["x"].max() + 1
overview = overview.sort_values(["y", "x"])
grey = overview["grey"].to_numpy().reshape(shape)
segment = overview["segment"].to_numpy().reshape(shape)
cleft = overview["cleft_label"].fillna(-1).to_numpy(dtype=int).reshape(shape)


def tint(grey, colours, mask, opacity):
    """Grey levels as RGB [Y, X, 3] in [0, 1], with `colours` laid over where `mask`."""
    rgb = np.repeat(grey[..., None] / 255, 3, axis=2)
    return np.where(mask[..., None], (1 - opacity) * rgb + opacity * colours, rgb)


palette = plt.get_cmap("hsv")(np.random.default_rng(0).permutation(np.linspace(0, 0.95, segment.max() + 1)))[:, :3]
class_colours = np.array([plt.matplotlib.colors.to_rgb(style.CLASS_COLOURS[label]) for label in (0, 1)])

figure = plt.figure(figsize=(style.WIDTH, 4.9))
top, bottom = figure.subfigures(2, 1, height_ratios=(2.5, 2.2))
pictures = top.subplots(1, 3)
style.image(pictures[0], grey, pixel_nm, BAR_NM)
pictures[1].imshow(tint(grey, palette[segment], segment > 0, 0.45))
pictures[2].imshow(tint(grey, class_colours[np.clip(cleft, 0, 1)], cleft >= 0, 0.85))
for panel, name in zip(pictures, "ABC", strict=True):
    panel.set_axis_off()
    style.letter(panel, name)

panels = bottom.subplots(1, len(properties))
for panel, name, row in zip(panels, "DEFGH", properties.itertuples(), strict=True):
    column = distributions[row.property]
    edges = np.linspace(column.quantile(0.002), column.quantile(0.998), 25)
    for label in glue.CLASSES:
        share, _ = np.histogram(column[distributions["label"] == label], edges)
        panel.stairs(share / share.sum(), edges, color=style.CLASS_COLOURS[label], fill=True, alpha=0.3)
        panel.stairs(share / share.sum(), edges, color=style.CLASS_COLOURS[label], linewidth=1.2)
    panel.set(xlabel=(row.label[0].upper() + row.label[1:]).replace(" (", "\n("), yticks=[], xlim=(edges[0], edges[-1]))
    panel.locator_params(axis="x", nbins=3)
    panel.set_title(f"AUC {row.auc:.2f}", fontsize=8)
    style.letter(panel, name)
panels[0].set_ylabel("Share of synapses")

study.save_figure(
    figure,
    f"""**The {study.data_phrase} and its truth.**
    **A**, one section of the image volume, {values["overview_um"].text} µm wide (bar {BAR_NM} nm); **B**, the same with
    each neuron's segment in a colour of its own; **C**, with its synaptic clefts, excitatory in orange and inhibitory
    in blue.
    **D** to **H**, what the simulation drew for {values["n_excitatory_synapses"].text} excitatory (orange) and
    {values["n_inhibitory_synapses"].text} inhibitory (blue) synapses of
    {values["n_presynaptic_neurons"].text} presynaptic neurons: each property alone would order a pair of synapses of
    different class with the given area under the ROC curve (AUC; 0.5 is chance), if it could be read without error.
    PSD, postsynaptic density.
    No part of this figure shows a brain.""",
)
