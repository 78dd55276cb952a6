"""Every untrained control on the test neurons, and the best model's gain over it."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/controls.py")
values = study.values("performance")
controls = study.rows("performance", "controls")
validation = study.rows("performance", "runs").set_index("model")["validation_auc"]

rows = []
for row in controls.itertuples():
    difference = glue.estimate(row.difference_value, row.difference_low, row.difference_high)
    rows.append(
        {
            "Control": f"**{row.label}**" if row.model == values["control_model"].value else row.label,
            "Validation AUC": glue.number(validation[row.model]).text,
            "ROC AUC": glue.estimate_of(row).text,
            "Best model minus control": difference.text,
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""Untrained controls on held-out neurons ({study.data_phrase}), each with random weights from its own seed.
    Last column: test AUC of {values["best_model"].text}, the model chosen on validation, minus that of the control, on
    the same resamples.
    Bold: the control with the highest test AUC, which the text and the other tables quote.
    Brackets: {study.interval_phrase}.""",
)
