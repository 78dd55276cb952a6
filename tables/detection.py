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
    "n_correct": "Right edges",
    "n_missed": "Cleft missed",
    "n_merged": "Cleft merged with another",
    "n_wrong_partner": "Wrong partner",
    "n_wrong_direction": "Pair reversed",
    "n_unassigned": "No pair",
    "n_split": "Further pieces of clefts",
    "n_false": "No cleft there",
}

best = systems["val_edge_f1"].idxmax()
columns = {"Measure": ["Threshold", "Smallest cleft, voxels", *MEASURES.values()]}
for system in systems.itertuples():
    label = system.label[0].upper() + system.label[1:]
    columns[f"**{label}**" if system.Index == best else label] = [
        glue.number(system.threshold).text,
        glue.count(system.min_size_vx).text,
        *(values[f"{system.representation}_{measure}"].text for measure in MEASURES),
    ]

study.save_table(
    pd.DataFrame(columns),
    f"""Clefts found and joined in the test tissue ({study.data_phrase}), which has {values["n_true_test"].text} true
    clefts.
    Threshold and smallest cleft are those with the highest edge F1 in the validation region; bold, the representation
    with the highest F1 there.
    Cleft precision and recall, by overlap of found and true clefts; an edge is right when its cleft is found and given
    its true partners in their direction; F1, harmonic mean of edge precision and recall.
    Below them counts: what became of every true cleft, then what else was found.
    STDT, signed tanh distance transform.""",
)
