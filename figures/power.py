"""What neurons buy: precision with test neurons; AUC with training neurons, where networks were trained on parts."""

import matplotlib.pyplot as plt
import style
from matplotlib.ticker import FuncFormatter

from pipeline import glue

study = glue.study("figures/power.py")
values = study.values("inference")
widths = study.frame("inference", "half_widths")
wanted, needed, here = (values[name] for name in ("half_width_wanted", "neurons_needed", "n_test_neurons"))

learning = study.frame("inference", "learning").query("metric == 'roc_auc'")

n_panels = 1 if learning.empty else 2
figure, axes = plt.subplots(1, n_panels, figsize=((0.75 if n_panels == 1 else 1) * style.WIDTH, 3.2), squeeze=False)
panel = axes[0, 0]
panel.plot(widths["n_neurons"], widths["closed_form"], color="black", label="closed form", zorder=3)
panel.plot(widths["n_neurons"], widths["resampled"], "o", color="#E69F00", markersize=5, label="resampled", zorder=4)
panel.axhline(wanted.value, color="0.5", linestyle=":", linewidth=1)
panel.axvline(here.value, color="#0072B2", linestyle="--", linewidth=1, label=f"this study: {here.text} neurons")
panel.plot(
    needed.value,
    wanted.value,
    "s",
    color="#009E73",
    markersize=6,
    label=f"±{wanted.text}: {needed.text} neurons",
    zorder=5,
)
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
    for colour, (label, rows) in zip(style.MODEL_COLOURS, learning.groupby("label", sort=False), strict=False):
        error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
        panel.errorbar(rows["n_train_neurons"], rows["value"], error, color=colour, marker="o", capsize=2, label=label)
    sizes = sorted(learning["n_train_neurons"].unique())
    panel.set_xscale("log")
    panel.set_xticks(sizes, [glue.count(n).text for n in sizes])
    panel.set_xticks([], minor=True)
    panel.set(xlabel="Training neurons", ylabel="ROC AUC on the test neurons")
    panel.legend(loc="lower right")
    style.letter(panel, "B")

curves = f"""**B**, area under the receiver operating characteristic curve (ROC AUC) on the test neurons against the
    number of training neurons of networks of the same recipe; bars: {study.interval_phrase}, which do not tell how
    another choice of training neurons would do."""
study.save_figure(
    figure,
    f"""**What neurons buy ({study.data_phrase}).**
    {"**A**, half-width" if n_panels == 2 else "Half-width"}
    to be expected of the {glue.percent(study.config.stats.confidence).text} interval of balanced accuracy of
    {values["best_model"].text} against the number of test neurons, from the variance between the
    {here.text} test neurons of this study: in closed form, and from {glue.count(study.config.stats.n_bootstrap).text}
    draws of so many neurons.
    Square: the number at which the half-width falls to {wanted.text}; broken: the number of test neurons here.
    {curves if n_panels == 2 else ""}""",
)
