"""Accuracy of partner assignment against coverage: on the clefts of which each method is surest."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/margins.py")
values = study.values("partners")
methods = study.rows("partners", "methods")
margins = study.rows("partners", "margins")

rows = []
for row in methods.itertuples():
    own = margins[margins["method"] == row.method].sort_values("coverage")
    cells = {
        f"{glue.percent(coverage).text} of clefts": values[f"accuracy_{row.method}_at_{100 * coverage:.0f}"].text
        for coverage in own["coverage"]
    }
    edge = f"{values[f'edge_right_{row.method}'].text} of {values[f'edge_{row.method}'].text}"
    rows.append({"Method": row.label} | cells | {"At the edge": edge})

study.save_table(
    pd.DataFrame(rows),
    f"""Accuracy against coverage ({study.data_phrase}): share of clefts with both partners and their direction
    correct, among the given share of the {values["n_clefts"].text} test clefts with the largest margin, the lead of a
    pair over the next.
    No pair counts as wrong.
    At the edge: clefts cut by the edge of the volume.
    Brackets: {glue.percent(study.config.stats.confidence).text} [intervals](#statistics) over neurons.""",
)
