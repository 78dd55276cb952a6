"""Accuracy of the methods of partner assignment, with their kinds of errors and a paired test."""

import numpy as np
import pandas as pd

from pipeline import glue

study = glue.study("tables/partners.py")
values = study.values("partners")
methods = study.frame("partners", "methods")

rows = []
for row in methods.itertuples():
    name = row.method
    glue.require(
        row.right + row.direction + row.identity + row.unassigned == row.n, f"every cleft of {row.label} counts"
    )
    p_value = "–" if np.isnan(row.p_mcnemar) else values[f"mcnemar_{name}"].text.removeprefix("p = ").removeprefix("p ")
    rows.append(
        {
            "Method": row.label,
            "Accuracy": values[f"accuracy_{name}"].text,
            "Direction errors": values[f"direction_errors_{name}"].text,
            "Identity errors": values[f"identity_errors_{name}"].text,
            "No pair": values[f"unassigned_{name}"].text,
            "p against AVAN": p_value,
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""Partner assignment on {values["n_clefts"].text} clefts of a test tissue that no network was trained on
    ({study.data_phrase}): share of clefts whose two partners and their direction are right, with exact binomial
    {glue.percent(study.config.stats.confidence).text} intervals.
    Direction errors, the true pair reversed; identity errors, a pair with a wrong segment; no pair, the method gave
    none, which counts as wrong.
    p against AVAN, McNemar's exact test on the same clefts, not corrected for the number of methods.
    AVAN, attentional voxel association network; pruners score candidate pairs one by one; rules need no network.""",
)
