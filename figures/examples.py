"""Examples of both classes as the best model saw them, classified correctly and wrongly."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue, labels

WINDOW_NM, BAR_NM, N_SECTIONS = 1024, 250, 3

study = glue.study("figures/examples.py")
values = study.values("examples")
performance = study.values("performance")
examples = study.rows("examples", "examples")
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]
model = next(entry for entry in study.config.models if entry.name == values["model"].value)
n_seen = labels.input_of(model, study.config)[1]
n_shown = min(n_seen, N_SECTIONS)
# The middle sections of what the network saw, [N, Z, Y, X].
images = study.patches(examples["synapse_id"], "patch" if n_seen == 1 else "cube")
images = images[:, None] if n_seen == 1 else images[:, images.shape[1] // 2 - n_shown // 2 :][:, :n_shown]
images = style.middle(images, round(WINDOW_NM / pixel_nm))
side = images.shape[-1]

columns = examples.groupby("label").size().max()
size = (style.WIDTH, 2 * n_shown * style.WIDTH / columns + 0.55)
figure, axes = plt.subplots(2 * n_shown, columns, figsize=size, squeeze=False)
for panel in axes.flat:
    panel.set_axis_off()
for rows, (label, class_name) in zip(np.split(axes, 2), glue.CLASSES.items(), strict=True):
    of_class = examples[examples["label"] == label]
    for strip, (index, example) in zip(rows.T, of_class.iterrows(), strict=False):
        for panel, section in zip(strip, images[index], strict=True):
            style.image(panel, section, pixel_nm, BAR_NM if panel is strip[-1] else None)
        panel, centre = strip[n_shown // 2], side / 2 - 0.5
        panel.plot([centre], [centre], marker="+", color="white", markersize=4, markeredgewidth=0.7, alpha=0.9)
        mark = "✓" if example["correct"] else "✗"
        strip[0].set_title(
            f"{mark} {glue.CLASSES[example['predicted']]}\np = {glue.number(example['p_excitatory']).text}",
            fontsize=8,
        )
    style.row_label(rows[n_shown // 2, 0], f"true {class_name}", color=style.CLASS_COLOURS[label], fontweight="bold")

study.save_figure(
    figure,
    f"""**Example synapses of test neurons ({study.data_phrase}).**
    Above each patch, the class predicted by {values["model"].text} (✓ correct, ✗ wrong) and its probability p of
    excitatory, called excitatory from {performance["best_tau"].text}; at evenly spaced ranks from the most to the least
    confident.
    {f"The middle {n_shown} of the {n_seen} sections" if n_seen > 1 else "The one section"} that it saw, windows of
    {side * pixel_nm / 1000:.2g} µm; bar {BAR_NM} nm.""",
)
