"""Pairs of models: differences in AUC and balanced accuracy, with clustered and naive tests."""

import pandas as pd

from pipeline import glue

MOST_SHOWN = 21  # of more pairs, only those with the best model are shown

study = glue.study("tables/comparison.py")
values = study.values("inference")
pairs = study.rows("inference", "pairs").set_index(["metric", "model_a", "model_b"])
label = study.rows("inference", "models").set_index("model")["label"]
best = values["best_model"]
all_shown = values["n_pairs"].value <= MOST_SHOWN

rows = []
for a, b in pairs.loc["roc_auc"].index:
    if not all_shown and best.value not in (a, b):
        continue
    auc, accuracy, balanced = (pairs.loc[(name, a, b)] for name in ("roc_auc", "accuracy", "balanced_accuracy"))
    rows.append(
        {
            "First − second": f"{label[a]} − {label[b]}",
            "AUC": glue.estimate_of(auc).text,
            "p, AUC": glue.p_cell(glue.p_value(auc["p_holm"])),
            "DeLong": glue.p_cell(glue.p_value(auc["p_naive"])),
            "Balanced accuracy (BA)": glue.estimate_of(balanced).text,
            "p, BA": glue.p_cell(glue.p_value(balanced["p_holm"])),
            "McNemar": glue.p_cell(glue.p_value(accuracy["p_naive"])),
        }
    )

part = "All pairs" if all_shown else f"The pairs with {best.text}, of all {values['n_pairs'].text} pairs"
study.save_table(
    pd.DataFrame(rows),
    f"""{part} of {values["n_models"].text} models on the same {values["n_test_synapses"].text} test synapses
    ({study.data_phrase}): the first model minus the second.
    Brackets: {study.interval_phrase}, on shared resamples.
    p: permutation test by neurons, adjusted by Holm's method.
    DeLong, McNemar: unadjusted, with synapses as independent.
    Of several seeds: best validation AUC.""",
)
