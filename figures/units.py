"""Slices of a cube cut right and of the same cube cut with the units mistake, and what a network makes of either."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

BAR_NM = 200
CUBES = {"right": ("#009E73", "o", "right"), "misread": ("#CC79A7", "^", "misread")}
METRICS = ("roc_auc", "balanced_accuracy")

study = glue.study("figures/units.py")
values = study.values("units")
pictures = study.frame("units", "pictures")
scores = study.frame("units", "scores").set_index(["cubes", "metric"])
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]

offsets = {cubes: sorted(rows["offset_um"].unique()) for cubes, rows in pictures.groupby("cubes")}
n = len(offsets["right"])
figure = plt.figure(figsize=(style.WIDTH, 2.7))
left, right = figure.subfigures(1, 2, width_ratios=(n, 2))
grid = left.subplots(2, n, squeeze=False)
for row, (cubes, (colour, _, words)) in zip(grid, CUBES.items(), strict=True):
    for panel, offset in zip(row, offsets[cubes], strict=True):
        pixels = pictures[(pictures["cubes"] == cubes) & (pictures["offset_um"] == offset)].sort_values(["y", "x"])
        shape = pixels["y"].max() + 1, pixels["x"].max() + 1
        last = offset == offsets[cubes][-1]
        style.image(panel, pixels["grey"].to_numpy().reshape(shape), pixel_nm, BAR_NM if last else None)
        place = "elsewhere" if pixels["elsewhere"].iloc[0] else f"{glue.number(offset).text} µm"
        panel.set_title(place, fontsize=8)
    row[0].text(
        -0.08, 0.5, words, transform=row[0].transAxes, rotation=90, ha="right", va="center", color=colour,
        fontweight="bold",
    )  # fmt: skip
left.text(0.005, 0.995, "A", va="top", fontweight="bold", fontsize=10)

panel = right.subplots()
for shift, (cubes, (colour, marker, words)) in zip((-0.1, 0.1), CUBES.items(), strict=True):
    rows = scores.loc[cubes].loc[list(METRICS)]
    error = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
    place = np.arange(len(METRICS)) + shift
    panel.errorbar(place, rows["value"], error, fmt=marker, color=colour, markersize=5, capsize=2, label=words)
panel.axhline(0.5, color="0.5", linestyle=":", linewidth=1, zorder=0)
panel.set_xticks(range(len(METRICS)), labels=["ROC AUC", "balanced\naccuracy"])
panel.set(xlim=(-0.5, len(METRICS) - 0.5), ylim=(0.2, 1.02))
panel.legend(loc="lower center", title="Cubes", ncols=2, columnspacing=1, handletextpad=0.2)
style.letter(panel, "B")

study.save_figure(
    figure,
    f"""**Cubes cut with right and with misread units ({study.data_phrase}).**
    **A**, slices around the middle of the cube of one synapse, with their distance from it along the third axis: the
    excitatory test synapse of which the network on right cubes is surest; bar {BAR_NM} nm.
    Right, neighbouring sections; misread, one in {values["step"].text} sections, so that the
    {values["n_slices"].text} slices of the cube, of which the network sees {values["n_seen"].text}, span
    {values["span_um"].text} µm and one shows the synapse.
    Elsewhere: the mistake leads beyond the volume, and the slice is from another place in it, drawn at random
    ({values["elsewhere_share"].text} of the slices other than the middle one).
    **B**, {values["model"].text} trained on either, with the same settings, on {values["n_test_synapses"].text} test
    synapses of {values["n_test_neurons"].text} presynaptic neurons: ROC AUC, area under the receiver operating
    characteristic curve, and balanced accuracy at the threshold chosen on validation; dotted: chance.
    Right minus misread, ROC AUC {values["difference_roc_auc"].text}.
    Bars and brackets: {study.interval_phrase}.""",
)
