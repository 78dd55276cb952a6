"""What a split by synapse gives away: class priors of the pre and post neuron under both protocols."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

PROTOCOLS = {
    "leaky": style.FAULTY | {"label": "synapses split at random (leak)"},
    "honest": style.RIGHT | {"label": "neurons held out"},
}
METRICS = ("accuracy", "balanced_accuracy", "roc_auc")

study = glue.study("figures/leakage.py")
values = study.values("leakage")
priors = study.rows("leakage", "priors")
scores = study.rows("leakage", "scores").set_index(["protocol", "metric"])
weights = study.rows("leakage", "weights").set_index("side")

figure, axes = plt.subplot_mosaic("ABCC;ABDD", figsize=(style.WIDTH, 4.2))

edges = np.linspace(0, 1, 22)  # an odd number of bins, so that one half is the middle of a bin
for name, protocol in (("A", "leaky"), ("B", "honest")):
    panel = axes[name]
    for label, class_name in glue.CLASSES.items():
        of_class = priors[(priors["protocol"] == protocol) & (priors["label"] == label)]
        share = np.histogram(of_class["pre"], edges)[0] / len(of_class)
        side = share if label else -share
        colour = style.CLASS_COLOURS[label]
        panel.barh(edges[:-1], side, np.diff(edges), align="edge", facecolor=colour)
        panel.text(0.5 if label else -0.5, 0.02, class_name, color=colour, ha="center", fontsize=8)
    panel.axvline(0, color="black", linewidth=0.8)
    panel.set(xlim=(-1.05, 1.05), ylim=(0, 1), xlabel="Share of the class")
    panel.set_xticks([-1, 0, 1], labels=["1", "0", "1"])
    panel.set_title("Leaky" if protocol == "leaky" else "Honest")
axes["A"].set_ylabel("Excitatory share of the pre neuron in training")
axes["B"].set_yticklabels([])

panel = axes["C"]
for shift, (protocol, look) in zip((-0.08, 0.08), PROTOCOLS.items(), strict=True):
    rows = scores.loc[protocol].loc[list(METRICS)]
    style.estimates(panel, np.arange(len(METRICS)) + shift, rows["value"], rows, **look)
panel.axhline(0.5, **style.REFERENCE)
panel.set_xticks(range(len(METRICS)), labels=["accuracy", "balanced\naccuracy", "ROC AUC"])
panel.set(xlim=(-0.5, len(METRICS) - 0.5), ylim=(0.45, 1.03))

panel = axes["D"]
place = np.arange(len(weights))
panel.plot(place - 0.08, weights["learned"], linestyle="", markersize=4.5, **PROTOCOLS["leaky"])
style.estimates(panel, place + 0.08, weights["weight"], weights, value="weight", **PROTOCOLS["honest"])
panel.axhline(0, **style.REFERENCE)
panel.set_xticks(place, labels=[f"{side} neuron" for side in weights.index])
panel.set(ylabel="Weight", xlim=(-0.5, len(weights) - 0.5))
panel.margins(y=0.15)
figure.legend(*axes["C"].get_legend_handles_labels(), loc="outside upper right", ncols=2)
for name, panel in axes.items():
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**What a split by synapse gives away ({study.data_phrase}).**
    **A**, split by synapse, and **B**, by neuron: a neuron's excitatory share in training, by class of the test
    synapses.
    **C**, scores; dotted, chance; bars, {study.interval_phrase}.
    **D**, weights of the presynaptic (pre) and postsynaptic (post) share: as learned, and on held-out neurons.""",
)
