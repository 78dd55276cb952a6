"""A section of the simulated tissue with its truth, and the properties that differ between the classes."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

BAR_NM = 500

study = glue.study("figures/simulation.py")
values = study.values("simulation")
overview = study.rows("simulation", "overview")
properties = study.rows("simulation", "properties")
distributions = study.rows("simulation", "distributions")
pixel_nm = values["overview_pixel_nm"].value

NO_CLEFT = -1
overview["cleft"] = overview["cleft_label"].fillna(NO_CLEFT).astype(int)
grey, segment, cleft = style.layers(overview, ("grey", "segment", "cleft")).values()

palette = plt.get_cmap("hsv")(np.random.default_rng(0).permutation(np.linspace(0, 0.95, segment.max() + 1)))[:, :3]
class_colours = np.array([plt.matplotlib.colors.to_rgb(style.CLASS_COLOURS[label]) for label in (0, 1)])

figure = plt.figure(figsize=(style.WIDTH, 4.9))
top, bottom = figure.subfigures(2, 1, height_ratios=(2.5, 2.2))
pictures = top.subplots(1, 3)
style.image(pictures[0], grey, pixel_nm, BAR_NM)
pictures[1].imshow(style.tint(grey, palette[segment], 0.45 * (segment > 0)))
pictures[2].imshow(style.tint(grey, class_colours[np.clip(cleft, 0, 1)], 0.85 * (cleft != NO_CLEFT)))
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
    panel.set(xlabel=glue.sentence_case(row.label).replace(" (", "\n("), yticks=[], xlim=(edges[0], edges[-1]))
    panel.locator_params(axis="x", nbins=3)
    panel.set_title(f"AUC {row.auc:.2f}", fontsize=8)
    style.letter(panel, name)
panels[0].set_ylabel("Share of synapses")

study.save_figure(
    figure,
    f"""**The {study.data_phrase} and its truth.**
    **A**, one section, {values["overview_um"].text} µm wide (bar {BAR_NM} nm); **B**, its neurons, in any colours;
    **C**, its clefts, excitatory in orange and inhibitory in blue.
    **D** to **H**, drawn properties of {values["n_excitatory_synapses"].text} excitatory and
    {values["n_inhibitory_synapses"].text} inhibitory synapses, with the AUC that each alone would reach.
    PSD, postsynaptic density.""",
)
