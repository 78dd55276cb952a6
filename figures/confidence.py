"""Coverage and width of intervals whose truth is known, against the number of test neurons and near the ceiling."""

import matplotlib.pyplot as plt
import numpy as np
import style
from scipy.special import logit

from pipeline import glue

LOOKS = {
    "report": style.RIGHT | {"linestyle": "-", "label": "neurons, as in this report"},
    "percentile": style.SERIES[1] | {"label": "neurons, percentiles"},
    "synapses": style.FAULTY | {"linestyle": "-.", "label": "synapses"},
}
METRICS = ("balanced_accuracy", "roc_auc")

study = glue.study("figures/confidence.py")
values = study.values("confidence")
table = study.rows("confidence", "coverage").set_index(["metric", "interval"]).sort_index()
ceiling = study.rows("confidence", "ceiling")
nominal = values["nominal"].value

figure = plt.figure(figsize=(style.WIDTH, 7.4))
upper, lower = figure.subfigures(2, 1, height_ratios=(5.2, 2.2))
axes = upper.subplots(2, 2, sharex=True, sharey="row", height_ratios=(1.3, 1))
for column, metric in enumerate(METRICS):
    coverage, width = axes[:, column]
    for i, (interval, look) in enumerate(LOOKS.items()):
        rows = table.loc[(metric, interval)].sort_values("n_neurons")
        place = rows["n_neurons"] * 1.06 ** (i - 1)  # side by side on the logarithmic axis
        style.estimates(coverage, place, rows["coverage"], rows, value="coverage", joined=True, **look)
        width.plot(place, rows["width"], markersize=4.5, **look)
    coverage.axhline(nominal, color="black", linestyle="--", linewidth=1, zorder=0)
    coverage.set_title(glue.sentence_case(glue.METRICS[metric]))
    width.set(xlabel="Test neurons", xscale="log")
    width.set_xticks(sorted(table["n_neurons"].unique()), labels=sorted(table["n_neurons"].unique()))
    width.minorticks_off()
axes[0, 0].set(ylabel="Share of intervals that contain the truth", ylim=(0, 1.03))
axes[1, 0].set(ylabel="Mean width of an interval", ylim=(0, None))
upper.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, title="Independent units")

near = lower.subplots()
place = logit(np.sort(ceiling["truth"].unique()))
for i, (neurons, rows) in enumerate(ceiling.groupby(["n_excitatory", "n_inhibitory"], sort=False)):
    rows = rows.sort_values("truth")
    look = style.SERIES[i] | {"label": "{} + {}".format(*neurons), "joined": True}
    style.estimates(near, place + 0.06 * (i - 1.5), rows["coverage"], rows, value="coverage", **look)
near.axhline(nominal, color="black", linestyle="--", linewidth=1, zorder=0)
near.set_xticks(place, labels=[f"{truth:g}" for truth in np.sort(ceiling["truth"].unique())])
near.set(xlabel="True ROC AUC", ylabel="Share of intervals\nthat contain the truth", ylim=(0.85, 1.0))
near.legend(title="Excitatory + inhibitory neurons", loc="lower left", ncols=3)
for panel, name in zip((*axes.flat, near), "ABCDE", strict=True):
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Intervals whose truth is known (simulated scores, no images; report on {study.data_phrase}).**
    **A**, **B**, share that contain the truth, with binomial intervals; broken, the nominal
    {values["nominal"].text}; **C**, **D**, mean width.
    Triangles: over synapses; squares: percentiles of resampled neurons; circles: this report.
    **E**, the report's interval of AUC near the ceiling.""",
)
