"""Test metrics of the best model and of the strongest untrained control, and their difference."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/results.py")
values = study.values("performance")
best, control = values["best_model"], values["control_model"]
roles = {best.text: "best", control.text: "control", "Difference": "difference"}

rows = []
for metric, title in glue.METRICS.items():
    cells = {column: values[f"{role}_{metric}"].text for column, role in roles.items()}
    rows.append({"Metric": glue.sentence_case(title)} | cells)

study.save_table(
    pd.DataFrame(rows),
    f"""Best model and control on held-out neurons ({study.data_phrase}): {values["n_test_synapses"].text} test synapses
    of {values["n_test_neurons"].text} presynaptic neurons.
    These are the trained model with the highest AUC on validation and the untrained one with the highest AUC on these
    test synapses (of {values["n_controls"].text}); the last column is their paired difference on the same resampled
    neurons.
    Brackets: {study.interval_phrase}.
    ROC AUC, area under the receiver operating characteristic curve; average precision, area under the
    precision-recall curve; F1, harmonic mean of precision and recall.
    Excitatory is the positive class; accuracy, balanced accuracy and F1 use the threshold chosen on validation.""",
)
