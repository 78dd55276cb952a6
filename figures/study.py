"""ROC AUC and balanced accuracy of every family of models, grouped by the dimensionality of the input."""

import textwrap

import matplotlib.pyplot as plt
import style

from pipeline import glue

HEADINGS = {"2D": "One section", "2.5D": "Several sections as channels", "3D": "Cubes"}
CROSSED = "Cross-validated, on all neurons"
PANELS = {"roc_auc": "A", "balanced_accuracy": "B"}

study = glue.study("figures/study.py")
values = study.values("study")
families = study.rows("study", "families")
metrics = study.rows("study", "metrics").set_index(["metric", "family"])
spread = study.rows("study", "spread").set_index(["metric", "family"])["value"].sort_index()
several_seeds = values["most_seeds"].value > 1

heading = families["dimensionality"].map(HEADINGS).mask(families["folds"], CROSSED)
rows = []  # (heading or label, family or None), from top to bottom
for title in (*HEADINGS.values(), CROSSED):
    group = families[heading == title].sort_values("trained", ascending=False, kind="stable")
    rows += [(title, None)] * (len(group) > 0)
    rows += [(textwrap.fill(row["label"], 32), row) for _, row in group.iterrows()]

figure, axes = plt.subplots(1, 2, figsize=(style.WIDTH, 0.9 + 0.27 * len(rows)), sharey=True)
for panel, (metric, letter) in zip(axes, PANELS.items(), strict=True):
    for y, (_, row) in enumerate(rows):
        if row is None:
            continue
        score = metrics.loc[metric, row["family"]]
        style.estimates(panel, score["value"], y, score, horizontal=True, capsize=0, **style.network(row))
        if row["n_networks"] > 1:
            seeds = spread.loc[metric, row["family"]]
            panel.plot(seeds, [y] * len(seeds), ".", markersize=3.5, color="black", zorder=4)
    panel.axvline(0.5, **style.REFERENCE)
    panel.set(xlabel=glue.sentence_case(glue.METRICS[metric]), xlim=(None, 1.02))
    panel.grid(axis="x", color="0.93", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.tick_params(axis="y", length=0)
    style.letter(panel, letter)
axes[0].set_yticks(range(len(rows)), [label for label, _ in rows])
for tick, (_, row) in zip(axes[0].get_yticklabels(), rows, strict=True):
    tick.set_fontweight("bold" if row is None else "normal")
axes[0].set_ylim(len(rows) - 0.5, -0.5)

n = values["n_families"].text
seeds = "Black dots: single networks, where a model has several seeds. "
crossed = "Cross-validated: each neuron is scored by the network whose fold held it out. "
study.save_figure(
    figure,
    f"""**All {n} models on the test neurons ({study.data_phrase}).**
    **A**, area under the ROC curve; **B**, balanced accuracy.
    Bars: {study.interval_phrase}; dotted, chance.
    Open and grey: untrained controls.
    {seeds if several_seeds else ""}{crossed if families["folds"].any() else ""}""",
)
