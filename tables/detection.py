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
    {values["n_true_test"].text} true clefts, at the settings with the highest edge F1 in the validation region; bold,
    the best representation there.
    An edge is correct when its cleft is detected and has its true partners in their direction.
    STDT, signed tanh distance transform.""",
)
