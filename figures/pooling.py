"""How many synapses of a neuron it takes to call the neuron."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/pooling.py")
values = study.values("inference")
pooled = study.frame("inference", "pooled")
models = study.frame("inference", "models").set_index("model")
sizes = list(pooled["pooled"].unique())

figure, panel = plt.subplots(figsize=(0.75 * style.WIDTH, 3.4))
shown = list(pooled["model"].unique())
for i, (name, rows) in enumerate(pooled.groupby("model", sort=False)):
    model = models.loc[name]
    look = {"color": style.KIND_COLOURS[model["kind"]], "linestyle": "-"} if model["trained"] else style.CONTROL
    place = [x + 0.1 * (i - (len(shown) - 1) / 2) for x in range(len(sizes))]
    error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
    panel.errorbar(place, rows["value"], error, marker="os^D"[i % 4], markersize=4.5, capsize=2, elinewidth=1, **look)
    panel.plot([], [], marker="os^D"[i % 4], markersize=4.5, label=model["label"], **look)
panel.axhline(0.5, color="0.5", linestyle=":", linewidth=1, zorder=1)
panel.set_xticks(range(len(sizes)), sizes)
panel.set(xlabel="Synapses of a neuron that are pooled", ylabel="Balanced accuracy over neurons", ylim=(None, 1.02))
figure.legend(*panel.get_legend_handles_labels(), loc="outside upper center", ncols=2)

short = pooled[pooled["model"] == values["best_model"].value].set_index("pooled")["n_short"]
n_short = ", ".join(f"{glue.count(n).text} fewer than {k}" for k, n in short.items() if n > 0)
study.save_figure(
    figure,
    f"""**Pooling the synapses of a neuron ({study.data_phrase}).**
    Share of {values["n_test_neurons"].text} test neurons that are called right, averaged over the two classes, when k
    of a neuron's synapses are pooled by their mean log odds at the threshold chosen on validation (mean over random
    choices of k synapses); "all", all of its synapses.
    {f"A neuron with fewer synapses gives all it has: {n_short}." if n_short else ""}
    The best trained model of each kind of input, and, grey and broken, the untrained control.
    Bars: {study.interval_phrase}; where no neuron is called wrong, the lower limit is the exact one for the neurons of
    the smaller class.
    Dotted: chance.""",
)
