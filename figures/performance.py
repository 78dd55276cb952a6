"""ROC and precision-recall curves, confusion matrix and predicted probabilities on the test neurons."""

import matplotlib.pyplot as plt
import numpy as np
import style

from pipeline import glue

SHORT = {"roc_auc": "AUC", "average_precision": "AP"}

study = glue.study("figures/performance.py")
values = study.values("performance")
curves = study.rows("performance", "curves")
confusion = study.rows("performance", "confusion")
confidence = study.rows("performance", "confidence")
difference = study.rows("performance", "difference").set_index("metric")
best, control = values["best_model"], values["control_model"]
tau = values["best_tau"].value
runs = study.rows("performance", "runs").set_index("model").loc[curves["model"].unique()]

for model, label in runs["label"].items():
    roc = curves[(curves["model"] == model) & (curves["curve"] == "roc")]
    area, quoted = np.trapezoid(roc["y"], roc["x"]), values[f"{model}_roc_auc"]
    glue.require(
        abs(area - quoted.value) < 1e-6, f"the ROC curve of {label} encloses its AUC ({area} and {quoted.text})"
    )
glue.require(
    confusion["synapses"].sum() == values["n_test_synapses"].value, "the confusion matrix counts every test synapse"
)
low, high = difference.loc["roc_auc", ["low", "high"]]
comparison = "exceeds" if low > 0 else "is below" if high < 0 else "does not clearly differ from"

figure, axes = plt.subplots(2, 2, figsize=(style.WIDTH, 6.4 + 0.15 * len(runs)))

prevalence = values["test_excitatory_share"].value
for panel, curve, name in ((axes[0, 0], "roc", "A"), (axes[0, 1], "pr", "B")):
    for model, run in runs.iterrows():
        line = curves[(curves["model"] == model) & (curves["curve"] == curve)]
        scores = [f"{short} {values[f'{model}_{metric}'].value:.2f}" for metric, short in SHORT.items()]
        legend = f"{run['label']}: {', '.join(scores)}"
        look = style.network(run) | {"markevery": 0.2, "markersize": 4}
        panel.plot(line["x"], line["y"], label=legend, zorder=3, **look)
    style.letter(panel, name)
    panel.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center")
axes[0, 0].plot([0, 1], [0, 1], color="0.8", linewidth=0.8, zorder=1)
axes[0, 0].set(xlabel="False positive rate", ylabel="True positive rate")
axes[0, 1].axhline(prevalence, color="0.8", linewidth=0.8, zorder=1)
axes[0, 1].set(xlabel="Recall", ylabel="Precision")

counts = confusion.pivot(index="label", columns="predicted", values="synapses").loc[[1, 0], [1, 0]]
share = counts.div(counts.sum(axis=1), axis=0).to_numpy()
panel = axes[1, 0]
names = [glue.CLASSES[label] for label in counts.index]
panel.imshow(share, cmap="Greys", vmin=0, vmax=1)
for (row, column), n in np.ndenumerate(counts.to_numpy()):
    words = f"{glue.count(n).text}\n{glue.percent(share[row, column]).text}"
    panel.text(column, row, words, ha="center", va="center", color="white" if share[row, column] > 0.5 else style.INK)
panel.spines[:].set_visible(False)
panel.set_xticks([0, 1], names)
panel.set_yticks([0, 1], names, rotation=90, va="center")
panel.tick_params(length=0)
panel.set(xlabel="Predicted class", ylabel="True class")
style.letter(panel, "C")

panel = axes[1, 1]
for label, group in confidence.groupby("label", sort=False):
    fraction = group["synapses"] / group["synapses"].sum()
    edges = [*group["low"], group["high"].iloc[-1]]
    colour = style.CLASS_COLOURS[label]
    panel.stairs(fraction, edges, color=colour, fill=True, alpha=0.25)
    panel.stairs(fraction, edges, color=colour, linewidth=1.4, label=f"true {glue.CLASSES[label]}")
panel.axvline(tau, color="black", linestyle="--", linewidth=1, label=f"threshold {values['best_tau'].text}")
panel.set(xlabel="Predicted probability of excitatory", ylabel="Share of the class", xlim=(0, 1))
panel.set_ylim(top=panel.get_ylim()[1] * 1.12)
panel.legend(loc="best")
style.letter(panel, "D")

study.save_figure(
    figure,
    f"""**Performance on the {values["n_test_synapses"].text} test synapses ({study.data_phrase}).**
    **A**, ROC and **B**, precision-recall curves of the best trained model on validation for each input; grey: the
    control with the highest test AUC.
    **C**, confusion and **D**, probabilities of {best.text}, the best on validation.
    Its test AUC {comparison} that of {control.text}.""",
)
