"""Example patches of both classes, classified correctly and wrongly by the best model."""

import matplotlib.pyplot as plt
import style

from pipeline import glue

WINDOW_NM, BAR_NM = 1024, 250

study = glue.study("figures/examples.py")
values = study.values("examples")
examples = study.rows("examples", "examples")
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]
patches = style.middle(study.patches(examples["synapse_id"]), round(WINDOW_NM / pixel_nm))
side = patches.shape[1]

columns = examples.groupby("label").size().max()
figure, axes = plt.subplots(2, columns, figsize=(style.WIDTH, 2 * style.WIDTH / columns + 0.55), squeeze=False)
for panel in axes.flat:
    panel.set_axis_off()
for row, (label, class_name) in zip(axes, glue.CLASSES.items(), strict=True):
    of_class = examples[examples["label"] == label]
    for panel, (index, example) in zip(row, of_class.iterrows(), strict=False):
        style.image(panel, patches[index], pixel_nm, BAR_NM)
        centre = side / 2 - 0.5
        panel.plot([centre], [centre], marker="+", color="#F0E442", markersize=4, markeredgewidth=0.7, alpha=0.9)
        mark = "✓" if example["correct"] else "✗"
        panel.set_title(
            f"{mark} {glue.CLASSES[example['predicted']]}\np = {glue.number(example['p_excitatory']).text}",
            color="black" if example["correct"] else "#A00000",
            fontsize=8,
        )
    style.row_label(row[0], f"true {class_name}", color=style.CLASS_COLOURS[label], fontweight="bold")

study.save_figure(
    figure,
    f"""**Example synapses of test neurons ({study.data_phrase}).**
    Above each patch, the class predicted by {values["model"].text} (✓ correct, ✗ wrong) and its probability p of
    excitatory, at evenly spaced ranks from the most to the least confident.
    Windows of {side * pixel_nm / 1000:.2g} µm, single sections; bar {BAR_NM} nm.""",
)
