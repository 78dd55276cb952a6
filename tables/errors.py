"""Odds ratios of an error of the best model, by property of the synapse and of its image."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/errors.py")
values = study.values("errors")
odds = study.rows("errors", "odds")
COLUMNS = {"together": "Odds ratio, all together", "alone": "Odds ratio, one by one"}

rows = []
for predictor, found in odds.groupby("predictor", sort=False):
    cells = {"Predictor": found["label"].iloc[0], "Unit": found["unit"].iloc[0]}
    for model, title in COLUMNS.items():
        name = f"{predictor}_{model}"
        cells[title] = f"{values[name].text}, {values[f'{name}_p'].text}" if name in values else "–"
    rows.append(cells)
if not rows:
    rows = [{"Predictor": "none: no model could be fitted", "Unit": "–", **dict.fromkeys(COLUMNS.values(), "–")}]

study.save_table(
    pd.DataFrame(rows),
    f"""Odds ratios of an error of {values["model"].text} on {values["n_synapses"].text} test synapses of
    {values["n_neurons"].text} presynaptic neurons ({study.data_phrase}; {values["n_errors"].text} errors), with
    {glue.percent(study.config.stats.confidence).text} intervals.
    "Per": the standard deviation to which a ratio refers.
    One by one: each predictor with the class alone.
    Left out, unknown or constant: {values["left_out"].text}.
    Unadjusted; dash: too few neurons or errors.""",
)
