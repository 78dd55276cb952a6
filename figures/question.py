"""The question and its answer: sections through a synapse of each class, and AUC beside untrained networks."""

import matplotlib.pyplot as plt
import style

from pipeline import glue, labels

N_SECTIONS, BAR_NM = 4, 250

study = glue.study("figures/question.py")
values = study.values("performance")
metrics = study.rows("performance", "metrics").query("metric == 'roc_auc'").set_index("model")
controls = study.rows("performance", "controls").sort_values("value", ascending=False)
runs = study.rows("performance", "runs").set_index("model")
examples = study.rows("examples", "examples")
pixel_nm = study.read(study.build.patches / "manifest.json")["voxel_nm"][0]
best = values["best_model"]

# The first example of a class is the correct one that the model is most confident of, where any is correct.
chosen = examples.groupby("label").first()
model = next(entry for entry in study.config.models if entry.name == best.value)
n_seen, side_px = labels.input_of(model, study.config)[1], runs.loc[best.value, "side_px"]
cubes = dict(zip(chosen.index, study.patches(chosen["synapse_id"], "cube"), strict=True))

figure = plt.figure(figsize=(style.WIDTH, 2.9))
left, right = figure.subfigures(1, 2, width_ratios=(4.2, 2.8))
grid = left.subplots(2, N_SECTIONS, squeeze=False)
for row, (label, class_name) in zip(grid, glue.CLASSES.items(), strict=True):
    cube = cubes[label]
    first = (len(cube) - N_SECTIONS) // 2
    seen = len(cube) // 2 - n_seen // 2  # the first section that the network sees
    for z, panel in enumerate(row, start=first):
        style.image(panel, cube[z], pixel_nm, BAR_NM if panel is row[-1] else None)
        if seen <= z < seen + n_seen:
            share = min(1, side_px / cube.shape[-1])
            look = {"fill": False, "edgecolor": "white", "linewidth": 1, "transform": panel.transAxes}
            panel.add_patch(plt.Rectangle(((1 - share) / 2, (1 - share) / 2), share, share, **look))
    style.row_label(row[0], class_name, color=style.CLASS_COLOURS[label], fontweight="bold")
style.corner_letter(left, "A")

panel = right.subplots()
score = metrics.loc[best.value]
style.estimates(panel, score["value"], 0, score, horizontal=True, **style.network(runs.loc[best.value]))
for place, (_, control) in enumerate(controls.iterrows(), start=1):
    look = style.network(runs.loc[control["model"]])
    style.estimates(panel, control["value"], place, control, horizontal=True, **look)
panel.axvline(0.5, **style.REFERENCE)
panel.set_yticks(range(len(controls) + 1), [best.text, *controls["label"].str.replace(", untrained", "\nuntrained")])
panel.get_yticklabels()[0].set_fontweight("bold")
panel.set(xlabel="ROC AUC, test", xlim=(None, 1.01), ylim=(len(controls) + 0.6, -0.6))
style.letter(panel, "B")

study.save_figure(
    figure,
    f"""**What one synapse shows, and what a network reads from it ({study.data_phrase}).**
    **A**, {N_SECTIONS} consecutive sections through one synapse of each class; squares, what the chosen network sees;
    bar {BAR_NM} nm.
    **B**, area under the ROC curve: the network chosen on validation (bold) and every untrained control (open); dotted,
    chance.
    Bars: {study.interval_phrase}.""",
)
