"""Accuracy of classifying a neuron against the number of its synapses that are pooled."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/pooling.py")
values = study.values("inference")
pooled = study.rows("inference", "pooled")
models = study.rows("inference", "models").set_index("model")
sizes = list(pooled["pooled"].unique())

figure, panel = plt.subplots(figsize=(style.WIDTH, 3.2))
ends = {}  # of each line, for its label
shown = list(pooled["model"].unique())
for i, (name, rows) in enumerate(pooled.groupby("model", sort=False)):
    model = models.loc[name]
    look = style.network(model)
    place = [x + 0.1 * (i - (len(shown) - 1) / 2) for x in range(len(sizes))]
    style.estimates(panel, place, rows["value"], rows, joined=True, **look)
    ends[model["label"]] = (place[-1], rows["value"].iloc[-1])
panel.axhline(0.5, **style.REFERENCE)
panel.set_xticks(range(len(sizes)), sizes)
panel.set(xlabel="Pooled synapses of a neuron", ylabel="Balanced accuracy over neurons", ylim=(None, 1.02))
style.end_labels(panel, ends)

short = pooled[pooled["model"] == values["best_model"].value].set_index("pooled")["n_short"]
n_short = ", ".join(f"{glue.count(n).text} at {k}" for k, n in short.items() if n > 0)
study.save_figure(
    figure,
    f"""**Pooling the synapses of a neuron ({study.data_phrase}).**
    Balanced accuracy over the {values["n_test_neurons"].text} test neurons, pooling log odds of k synapses.
    Trained: the best model of each dimensionality on validation; grey and open: untrained.
    {f"With fewer than k synapses a neuron contributes all: {n_short}." if n_short else ""}
    Bars: {study.interval_phrase}; dotted, chance.""",
)
