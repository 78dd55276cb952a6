"""Combined systems over their thresholds, their errors, the queue of disagreements, and polyadic clefts."""

import matplotlib.pyplot as plt
import numpy as np
import style
from matplotlib.ticker import MaxNLocator

from pipeline import glue

ERRORS = {
    "cleft missed": (["missed"], "0.35", ""),
    "clefts merged": (["merged"], "white", "////"),
    "wrong or no pair": (["wrong_partner", "reversed", "unassigned"], "0.75", ""),
    "cleft in pieces": (["split"], "white", "...."),
    "no synapse there": (["false"], "white", ""),
}
METHODS = {"avan": ("AVAN", "-"), "pruner": ("proximity pruner", "--")}

study = glue.study("figures/partners.py")
values = study.values("partners")
detections = study.rows("partners", "detections")
systems = study.rows("partners", "systems")
queue = study.rows("partners", "queue")
polyadic = study.rows("partners", "polyadic")

figure = plt.figure(figsize=(style.WIDTH, 5.5))
figure.get_layout_engine().set(h_pad=0.08)
upper, lower = figure.subfigures(2, 1, height_ratios=(1, 1.05))

panels = upper.subplots(1, len(systems), sharey=True, squeeze=False)[0]
for panel, system in zip(panels, systems.itertuples(), strict=True):
    tried = detections[(detections["representation"] == system.representation) & (detections["region"] == "val")]
    glue.require(
        np.isclose(tried["edge_f1"].max(), system.val_edge_f1),
        f"no setting of {system.label} has a higher F1 on validation than the chosen one",
    )
    for size, part in tried.sort_values("threshold").groupby("min_size_vx"):
        look = {"linewidth": 0.6, "color": "0.6"}
        if size == system.min_size_vx:
            look = {"linewidth": 1.6, "color": "black", "label": "validation"}
        panel.plot(part["threshold"], part["edge_f1"], **look)
    panel.plot(system.threshold, system.val_edge_f1, "ko", markerfacecolor="white", label="chosen", zorder=3)
    panel.plot(system.threshold, system.test_edge_f1, "kD", label="chosen, on test", zorder=4)
    panel.set(xlabel="Threshold", title=glue.sentence_case(system.label))
    panel.xaxis.set_major_locator(MaxNLocator(4))
panels[0].set_ylabel("F1 of edges")
upper.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
style.corner_letter(upper, "A")

error_panel, queue_panel, polyadic_panel = lower.subplots(1, 3)
left = np.zeros(len(systems))
for label, (outcomes, grey, hatch) in ERRORS.items():
    width = systems[[f"test_n_{outcome}" for outcome in outcomes]].sum(axis=1).to_numpy()
    look = {"facecolor": grey, "hatch": hatch, "edgecolor": "black", "linewidth": 0.5}
    error_panel.barh(np.arange(len(systems)), width, left=left, label=label, **look)
    left += width
error_panel.set_yticks(range(len(systems)), [label.replace(" ", "\n") for label in systems["label"]])
error_panel.invert_yaxis()
error_panel.set(xlabel="Errors on test")
error_panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
error_panel.legend(loc="upper center", bbox_to_anchor=(0.3, -0.3), ncols=1)
style.letter(error_panel, "B")

for method, (label, line) in METHODS.items():
    read, met = [0, *queue["read"]], [0, *queue[f"{method}_found"]]
    queue_panel.step(read, met, where="post", color=style.INK, linestyle=line, label=label)
queue_panel.axvline(queue["disagree"].sum(), color="0.6", linewidth=0.8, zorder=1)
queue_panel.set(xlabel="Clefts read", ylabel="Wrong edges met", xlim=(0, None), ylim=(0, None))
queue_panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
queue_panel.yaxis.set_major_locator(MaxNLocator(integer=True))
queue_panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=1)
style.letter(queue_panel, "C")

of_number = polyadic[polyadic["n_posts"] != "all"]
place = np.arange(len(of_number))
polyadic_panel.plot(place - 0.15, of_number["precision"], "k^", label="precision")
polyadic_panel.plot(place, of_number["recall"], "ks", markerfacecolor="white", label="recall")
look = style.SERIES[0] | {"capsize": 0, "label": "all correct"}
style.estimates(polyadic_panel, place + 0.15, of_number["complete"], of_number, value="complete", **look)
polyadic_panel.set_xticks(place, of_number["n_posts"])
polyadic_panel.set(xlabel="Postsynaptic partners", ylabel="Share", ylim=(0, 1.05), xlim=(-0.5, len(of_number) - 0.5))
polyadic_panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=1)
style.letter(polyadic_panel, "D")

study.save_figure(
    figure,
    f"""**From clefts to a graph ({study.data_phrase}).**
    **A**, F1 of edges on validation against the threshold, by representation; grey, other minimum sizes; diamond, the
    chosen setting on the test tissue.
    **B**, errors there.
    **C**, wrong edges met in the order of the queue; grey line, the last disagreement.
    **D**, clefts with several postsynaptic partners; bars, [intervals](#statistics).""",
)
