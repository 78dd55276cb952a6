"""Slices of cubes cut with correct and with misread units, and the scores of a network trained on each."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

BAR_NM = 200
CUBES = {
    "right": style.RIGHT | {"label": "correct"},
    "misread": style.FAULTY | {"label": "misread"},
}
METRICS = ("roc_auc", "balanced_accuracy")

study = glue.study("figures/units.py")
values = study.values("units")
pictures = study.rows("units", "pictures")
scores = study.rows("units", "scores").set_index(["cubes", "metric"])
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]

offsets = {cubes: sorted(rows["offset_um"].unique()) for cubes, rows in pictures.groupby("cubes")}
n = len(offsets["right"])
figure = plt.figure(figsize=(style.WIDTH, 2.7))
left, right = figure.subfigures(1, 2, width_ratios=(n, 2))
grid = left.subplots(2, n, squeeze=False)
for row, (cubes, look) in zip(grid, CUBES.items(), strict=True):
    for panel, offset in zip(row, offsets[cubes], strict=True):
        pixels = pictures[(pictures["cubes"] == cubes) & (pictures["offset_um"] == offset)]
        last = offset == offsets[cubes][-1]
        style.image(panel, style.layers(pixels, ["grey"])["grey"], pixel_nm, BAR_NM if last else None)
        place = "elsewhere" if pixels["elsewhere"].iloc[0] else f"{glue.number(offset).text} µm"
        panel.set_title(place, fontsize=8)
    style.row_label(row[0], look["label"], color=look["color"], fontweight="bold")
style.corner_letter(left, "A")

panel = right.subplots()
for shift, (cubes, look) in zip((-0.1, 0.1), CUBES.items(), strict=True):
    rows = scores.loc[cubes].loc[list(METRICS)]
    style.estimates(panel, np.arange(len(METRICS)) + shift, rows["value"], rows, **look)
panel.axhline(0.5, **style.REFERENCE)
panel.set_xticks(range(len(METRICS)), labels=["ROC AUC", "balanced\naccuracy"])
panel.set(xlim=(-0.5, len(METRICS) - 0.5), ylim=(0.2, 1.02))
panel.legend(loc="lower center", title="Units", ncols=2, columnspacing=1, handletextpad=0.2)
style.letter(panel, "B")

study.save_figure(
    figure,
    f"""**Cubes cut with correct and with misread units ({study.data_phrase}).**
    **A**, slices of one excitatory test synapse with their distance from the middle; elsewhere: beyond the volume,
    replaced by another place in it; bar {BAR_NM} nm.
    **B**, {values["model"].text} trained on each, on {values["n_test_synapses"].text} test synapses; dotted, chance;
    bars: {study.interval_phrase}.""",
)
