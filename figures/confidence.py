"""Coverage and width of intervals whose truth is known, against the number of test neurons."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

LOOKS = {
    "expanded": (style.RIGHT, "o", "neurons, as in this report"),
    "percentile": (style.MODEL_COLOURS[3], "s", "neurons, percentiles"),
    "synapses": (style.FAULTY, "^", "synapses"),
}
METRICS = ("balanced_accuracy", "roc_auc")

study = glue.study("figures/confidence.py")
values = study.values("confidence")
table = study.rows("confidence", "coverage").set_index(["metric", "interval"]).sort_index()
nominal = values["nominal"].value

figure, axes = plt.subplots(2, 2, figsize=(style.WIDTH, 5.2), sharex=True, sharey="row", height_ratios=(1.3, 1))
for column, metric in enumerate(METRICS):
    coverage, width = axes[:, column]
    for i, (interval, (colour, marker, words)) in enumerate(LOOKS.items()):
        rows = table.loc[(metric, interval)].sort_values("n_neurons")
        place = rows["n_neurons"] * 1.06 ** (i - 1)  # side by side on the logarithmic axis
        look = {"fmt": f"{marker}-", "color": colour, "label": words}
        style.estimates(coverage, place, rows["coverage"], rows, value="coverage", **look)
        width.plot(place, rows["width"], f"{marker}-", color=colour, markersize=4.5)
    coverage.axhline(nominal, color="black", linestyle="--", linewidth=1, zorder=0)
    coverage.set_title(glue.sentence_case(glue.METRICS[metric]))
    width.set(xlabel="Test neurons", xscale="log")
    width.set_xticks(sorted(table["n_neurons"].unique()), labels=sorted(table["n_neurons"].unique()))
    width.minorticks_off()
axes[0, 0].set(ylabel="Share of intervals that contain the truth", ylim=(0, 1.03))
axes[1, 0].set(ylabel="Mean width of an interval", ylim=(0, None))
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="Independent units")
for panel, name in zip(axes.flat, "ABCD", strict=True):
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Intervals whose truth is known (simulated scores, no images; in the report on {study.data_phrase}).**
    At each number of neurons, {values["n_repeats"].text} test sets were drawn, half of the neurons excitatory and half
    inhibitory, with {values["synapses_per_neuron"].text} synapses a neuron on average, from a population whose true
    balanced accuracy is {values["truth_balanced_accuracy"].text} and whose true ROC AUC, the area under the receiver
    operating characteristic curve, is {values["truth_roc_auc"].text}.
    **A**, **B**, share of the intervals that contain the truth, with its own binomial interval; broken line: the
    nominal confidence, {values["nominal"].text}.
    **C**, **D**, mean width of the intervals.
    Pink: intervals that treat synapses as independent (two binomial intervals; DeLong's interval for AUC).
    Blue and green: bootstrap that resamples neurons within their class ({values["n_replicates"].text} replicates), with
    plain percentiles, and with the correction for few neurons that this report uses.
    The test set of the earlier work had {values["n_fewest"].text} neurons.""",
)
