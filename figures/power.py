"""How precise an answer is to be expected from how many test neurons."""

import matplotlib.pyplot as plt
import style
from matplotlib.ticker import FuncFormatter

from pipeline import glue

study = glue.study("figures/power.py")
values = study.values("inference")
widths = study.frame("inference", "half_widths")
wanted, needed, here = (values[name] for name in ("half_width_wanted", "neurons_needed", "n_test_neurons"))

figure, panel = plt.subplots(figsize=(0.75 * style.WIDTH, 3.2))
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

study.save_figure(
    figure,
    f"""**Test neurons and precision ({study.data_phrase}).**
    Half-width to be expected of the {glue.percent(study.config.stats.confidence).text} interval of balanced accuracy of
    {values["best_model"].text} against the number of test neurons, from the variance between the
    {here.text} test neurons of this study: in closed form, and from {glue.count(study.config.stats.n_bootstrap).text}
    draws of so many neurons.
    Square: the number at which the half-width falls to {wanted.text}; broken: the number of test neurons here.""",
)
