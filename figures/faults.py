"""The three faults in one: scores and coverage with each fault and with its remedy."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

INTERVALS = {
    "synapses": style.FAULTY | {"linestyle": "-.", "label": "over synapses"},
    "report": style.RIGHT | {"linestyle": "-", "label": "over neurons"},
}

study = glue.study("figures/faults.py")
units, leakage, confidence = study.values("units"), study.values("leakage"), study.values("confidence")
cubes = study.rows("units", "scores").query("metric == 'roc_auc'").set_index("cubes")
protocols = study.rows("leakage", "scores").query("metric == 'balanced_accuracy'").set_index("protocol")
coverage = study.rows("confidence", "coverage").query("metric == 'balanced_accuracy'")

figure, axes = plt.subplots(1, 3, figsize=(style.WIDTH, 2.5), width_ratios=(1, 1, 1.5))
pairs = (
    (axes[0], "Units", "ROC AUC", cubes.loc["misread"], cubes.loc["right"], ("misread", "correct")),
    (axes[1], "Leakage", "Balanced accuracy", *protocols.loc[["leaky", "honest"]].iloc, ("synapses", "neurons")),
)
for panel, title, ylabel, faulty, right, names in pairs:
    style.estimates(panel, 0, faulty["value"], faulty, **style.FAULTY)
    style.estimates(panel, 1, right["value"], right, **style.RIGHT)
    panel.axhline(0.5, **style.REFERENCE)
    panel.set_xticks((0, 1), names)
    panel.set(ylabel=ylabel, xlim=(-0.6, 1.6), ylim=(0.35, 1.03))
    panel.set_title(title)
axes[0].set_xlabel("Units of positions")
axes[1].set_xlabel("Split by")

panel = axes[2]
for interval, look in INTERVALS.items():
    rows = coverage[coverage["interval"] == interval].sort_values("n_neurons")
    style.estimates(panel, rows["n_neurons"], rows["coverage"], rows, value="coverage", joined=True, **look)
panel.axhline(confidence["nominal"].value, color="black", linestyle="--", linewidth=1, zorder=0)
sizes = sorted(coverage["n_neurons"].unique())
panel.set(xlabel="Test neurons", ylabel="Share of intervals\nthat contain the truth", xscale="log", ylim=(0, 1.03))
panel.set_xticks(sizes, labels=sizes)
panel.minorticks_off()
panel.set_title("Confidence")
panel.legend(loc="upper right", bbox_to_anchor=(1, 0.9), title="Intervals")
for panel, name in zip(axes, "ABC", strict=True):
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Each fault (triangles) and its remedy (circles; {study.data_phrase}).**
    **A**, {units["model"].text} on {units["n_test_synapses"].text} test synapses; **B**, a model that knows only labels
    of other synapses; dotted, chance; bars, {study.interval_phrase}.
    **C**, {confidence["n_repeats"].text} simulated test sets at each number of neurons; broken line, the nominal
    {confidence["nominal"].text}; bars, binomial intervals.""",
)
