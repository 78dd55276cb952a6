"""Grey-level quantiles and power spectrum compared with real electron microscopy."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/realism.py")
values = study.values("realism")
quantiles = study.rows("realism", "quantiles")
spectrum = study.rows("realism", "spectrum")

ours = {"color": style.MODEL_COLOURS[0], "marker": "o", "markersize": 3.5, "label": study.data_phrase}
real = {"color": "black", "marker": "s", "markersize": 3.5, "linestyle": "--", "label": "real, Kasthuri AC3"}
figure, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 3.2))

axes[0].plot(100 * quantiles["level"], quantiles["real"], **real)
axes[0].plot(100 * quantiles["level"], quantiles["ours"], **ours)
axes[0].set(xlabel="Pixels at or below (%)", ylabel="Grey level (0 to 255)", xlim=(0, 100), ylim=(0, 260))
axes[1].loglog(spectrum["frequency_per_um"], spectrum["real"], **real)
axes[1].loglog(spectrum["frequency_per_um"], spectrum["ours"], **ours)
axes[1].set(xlabel="Spatial frequency (cycles per µm)", ylabel="Power density (grey level² µm²)")
axes[1].set_xticks([2, 5, 10, 20, 50], labels=["2", "5", "10", "20", "50"])
axes[1].minorticks_off()
for panel, name, place in zip(axes, "AB", ("lower right", "lower left"), strict=True):
    panel.legend(loc=place)
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Texture of {study.data_phrase} compared with real electron microscopy.**
    {values["n_patches"].text} patches of this edition and {values["n_real_patches"].text} of mouse somatosensory
    cortex (Kasthuri et al. 2015, cutout AC3), both in pixels of 8 nm.
    **A**, quantiles of the grey level.
    **B**, power spectrum averaged over directions; the mean of each patch was subtracted and the patch tapered (Hann
    window).
    The largest relative difference is {values["largest_difference"].text}, in
    {values["largest_difference_in"].text}.""",
)
