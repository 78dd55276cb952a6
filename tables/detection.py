"""The combined systems at the settings chosen on validation: clefts, edges and kinds of errors."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/detection.py")
values = study.values("partners")
systems = study.frame("partners", "systems")
MEASURES = {
    "precision": "Cleft precision",
    "recall": "Cleft recall",
    "edge_precision": "Edge precision",
    "edge_recall": "Edge recall",
    "edge_f1": "Edge F1",
    "n_missed": "Missed",
    "n_merged": "Merged",
    "n_wrong_partner": "Wrong partner",
    "n_false": "False",
}

rows = []
best = systems["val_edge_f1"].idxmax()
for system in systems.itertuples():
    label = system.label[0].upper() + system.label[1:]
    setting = f"{glue.number(system.threshold).text}, {glue.count(system.min_size_vx).text}"
    cells = {title: values[f"{system.representation}_{measure}"].text for measure, title in MEASURES.items()}
    rows.append({"Clefts as": f"**{label}**" if system.Index == best else label, "Setting": setting} | cells)

study.save_table(
    pd.DataFrame(rows),
    f"""Clefts found and joined in the test tissue ({study.data_phrase}), which has {values["n_true_test"].text} true
    clefts.
    Setting, the threshold and the smallest size in voxels with the highest edge F1 in the validation region; bold, the
    representation with the highest F1 there.
    Cleft precision and recall, by overlap of found and true clefts; an edge is right when its cleft is found and given
    its true partners in their direction; F1, harmonic mean of edge precision and recall.
    Errors: missed, no cleft found there; merged, several true clefts in one; wrong partner, found but joined wrongly;
    false, found where there is none.
    STDT, signed tanh distance transform.""",
)
