"""Calibration curves: the share of excitatory synapses against the predicted probability."""

import math

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/calibration.py")
values = study.values("inference")
curves = study.rows("inference", "curves")
models = study.rows("inference", "models").set_index("model")

shown = list(curves["model"].unique())
columns = min(len(shown), 2)
rows = math.ceil(len(shown) / columns)
size = (style.WIDTH, 0.4 + 2.9 * rows)
figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False)
for unused in axes.flat[len(shown) :]:
    unused.set_axis_off()
for panel, name, letter in zip(axes.flat, shown, "ABCDEFGH", strict=False):
    model, curve = models.loc[name], curves[curves["model"] == name]
    panel.plot([0, 1], [0, 1], color="0.8", linewidth=0.8, zorder=1)
    style.estimates(panel, curve["p_excitatory"], curve["value"], curve, joined=True, **style.network(model))
    text = f"ECE {values[f'{name}_ece'].text}\nBrier {values[f'{name}_brier'].text}"
    panel.text(0.98, 0.03, text, ha="right", va="bottom", transform=panel.transAxes, fontsize=8)
    panel.set_title(model["label"])
    panel.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    style.letter(panel, letter)
for panel in axes[:, 0]:
    panel.set_ylabel("Share of excitatory synapses")
for column in range(columns):
    last = max(i for i in range(len(shown)) if i % columns == column)
    axes.flat[last].set_xlabel("Predicted probability of excitatory")
    axes.flat[last].tick_params(labelbottom=True)

n_bins = sorted(set(curves.groupby("model").size()))
bins = " or ".join(glue.count(n).text for n in n_bins)
study.save_figure(
    figure,
    f"""**Calibration on the test neurons ({study.data_phrase}).**
    Share of excitatory synapses against mean predicted probability in {bins} bins of equal size; straight line: perfect
    calibration; open and grey: untrained.
    ECE, expected calibration error, with percentile intervals; Brier, mean squared error.
    Bars and brackets: {study.interval_phrase}.""",
)
