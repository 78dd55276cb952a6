"""Simulated and real synapses side by side at the same scale.

Made by `make realism DATA=<folder of real EM>`.
"""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

WINDOW_NM, BAR_NM = 1024, 250
N_OF_CLASS = {1: 8, 0: 4}

study = glue.study("figures/gallery.py", on_data=True)
if not study.simulated:
    raise glue.StudyError(f"the gallery compares simulated with real synapses; {study.config.name!r} is not simulated")


def windows(opened, patches, synapses):
    """12 patches of a study cut to the window `[N, Y, X]`, their labels, and the size of a pixel in nm.

    In each class they are evenly spaced by id, among those that lie wholly in the volume or else are padded least.
    """
    quality = opened.read(patches / "quality.parquet")[["synapse_id", "patch_padded"]]
    rows = quality.merge(opened.read(synapses))
    chosen = []
    for label, n in N_OF_CLASS.items():
        of_class = rows[rows["label"] == label].sort_values(["patch_padded", "synapse_id"])
        ids = np.sort(of_class["synapse_id"].head(max(n, (of_class["patch_padded"] == 0).sum())))
        chosen += [(ids[i], label) for i in np.linspace(0, len(ids) - 1, min(n, len(ids))).round().astype(int)]
    pixel_nm = opened.read(patches / "manifest.json")["voxel_nm"][0]
    images = style.middle(opened.patches([synapse_id for synapse_id, _ in chosen]), round(WINDOW_NM / pixel_nm))
    return images, [label for _, label in chosen], pixel_nm


shown = {
    "simulated": windows(study.edition, study.edition.build.patches, study.edition.build.synapses),
    "real": windows(study, study.build.patches, study.build.synapses),
}
sizes = [images.shape[1] * pixel_nm for images, _, pixel_nm in shown.values()]
glue.require(sizes[0] == sizes[1], f"both sides show windows of the same size (they are {sizes} nm)")

figure = plt.figure(figsize=(style.WIDTH * 1.4, 8.0))
for part, (title, (images, labels, pixel_nm)) in zip(figure.subfigures(1, 2, wspace=0.04), shown.items(), strict=True):
    part.suptitle(title, fontweight="bold")
    axes = part.subplots(4, 3)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, image, label in zip(axes.flat, images, labels, strict=False):
        style.image(panel, image, pixel_nm, BAR_NM)
        panel.set_title(glue.CLASSES[label], color=style.CLASS_COLOURS[label], fontsize=8, pad=2)

study.save_figure(
    figure,
    f"""**Synapses of {study.data_phrase} (left) and of real electron microscopy (right) at the same scale.**
    Real: the folder {study.config.data.resolve().name}.
    In each class, synapses are evenly spaced in the order of their ids, among the patches that lie wholly in the volume
    or else are padded least; windows of {sizes[0] / 1000:.2g} µm, bar {BAR_NM} nm.""",
)
