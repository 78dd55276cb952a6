"""Grey-level quantiles, power spectrum and profiles across the junction compared with real electron microscopy."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

study = glue.study("figures/realism.py")
values = study.values("realism")
quantiles = study.rows("realism", "quantiles")
spectrum = study.rows("realism", "spectrum")
junctions = study.rows("simulation", "junctions")
counts = study.values("simulation")

ours = style.SERIES[0] | {"markersize": 3.5, "label": study.data_phrase}
real = style.SERIES[1] | {"markersize": 3.5, "label": "real, Kasthuri AC3"}
figure, axes = plt.subplots(1, 3, figsize=(style.WIDTH, 2.9))

axes[0].plot(100 * quantiles["level"], quantiles["real"], **real)
axes[0].plot(100 * quantiles["level"], quantiles["ours"], **ours)
axes[0].set(xlabel="Pixels at or below (%)", ylabel="Grey level (0 to 255)", xlim=(0, 100), ylim=(0, 260))
axes[1].loglog(spectrum["frequency_per_um"], spectrum["real"], **real)
axes[1].loglog(spectrum["frequency_per_um"], spectrum["ours"], **ours)
axes[1].set(xlabel="Spatial frequency (cycles per µm)", ylabel="Power density (grey level² µm²)")
axes[1].set_xticks([2, 5, 10, 20, 50], labels=["2", "5", "10", "20", "50"])
axes[1].minorticks_off()
for label, colour in style.CLASS_COLOURS.items():
    for tissue, look in (("real", real), ("ours", ours)):
        rows = junctions[(junctions["tissue"] == tissue) & (junctions["label"] == label)]
        line = {"color": colour, "linestyle": look["linestyle"]}
        axes[2].plot(rows["distance_nm"], 100 * rows["grey"], **line)
    axes[2].plot([], [], color=colour, label=glue.CLASSES[label])
axes[2].axvline(0, color="0.8", linewidth=0.8, zorder=0)
axes[2].set(
    xlabel="Distance from the cleft (nm)",
    ylabel="Grey level (% of the patch's range)",
    xlim=(-130, 130),
    ylim=(-80, 28),
)
for panel, name, place in zip(axes, "ABC", ("lower right", "lower left", "lower left"), strict=True):
    panel.legend(loc=place)
    style.letter(panel, name)

study.save_figure(
    figure,
    f"""**Texture of {study.data_phrase} compared with real electron microscopy.**
    Real: mouse somatosensory cortex (Kasthuri et al. 2015, cutout AC3).
    **A**, quantiles of the grey level; **B**, power spectrum; **C**, grey level across the junction, from the bouton to
    the postsynaptic cell, for {counts["n_profiled"].text} simulated and {counts["n_real_excitatory"].text} excitatory
    and {counts["n_real_inhibitory"].text} inhibitory real synapses.""",
)
