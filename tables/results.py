"""Test metrics of every model, and the difference between the best one and the control."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/results.py")
values = study.values("performance")
best, control = values["best_model"], values["control_model"]

rows = []
for model, label in study.model_labels.items():
    cells = {title: values[f"{model}_{metric}"].text for metric, title in glue.METRICS.items()}
    rows.append({"Model": f"**{label}**" if model == best.value else label} | cells)
rows.append(
    {"Model": "Best minus control"}
    | {title: values[f"difference_{metric}"].text for metric, title in glue.METRICS.items()}
)
table = pd.DataFrame(rows).rename(columns=lambda name: name[0].upper() + name[1:])

study.save_table(
    table,
    f"""Results on held-out neurons ({study.data_phrase}): {values["n_test_synapses"].text} test synapses of
    {values["n_test_neurons"].text} presynaptic neurons.
    Brackets: {study.interval_phrase}.
    Bold: the trained model with the highest validation AUC ({best.text}); the last row is its paired difference to the
    control ({control.text}) on the same resampled neurons.
    ROC AUC, area under the receiver operating characteristic curve; average precision, area under the
    precision-recall curve; F1, harmonic mean of precision and recall.
    Excitatory is the positive class; accuracy, balanced accuracy and F1 use the threshold chosen on validation.""",
)
