"""Accuracy of each test neuron against its number of synapses."""

import matplotlib.pyplot as plt
import style
from matplotlib.ticker import MaxNLocator

from pipeline import glue

study = glue.study("figures/neurons.py")
values = study.values("performance")
neurons = study.rows("performance", "neurons")

figure, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.3), sharex=True, sharey=True)
for panel, name, (label, class_name) in zip(axes, "AB", glue.CLASSES.items(), strict=True):
    group = neurons[neurons["label"] == label].sort_values("synapses")
    colour = style.CLASS_COLOURS[label]
    panel.fill_between(
        group["synapses"],
        group["low"],
        group["high"],
        step="mid",
        color="0.88",
        linewidth=0,
        label="expected for independent synapses",
    )
    panel.axhline(group["expected"].iloc[0], color="0.45", linestyle="--", linewidth=1, label="accuracy of the class")
    panel.scatter(
        group["synapses"], group["accuracy"], s=20, color=colour, alpha=0.7, linewidth=0, zorder=3, clip_on=False
    )
    panel.set(xlabel="Test synapses of the neuron", ylim=(-0.03, 1.03))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_title(f"{len(group)} {class_name} neurons")
    style.letter(panel, name)
axes[0].set_ylabel("Share classified correctly")
handles = axes[0].get_legend_handles_labels()[0]
figure.legend(handles=handles, loc="outside lower center", ncols=2)

study.save_figure(
    figure,
    f"""**Accuracy of single neurons ({study.data_phrase}).**
    Share of the test synapses of each presynaptic neuron that {values["best_model"].text} classified correctly: **A**,
    excitatory and **B**, inhibitory neurons.
    Dashed: accuracy of the class.
    Grey: where {glue.percent(study.config.stats.confidence).text} of them would lie if synapses were independent
    draws.""",
)
