"""Gain from more neurons: interval width by number of test neurons, AUC by number of training neurons."""

import matplotlib.pyplot as plt
import style
from matplotlib.ticker import FuncFormatter

from pipeline import glue

study = glue.study("figures/power.py")
values = study.values("inference")
widths = study.rows("inference", "half_widths")
wanted, needed, here = (values[name] for name in ("half_width_wanted", "neurons_needed", "n_test_neurons"))
learning = study.rows("inference", "learning").query("metric == 'roc_auc'")

n_panels = 1 if learning.empty else 2
figure, axes = plt.subplots(1, n_panels, figsize=((0.75 if n_panels == 1 else 1) * style.WIDTH, 3.2), squeeze=False)
panel = axes[0, 0]
panel.plot(widths["n_neurons"], widths["closed_form"], color="black", label="closed form", zorder=3)
panel.plot(
    widths["n_neurons"], widths["resampled"], "ko", markerfacecolor="white", markersize=5, label="resampled", zorder=4
)
panel.axhline(wanted.value, **style.REFERENCE)
panel.axvline(here.value, color="black", linestyle="--", linewidth=1, label=f"this study: {here.text} neurons")
look = {"color": "black", "markersize": 6, "zorder": 5, "label": f"±{wanted.text}: {needed.text} neurons"}
panel.plot(needed.value, wanted.value, "s", **look)
panel.set_xscale("log")
panel.set_yscale("log")
for axis in (panel.xaxis, panel.yaxis):
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
panel.set_xticks([6, 10, 20, 50, 100, 200, 500, 1000])
panel.set_yticks([y for y in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if 0.7 * widths["closed_form"].min() < y])
panel.set(xlabel="Test neurons, half of each class", ylabel="Half-width of the interval")
panel.legend(loc="upper right")

if n_panels == 2:
    style.letter(panel, "A")
    panel = axes[0, 1]
    for look, (label, rows) in zip(style.SERIES, learning.groupby("label", sort=False), strict=False):
        style.estimates(panel, rows["n_train_neurons"], rows["value"], rows, joined=True, label=label, **look)
    sizes = sorted(learning["n_train_neurons"].unique())
    panel.set_xscale("log")
    panel.set_xticks(sizes, [glue.count(n).text for n in sizes])
    panel.set_xticks([], minor=True)
    panel.set(xlabel="Training neurons", ylabel="ROC AUC on the test neurons")
    panel.legend(loc="lower right")
    style.letter(panel, "B")

curves = f"""**B**, test AUC against the number of training neurons; bars: {study.interval_phrase}, without the
    variation between choices of training neurons."""
study.save_figure(
    figure,
    f"""**Gain from more neurons ({study.data_phrase}).**
    {"**A**, half-width" if n_panels == 2 else "Half-width"} of the interval of balanced accuracy of
    {values["best_model"].text} against the number of test neurons, in closed form and by resampling.
    {curves if n_panels == 2 else ""}""",
)
