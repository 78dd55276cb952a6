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
    f"""Partner assignment on {values["n_clefts"].text} clefts of a test tissue that no network was trained on
    ({study.data_phrase}), of {values["n_posts"].text} postsynaptic and {values["n_pres"].text} presynaptic neurons:
    share of clefts whose two partners and their direction are correct, with
    {glue.percent(study.config.stats.confidence).text} intervals for clefts grouped by their postsynaptic or their
    presynaptic neuron, whichever is wider.
    Direction alone, the share of clefts for which the true pair scored above its reversal, whichever pair was chosen.
    Reversed, the true pair in the wrong direction; wrong partner, a pair with another segment; no pair, the method
    assigned none, which counts as wrong.
    p, exact sign-flip test against AVAN on the same clefts, neuron by neuron, grouped as for the intervals, the larger
    of two p-values, without and with Holm's adjustment for all pairs of methods.
    AVAN, attentional voxel association network, trained for {values["passes_avan"].text} passes over the training
    clefts; pruners, trained for {values["passes_pruners"].text} passes, score candidate pairs one by one; rules need no
    network.""",
)
