"""ROC AUC of connectivity alone by group of features, and two leaks beside the correct protocol."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/connectome.py")
values = study.values("connectome")
scores = study.rows("connectome", "scores").set_index(["features", "model", "unit"])
leak = study.rows("connectome", "leak")
protocols = study.rows("connectome", "protocols").set_index(["unit", "protocol", "metric"])

ROWS = {
    ("multiplicity", "logistic"): "multiplicity",
    ("post", "logistic"): "post neuron",
    ("multiplicity_post", "logistic"): "multiplicity and post neuron",
    ("geometry", "logistic"): "soma-to-soma geometry",
    ("all", "logistic"): "all",
    ("all", "boosting"): "all, gradient boosting",
}

figure, axes = plt.subplot_mosaic("AA;BC", figsize=(style.WIDTH, 5.4))

panel = axes["A"]
for unit, shift, look in (
    ("connection", -0.14, style.SERIES[0]),
    ("neuron", 0.14, style.SERIES[1]),
):
    rows = scores.xs(unit, level="unit").loc[list(ROWS)]
    place = [i + shift for i in range(len(ROWS))]
    style.estimates(panel, rows["value"], place, rows, horizontal=True, label=f"each {unit}", **look)
panel.axvline(0.5, **style.REFERENCE)
panel.set_yticks(range(len(ROWS)), labels=list(ROWS.values()))
panel.invert_yaxis()
panel.set(xlabel="ROC AUC", xlim=(0.45, 1))
panel.legend(loc="upper right")

panel = axes["B"]
for share, shift, look in (
    ("cross-fitted", -3, style.RIGHT | {"linestyle": "-", "label": "other folds"}),
    ("leave-one-out", 3, style.FAULTY | {"linestyle": "-.", "label": "all but the connection (leak)"}),
):
    rows = leak[leak["share"] == share]
    style.estimates(panel, rows["n_trees"] + shift, rows["value"], rows, joined=True, **look)
panel.set_xticks(sorted(leak["n_trees"].unique()))
panel.margins(x=0.25)
panel.set(xlabel="Trees", ylabel="ROC AUC of connections", ylim=(0.5, 1))
panel.legend(loc="lower left", title="Inhibitory share counted over", alignment="left")

panel = axes["C"]
balanced = protocols.xs("balanced_accuracy", level="metric")
for protocol, look in (
    ("leaky", style.FAULTY | {"label": "synapses split at random (leak)"}),
    ("honest", style.RIGHT | {"label": "neurons held out"}),
):
    rows = balanced.xs(protocol, level="protocol").loc[["connection", "synapse"]]
    style.estimates(panel, [0, 1], rows["value"], rows, **look)
panel.axhline(0.5, **style.REFERENCE)
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
    **A**, area under the receiver operating characteristic curve (ROC AUC) by group of features, of single connections
    and of neurons scored by the mean log odds of their connections; logistic regression except in the last row.
    Multiplicity: number of synapses of the pair; post neuron: its class, its depth and the inhibitory share of its
    inputs; dotted line: chance.
    **B**, a leak: gradient boosting where that share is counted over presynaptic neurons of other folds, and where
    only the scored connection is left out.
    **C**, the model of the earlier work (share of excitatory synapses of the pre and the post neuron in training) as
    it was, with synapses split at random, and on held-out neurons, about which the share of the pre neuron holds no
    information: fitted again there, its weight is {values["prior_honest_synapse_pre_weight"].text}, against
    {values["prior_leaky_synapse_pre_learned"].text} learned in training.""",
)
