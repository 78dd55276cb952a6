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

seeds = "A model trained with several seeds is scored by the mean of its networks, whose number and range are given. "
crossed = """Cross-validated models are scored on all neurons, each by the network that was not trained on it, and are
compared among themselves only. """
study.save_table(
    pd.DataFrame(rows),
    f"""All models on held-out neurons ({study.data_phrase}).
    Input: 2D, one section; 2.5D, several sections as channels of a 2D network; 3D, a cube.
    ROC AUC, area under the receiver operating characteristic curve; balanced accuracy is taken at the threshold chosen
    on validation.
    Brackets: {study.interval_phrase}.
    {seeds if several_seeds else ""}Bold: for each input, the trained model with the highest validation AUC.
    The last two columns are paired differences, on the same resampled neurons, from the bold model on one section and
    from the untrained control of the same network and number of sections; "none" where there is no such model.
    {crossed if families["folds"].any() else ""}The differences are not corrected for their number.""",
)
