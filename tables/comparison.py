"""Pairs of models: difference in AUC and in balanced accuracy, clustered and naive tests."""

import pandas as pd

from pipeline import glue

MOST = 21  # pairs of which all are shown; of more, those with the best model

study = glue.study("tables/comparison.py")
values = study.values("inference")
pairs = study.frame("inference", "pairs").set_index(["metric", "model_a", "model_b"])
label = study.frame("inference", "models").set_index("model")["label"]
best = values["best_model"]
all_shown = values["n_pairs"].value <= MOST


def p(value):
    """A p-value without the letter, since the column has it."""
    return glue.p_value(value).text.removeprefix("p = ").removeprefix("p ")


rows = []
for a, b in pairs.loc["roc_auc"].index:
    if not all_shown and best.value not in (a, b):
        continue
    auc, accuracy, balanced = (pairs.loc[(name, a, b)] for name in ("roc_auc", "accuracy", "balanced_accuracy"))
    rows.append(
        {
            "First − second": f"{label[a]} − {label[b]}",
            "AUC": glue.estimate(*auc[["value", "low", "high"]]).text,
            "p, AUC": p(auc["p_holm"]),
            "DeLong": p(auc["p_naive"]),
            "Balanced accuracy (BA)": glue.estimate(*balanced[["value", "low", "high"]]).text,
            "p, BA": p(balanced["p_holm"]),
            "McNemar": p(accuracy["p_naive"]),
        }
    )

part = "All pairs" if all_shown else f"The pairs with {best.text}, of all {values['n_pairs'].text} pairs"
study.save_table(
    pd.DataFrame(rows),
    f"""{part} of {values["n_models"].text} models on the same {values["n_test_synapses"].text} test synapses of
    {values["n_test_neurons"].text} presynaptic neurons ({study.data_phrase}): the first model minus the second.
    AUC, area under the receiver operating characteristic curve; balanced accuracy at each model's threshold chosen on
    validation.
    Brackets: {study.interval_phrase}, on shared resamples.
    p: permutation test that exchanges all answers of a neuron, adjusted over all {values["n_pairs"].text} pairs (Holm).
    DeLong and McNemar: p of these tests, of AUC and of plain accuracy; they take every synapse for an independent draw,
    are not adjusted, and stand here for comparison only.
    Of a model trained with several seeds, the network with the best validation AUC takes part.""",
)
