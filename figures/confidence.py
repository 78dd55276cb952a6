"""How often intervals hold the truth, and how wide they are, against the number of test neurons."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

LOOKS = {
    "expanded": ("#009E73", "o", "neurons, as in this report"),
    "percentile": ("#56B4E9", "s", "neurons, percentiles"),
    "synapses": ("#CC79A7", "^", "synapses"),
}
METRICS = ("balanced_accuracy", "roc_auc")

study = glue.study("figures/confidence.py")
values = study.values("confidence")
table = study.frame("confidence", "coverage").set_index(["metric", "interval"]).sort_index()
nominal = values["nominal"].value

figure, axes = plt.subplots(2, 2, figsize=(style.WIDTH, 5.2), sharex=True, sharey="row", height_ratios=(1.3, 1))
for column, metric in enumerate(METRICS):
    coverage, width = axes[:, column]
    for i, (interval, (colour, marker, words)) in enumerate(LOOKS.items()):
        rows = table.loc[(metric, interval)].sort_values("n_neurons")
        place = rows["n_neurons"] * 1.06 ** (i - 1)  # side by side on the logarithmic axis
        error = [rows["coverage"] - rows["low"], rows["high"] - rows["coverage"]]
        coverage.errorbar(
            place, rows["coverage"], error, fmt=f"{marker}-", color=colour, markersize=4.5, capsize=2, label=words
        )
        width.plot(place, rows["width"], f"{marker}-", color=colour, markersize=4.5)
    coverage.axhline(nominal, color="black", linestyle="--", linewidth=1, zorder=0)
    coverage.set_title(glue.METRICS[metric][0].upper() + glue.METRICS[metric][1:])
    width.set(xlabel="Test neurons", xscale="log")
    width.set_xticks(sorted(table["n_neurons"].unique()), labels=sorted(table["n_neurons"].unique()))
    width.minorticks_off()
axes[0, 0].set(ylabel="Share of intervals that hold the truth", ylim=(0, 1.03))
axes[1, 0].set(ylabel="Mean width of an interval", ylim=(0, None))
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="Intervals of")
for panel, name in zip(axes.flat, "ABCD", strict=True):
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Intervals whose truth is known (drawn scores, no images; in the report on {study.data_phrase}).**
    {values["n_repeats"].text} test sets were drawn at each number of neurons, half of either class and
    {values["synapses_per_neuron"].text} synapses a neuron on average, from a population whose true balanced accuracy
    is {values["truth_balanced_accuracy"].text} and true ROC AUC, area under the receiver operating characteristic
    curve, {values["truth_roc_auc"].text}.
    **A**, **B**, share of the intervals that hold the truth, with its own binomial interval; broken line: the promise,
    {values["nominal"].text}.
    **C**, **D**, their mean width.
    Pink: intervals that take synapses for independent (two binomials; DeLong's for AUC).
    Blue and green: bootstrap that resamples neurons within their class ({values["n_replicates"].text} replicates), with
    plain percentiles, and with the correction for few neurons that this report uses.
    The prior work's test set had {values["n_fewest"].text} neurons.""",
)
