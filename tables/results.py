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
    f"""Best model and control on {values["n_test_synapses"].text} test synapses of
    {values["n_test_neurons"].text} presynaptic neurons ({study.data_phrase}): the trained model with the highest AUC on
    validation and, of {values["n_controls"].text} untrained ones, that with the highest on these test synapses; last,
    their paired difference.
    Brackets: {study.interval_phrase}.
    Excitatory is positive; decisions use the threshold from validation.""",
)
