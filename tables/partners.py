"""Accuracy of the methods of partner assignment, with their types of error and a paired test."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/partners.py")
values = study.values("partners")
methods = study.rows("partners", "methods")

rows = []
for row in methods.itertuples():
    name = row.method
    errors = row.n_reversed + row.n_wrong_partner + row.n_unassigned
    glue.require(row.n_correct + errors == row.n, f"every cleft of {row.label} counts")
    rows.append(
        {
            "Method": row.label,
            "Accuracy": values[f"accuracy_{name}"].text,
            "Direction alone": values[f"direction_{name}"].text,
            "Reversed": values[f"reversed_{name}"].text,
            "Wrong partner": values[f"wrong_partner_{name}"].text,
            "No pair": values[f"unassigned_{name}"].text,
            "p": glue.p_cell(values.get(f"p_{name}")),
            "p, Holm": glue.p_cell(values.get(f"p_holm_{name}")),
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""Partner assignment on {values["n_clefts"].text} clefts of a test tissue ({study.data_phrase}): share with both
    partners and their direction correct.
    Direction alone: the true pair scored above its reversal.
    p: exact sign-flip test against AVAN, without and with Holm's adjustment.
    Brackets: {glue.percent(study.config.stats.confidence).text} [intervals](#statistics) over neurons.""",
)
