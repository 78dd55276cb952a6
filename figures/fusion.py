"""Image and wiring together: ROC AUC by what must be known, with and without the features of spines."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

STEPS = {
    "EM alone": "Image alone",
    "EM + synapse": "+ synapse",
    "EM + synapse + post neuron": "+ post neuron",
    "EM + synapse + post neuron + axon": "+ whole axon",
}
MODELS = {"logistic": "No image, logistic", "boosting": "No image, boosting"}
KNOWN = {"all": "all features", "no_spine": "without spines"}
LOOKS = dict(zip(KNOWN, style.SERIES, strict=False))
SUBSETS = {"all": "All synapses", "shaft": "Shafts and somata"}

study = glue.study("figures/fusion.py")
values = study.values("fusion")
scores = study.rows("fusion", "scores").query("metric == 'roc_auc'")
alone = study.rows("fusion", "alone")
coefficients = study.rows("fusion", "coefficients")
known = [name for name in KNOWN if name in set(scores["features"])]
subsets = [name for name in SUBSETS if name in set(scores["subset"])]
fitted = [name for name in known if name in set(coefficients["features"])]
forest = coefficients[coefficients["features"] == fitted[-1]] if fitted else coefficients

heights = [2.9, 0.5 + 0.2 * len(forest)] if fitted else [2.9]
figure = plt.figure(figsize=(style.WIDTH, sum(heights)))
grid = figure.add_gridspec(len(heights), len(subsets), height_ratios=heights)
places = [*range(len(STEPS)), *(len(STEPS) + 0.4 + j for j in range(len(MODELS)))]
panels = []
for column, subset in enumerate(subsets):
    first = panels[0] if panels else None
    panel = figure.add_subplot(grid[0, column], sharex=first, sharey=first)
    panels.append(panel)
    for i, name in enumerate(known):
        steps = scores.query("features == @name and subset == @subset").set_index("step").loc[list(STEPS)]
        others = alone.query("features == @name and subset == @subset").set_index("model").loc[list(MODELS)]
        shift = 0.16 * (2 * i - len(known) + 1)
        for found, place, label in (
            (steps, places[: len(STEPS)], KNOWN[name]),
            (others, places[len(STEPS) :], None),
        ):
            place = [y + shift for y in place]
            style.estimates(panel, found["value"], place, found, horizontal=True, label=label, **LOOKS[name])
    panel.axvline(0.5, **style.REFERENCE)
    panel.set_xlabel("ROC AUC")
    panel.set_title(SUBSETS[subset])
    style.letter(panel, "AB"[column])
panels[0].set_yticks(places, [*STEPS.values(), *MODELS.values()])
panels[0].set_ylim(len(places), -0.6)
for panel in panels[1:]:
    panel.tick_params(labelleft=False)
if len(known) > 1:
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(known))
if fitted:
    panel = figure.add_subplot(grid[1, :])
    place = range(len(forest))
    look = {"horizontal": True, "value": "coefficient"} | LOOKS[fitted[-1]]
    style.estimates(panel, forest["coefficient"], place, forest, **look)
    panel.axvline(0, **style.REFERENCE)
    panel.set_yticks(place, [name.removesuffix("_um").replace("_", " ") for name in forest["feature"]])
    panel.invert_yaxis()
    panel.set_xlabel("Coefficient (log odds of excitatory per standard deviation)")
    style.letter(panel, "ABC"[len(subsets)])

last = "ABC"[len(subsets)]
shaft = (
    f"""**B**, the same off spines ({values["n_shaft_excitatory"].text} excitatory,
    {values["n_shaft_inhibitory"].text} inhibitory)."""
    if "shaft" in subsets
    else ""
)
free = " and spines" if fitted[-1:] == ["no_spine"] else ""
weights = f"**{last}**, coefficients without image{free}." if fitted else ""
study.save_figure(
    figure,
    f"""**Image and wiring together ({study.data_phrase}).**
    **A**, test AUC of {values["image_model"].text} alone, with features added step by step, and of the features without
    the image.
    {shaft} {weights}
    Bars: {study.interval_phrase}; dotted: no effect.""",
)
