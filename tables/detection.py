"""Combined systems at the settings chosen on validation: clefts, edges and types of error."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/detection.py")
values = study.values("partners")
systems = study.rows("partners", "systems")
MEASURES = {
    "precision": "Cleft precision",
    "recall": "Cleft recall",
    "edge_precision": "Edge precision",
    "edge_recall": "Edge recall",
    "edge_f1": "Edge F1",
    "n_correct": "Correct edges",
    "n_missed": "Cleft missed",
    "n_merged": "Cleft merged with another",
    "n_wrong_partner": "Wrong partner",
    "n_reversed": "Pair reversed",
    "n_unassigned": "No pair",
    "n_split": "Further pieces of clefts",
    "n_false": "No cleft there",
}

best = systems["val_edge_f1"].idxmax()
columns = {"Measure": ["Threshold", "Minimum size, voxels", *MEASURES.values()]}
for system in systems.itertuples():
    label = glue.sentence_case(system.label)
    columns[f"**{label}**" if system.Index == best else label] = [
        glue.number(system.threshold).text,
        glue.count(system.min_size_vx).text,
        *(values[f"{system.representation}_{measure}"].text for measure in MEASURES),
    ]

study.save_table(
    pd.DataFrame(columns),
    f"""Clefts detected and given partners in the test tissue ({study.data_phrase}), which has
    {values["n_true_test"].text} true clefts.
    Threshold and minimum size are those with the highest edge F1 in the validation region; bold, the representation
    with the highest F1 there.
    Cleft precision and recall, by overlap of detected and true clefts; an edge is correct when its cleft is detected
    and given its true partners in their direction; F1, harmonic mean of edge precision and recall.
    The counts below give first the outcome of every true cleft, then what else was detected.
    STDT, signed tanh distance transform.""",
)
