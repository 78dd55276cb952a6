"""Test scores of every family of models, and its gain over one section and over its untrained control."""

import pandas as pd

from pipeline import glue, labels

study = glue.study("tables/study.py")
values = study.values("study")
families = study.rows("study", "families")
metrics = study.rows("study", "metrics").set_index(["family", "metric"])
differences = study.rows("study", "differences").query("metric == 'roc_auc'").set_index(["family", "role"])
several_seeds = values["most_seeds"].value > 1
chosen = {values[key].value for key in ("best_2d", "best_25d", "best_3d") if key in values}


def difference(family, role):
    """A difference with its interval, or "none" where there is no other family to compare with."""
    key = (family, role)
    return glue.estimate_of(differences.loc[key], digits=3).text if key in differences.index else "none"


def over_seeds(row):
    """The number of networks and the range of their AUC."""
    if row["n_networks"] == 1:
        return "one"
    low, high = (glue.number(value).text for value in metrics.loc[(row["family"], "roc_auc"), ["min", "max"]])
    return f"{glue.count(row['n_networks']).text}: {low} to {high}"


rows = []
order = families["dimensionality"].map(labels.DIMENSIONALITIES.index)
families = families.assign(order=order, control=~families["trained"])
for _, row in families.sort_values(["folds", "order", "control"], kind="stable").iterrows():
    family = row["family"]
    cells = {"Model": f"**{row['label']}**" if family in chosen else row["label"], "Input": row["dimensionality"]}
    if several_seeds:
        cells["Seeds: AUC"] = over_seeds(row)
    cells["ROC AUC"] = glue.estimate_of(metrics.loc[(family, "roc_auc")]).text
    cells["Balanced accuracy"] = glue.estimate_of(metrics.loc[(family, "balanced_accuracy")]).text
    cells["AUC minus best on one section"] = difference(family, "one section")
    cells["AUC minus control"] = difference(family, "control")
    rows.append(cells)

seeds = "Several seeds: mean of the networks, with their number and range. "
crossed = "Cross-validated models are compared among themselves. "
study.save_table(
    pd.DataFrame(rows),
    f"""All models on the test neurons ({study.data_phrase}).
    Bold: best on validation by input.
    Last columns: paired differences from the bold model on one section and from the untrained control of the same
    network, uncorrected.
    {seeds if several_seeds else ""}{crossed if families["folds"].any() else ""}Brackets: {study.interval_phrase}.""",
)
