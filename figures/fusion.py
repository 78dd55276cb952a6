"""What the wiring adds to the image of a synapse, by what must be known, with and without the features of spines."""

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
LOOKS = {"all": {"color": "#E69F00", "marker": "o"}, "no_spine": {"color": "#0072B2", "marker": "s"}}
SUBSETS = {"all": "All synapses", "shaft": "Shafts and somata"}

study = glue.study("figures/fusion.py")
values = study.values("fusion")
scores = study.frame("fusion", "scores").query("metric == 'roc_auc'")
alone = study.frame("fusion", "alone")
coefficients = study.frame("fusion", "coefficients")
declared = study.frame("fusion", "declared").set_index("feature")
known = [name for name in KNOWN if name in set(scores["features"])]
subsets = [name for name in SUBSETS if name in set(scores["subset"])]
fitted = [name for name in known if name in set(coefficients["features"])]
forest = coefficients[coefficients["features"] == fitted[-1]] if fitted else coefficients

rows = {step: label for step, label in STEPS.items()} | MODELS
figure = plt.figure(figsize=(style.WIDTH, 2.9 + (0.5 + 0.2 * len(forest)) * bool(fitted)))
grid = figure.add_gridspec(
    1 + bool(fitted), len(subsets), height_ratios=[2.9, 0.5 + 0.2 * len(forest)][: 1 + bool(fitted)]
)
panels = []
for column, subset in enumerate(subsets):
    first = panels[0] if panels else None
    panel = figure.add_subplot(grid[0, column], sharex=first, sharey=first)
    panels.append(panel)
    for i, name in enumerate(known):
        steps = scores.query("features == @name and subset == @subset").set_index("step").loc[list(STEPS)]
        others = alone.query("features == @name and subset == @subset").set_index("model").loc[list(MODELS)]
        shift = 0.16 * (2 * i - len(known) + 1)
        for found, start in ((steps, 0), (others, len(STEPS) + 0.4)):
            place = [start + j + shift for j in range(len(found))]
            error = [found["value"] - found["low"], found["high"] - found["value"]]
            panel.errorbar(
                found["value"],
                place,
                xerr=error,
                linestyle="",
                markersize=4.5,
                capsize=2,
                linewidth=1,
                label=KNOWN[name] if start == 0 else None,
                **LOOKS[name],
            )
    panel.axvline(0.5, color="0.5", linestyle=":", linewidth=1, zorder=1)
    panel.set_xlabel("ROC AUC")
    panel.set_title(SUBSETS[subset])
    style.letter(panel, "AB"[column])
panels[0].set_yticks([*range(len(STEPS)), *(len(STEPS) + 0.4 + j for j in range(len(MODELS)))], list(rows.values()))
panels[0].set_ylim(len(rows), -0.6)
for panel in panels[1:]:
    panel.tick_params(labelleft=False)
if len(known) > 1:
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(known))
if fitted:
    panel = figure.add_subplot(grid[1, :])
    error = [forest["coefficient"] - forest["low"], forest["high"] - forest["coefficient"]]
    panel.errorbar(
        forest["coefficient"],
        range(len(forest)),
        xerr=error,
        fmt=LOOKS[fitted[-1]]["marker"],
        color=LOOKS[fitted[-1]]["color"],
        markersize=4.5,
        capsize=2,
        linewidth=1,
    )
    panel.axvline(0, color="0.5", linestyle=":", linewidth=1, zorder=1)
    panel.set_yticks(range(len(forest)), [name.removesuffix("_um").replace("_", " ") for name in forest["feature"]])
    panel.invert_yaxis()
    panel.set_xlabel("Coefficient (log odds of excitatory per standard deviation)")
    style.letter(panel, "ABC"[len(subsets)])

last = "ABC"[len(subsets)]
shaft = (
    f"""**B**, the same on synapses that do not lie on spines ({values["n_shaft_excitatory"].text} excitatory,
    {values["n_shaft_inhibitory"].text} inhibitory)."""
    if "shaft" in subsets
    else ""
)
weights = (
    f"""**{last}**, coefficients of the logistic regression without the image
    {"and without features of spines" if fitted[-1:] == ["no_spine"] else ""}, with intervals whose standard errors are
    clustered by presynaptic neuron."""
    if fitted
    else ""
)
spine = (
    """"Without spines": without the two features that tell whether a synapse, and the axon's other synapses, lie on
    spines."""
    if len(known) > 1
    else ""
)
study.save_figure(
    figure,
    f"""**Image and wiring together ({study.data_phrase}).**
    **A**, area under the receiver operating characteristic curve (ROC AUC) on {values["n_synapses"].text} test synapses
    of {values["n_neurons"].text} neurons: {values["image_model"].text} alone, then stacked with features that are local
    to the synapse, that need the postsynaptic neuron, and that need the whole presynaptic axon; below, the same
    features without the image.
    {spine}
    {shaft}
    {weights}
    Bars in A{" and B" if "shaft" in subsets else ""}: {study.interval_phrase}; dotted: chance, or no effect.""",
)
