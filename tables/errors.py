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
    f"""Errors of {values["model"].text} on {values["n_synapses"].text} test synapses of {values["n_neurons"].text}
    presynaptic neurons ({study.data_phrase}): {values["n_errors"].text} were misclassified
    ({values["error_share"].text}).
    Odds ratios of an error, above one where errors are more likely, with
    {glue.percent(study.config.stats.confidence).text} intervals of a logistic model fitted by generalised estimating
    equations, which allow synapses of a neuron to be correlated; "per" gives the standard deviation to which an odds
    ratio refers.
    All together: one model with all predictors; one by one: each predictor with the class as the only other one.
    Left out, because unknown or the same for all synapses: {values["left_out"].text}.
    Neither intervals nor p-values are adjusted for the number of predictors; a dash marks models that could not be
    fitted because there are too few neurons or errors.""",
)
