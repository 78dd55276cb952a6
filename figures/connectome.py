"""Neuron class from connectivity alone: AUROC by group of features, and two leaks beside the honest protocol."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/connectome.py")
values = study.values("connectome")
scores = study.frame("connectome", "scores").set_index(["features", "model", "unit"])
leak = study.frame("connectome", "leak")
protocols = study.frame("connectome", "protocols").set_index(["unit", "protocol", "metric"])

ROWS = {
    ("multiplicity", "logistic"): "multiplicity",
    ("post", "logistic"): "post neuron",
    ("multiplicity_post", "logistic"): "multiplicity and post neuron",
    ("geometry", "logistic"): "soma-to-soma geometry",
    ("all", "logistic"): "all",
    ("all", "boosting"): "all, gradient boosting",
}
HONEST, LEAKY = "#009E73", "#CC79A7"  # Okabe and Ito
CHANCE = {"color": "0.8", "linewidth": 0.8, "zorder": 0}


def points(panel, x, y, rows, horizontal=False, **look):
    """Estimates with their intervals."""
    error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
    panel.errorbar(x, y, **{"xerr" if horizontal else "yerr": error}, markersize=4.5, capsize=2, linewidth=1, **look)


figure, axes = plt.subplot_mosaic("AA;BC", figsize=(style.WIDTH, 5.4))

panel = axes["A"]
for unit, shift, marker in (("connection", -0.14, "o"), ("neuron", 0.14, "s")):
    rows = scores.xs(unit, level="unit").loc[list(ROWS)]
    place = [i + shift for i in range(len(ROWS))]
    colour = "black" if unit == "connection" else style.CONTROL["color"]
    points(panel, rows["value"], place, rows, horizontal=True, fmt=marker, color=colour, label=f"each {unit}")
panel.axvline(0.5, **CHANCE)
panel.set_yticks(range(len(ROWS)), labels=list(ROWS.values()))
panel.invert_yaxis()
panel.set(xlabel="ROC AUC", xlim=(0.45, 1))
panel.legend(loc="upper right")

panel = axes["B"]
for share, shift, colour, marker, words in (
    ("cross-fitted", -3, HONEST, "o", "other folds"),
    ("leave-one-out", 3, LEAKY, "^", "all but the connection (leak)"),
):
    rows = leak[leak["share"] == share]
    points(panel, rows["n_trees"] + shift, rows["value"], rows, fmt=f"{marker}-", color=colour, label=words)
panel.set_xticks(sorted(leak["n_trees"].unique()))
panel.margins(x=0.25)
panel.set(xlabel="Trees", ylabel="ROC AUC of connections", ylim=(0.5, 1))
panel.legend(loc="lower left", title="Inhibitory share counted over", alignment="left")

panel = axes["C"]
for protocol, colour, marker, words in (
    ("leaky", LEAKY, "^", "synapses split at random (leak)"),
    ("honest", HONEST, "o", "neurons held out"),
):
    rows = (
        protocols.xs("balanced_accuracy", level="metric").xs(protocol, level="protocol").loc[["connection", "synapse"]]
    )
    points(panel, [0, 1], rows["value"], rows, fmt=marker, color=colour, label=words)
panel.axhline(0.5, **CHANCE)
panel.set_xticks([0, 1], labels=["connections", "synapses"])
panel.set(ylabel="Balanced accuracy", xlim=(-0.5, 1.5), ylim=(0.45, 1.03))
panel.legend(loc="center")
for name, panel in axes.items():
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Excitatory or inhibitory, from connectivity alone ({study.data_phrase}).**
    {values["n_connections"].text} connections ({values["n_synapses"].text} synapses) of {values["n_neurons"].text}
    presynaptic neurons ({values["n_inhibitory_neurons"].text} inhibitory), scored in {values["n_folds"].text} folds by
    presynaptic neuron; bars are {study.interval_phrase}.
    **A**, area under the receiver operating characteristic curve (ROC AUC) by group of features, of each connection
    and of each neuron by the mean log odds of its connections; logistic regression but for the last row.
    Multiplicity: synapses of the pair; post neuron: its class, depth, and the share of inhibitory among its inputs;
    vertical line: chance.
    **B**, a leak: gradient boosting where that share is counted over presynaptic neurons of other folds, and where
    only the scored connection is left out.
    **C**, the prior work's model (share of excitatory synapses of the pre and the post neuron in training) as it was,
    with synapses split at random, and on held-out neurons, of which the prior knows nothing: its weight when fitted
    again there is {values["prior_honest_synapse_pre_weight"].text}, against
    {values["prior_leaky_synapse_pre_learned"].text} learned in training.""",
)
