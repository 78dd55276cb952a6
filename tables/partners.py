"""Accuracy of the methods of partner assignment, with their kinds of errors and a paired test."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/partners.py")
values = study.values("partners")
methods = study.frame("partners", "methods")


def p_value(key):
    """`0.023` or `< 0.001`, and a dash for the method that is compared with itself."""
    return values[key].text.removeprefix("p ").removeprefix("= ") if key in values else "–"


rows = []
for row in methods.itertuples():
    name = row.method
    errors = row.n_direction + row.n_identity + row.n_unassigned
    glue.require(row.n_correct + errors == row.n, f"every cleft of {row.label} counts")
    rows.append(
        {
            "Method": row.label,
            "Accuracy": values[f"accuracy_{name}"].text,
            "Direction alone": values[f"direction_{name}"].text,
            "Direction errors": values[f"direction_errors_{name}"].text,
            "Identity errors": values[f"identity_errors_{name}"].text,
            "No pair": values[f"unassigned_{name}"].text,
            "p": p_value(f"mcnemar_{name}"),
            "p, Holm": p_value(f"mcnemar_holm_{name}"),
        }
    )

study.save_table(
    pd.DataFrame(rows),
    f"""Partner assignment on {values["n_clefts"].text} clefts of a test tissue that no network was trained on
    ({study.data_phrase}): share of clefts whose two partners and their direction are right, with exact binomial
    {glue.percent(study.config.stats.confidence).text} intervals.
    Direction alone, the share of clefts on which the true pair scored above its reversal, whichever pair was chosen.
    Direction errors, the true pair reversed; identity errors, a pair with a wrong segment; no pair, the method gave
    none, which counts as wrong.
    p, McNemar's exact test against AVAN on the same clefts, and adjusted after Holm over all pairs of methods.
    AVAN, attentional voxel association network, trained for {values["passes_avan"].text} passes over the training
    clefts; pruners, for {values["passes_pruners"].text} passes, score candidate pairs one by one; rules need no
    network.""",
)
