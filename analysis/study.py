# %% [markdown]
# # The study of all models
#
# Every entry in the configuration's list of models is a family: one network and recipe, trained with one or several
# seeds.
# The score of a family is the mean of the scores of its networks, each at its own validation threshold, on neurons that
# none of them saw.

# %%
import numpy as np
import pandas as pd

from pipeline import glue, labels
from pipeline.stats import bootstrap, checks
from pipeline.stats.metrics import METRICS, Scored

study = glue.study("analysis/study.py")
runs = study.rows("performance", "runs")
families = runs.groupby("family", sort=False).agg(
    network=("network", "first"),
    dimensionality=("dimensionality", "first"),
    sections=("sections", "first"),
    trained=("trained", "first"),
    folds=("folds", "first"),
    n_networks=("model", "size"),
    validation_auc=("validation_auc", "mean"),
    parameters=("parameters", "first"),
    best_epoch_low=("best_epoch", "min"),
    best_epoch_high=("best_epoch", "max"),
    seconds_per_epoch=("seconds_per_epoch", "mean"),
    device=("device", lambda devices: " and ".join(sorted(set(devices)))),
)
families.insert(0, "label", families.index.map(labels.of_families(study.config)))
families

# %% [markdown]
# ## What each family is compared with
#
# For each dimensionality of the input (one section, several sections as channels, a cube), the best family is the
# trained one with the highest mean validation AUC.
# Every trained family is compared with the best on one section, and with the untrained control of the same network and
# number of sections; where there are several controls, the best on validation is taken.
# Families with held-out neurons share the test neurons, whereas cross-validated families are scored on all neurons,
# each by the network that was not trained on it: families are compared within these two groups and not between them.


# %%
def best(folds, **wanted):
    """The family with the highest mean validation AUC among those of a group that match, or None."""
    fit = families[(families["folds"] == folds) & (families[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return fit["validation_auc"].idxmax() if len(fit) else None


best_of_each = {seen: best(False, trained=True, dimensionality=seen) for seen in labels.DIMENSIONALITIES}
pairs = [
    (family, role, other)
    for family, row in families[families["trained"]].iterrows()
    for role, other in (
        ("one section", best(row["folds"], trained=True, dimensionality="2D")),
        ("control", best(row["folds"], trained=False, network=row["network"], sections=row["sections"])),
    )
    if other not in (None, family)
]
pairs = pd.DataFrame(pairs, columns=["family", "role", "other"])
best_of_each, pairs

# %% [markdown]
# ## Scores and differences
#
# Differences within a group are computed on the same resampled neurons, after averaging over seeds.
# The spread over seeds shows how much random initial weights and random order matter; the interval shows the variation
# between neurons.


# %%
def evaluate(members):
    """Metrics of each family, differences of its pairs, metrics of each run, for runs scored on the same synapses."""
    tables = [study.predictions(model).query("split == 'test'") for model in members["model"]]
    tables = checks.checked_pairs(tables)
    label, neuron = checks.by_neuron(tables[0])
    networks = [
        Scored(table["label"], table["p_excitatory"], tau, neuron)
        for table, tau in zip(tables, members["tau"], strict=True)
    ]
    rows_of = members.reset_index(drop=True).groupby("family", sort=False).groups
    own_pairs = pairs[pairs["family"].isin(rows_of)]

    def gains(weights):
        each = np.stack([network.table(weights) for network in networks])
        mean = {family: each[rows].mean(axis=0) for family, rows in rows_of.items()}
        return np.concatenate([mean[pair.family] - mean[pair.other] for pair in own_pairs.itertuples()], axis=1)

    taus = members["tau"].to_numpy()
    scores = pd.concat(
        bootstrap.mean_intervals([tables[row] for row in rows], taus[rows], **study.resampling).assign(family=family)
        for family, rows in rows_of.items()
    )
    found = own_pairs.merge(pd.DataFrame({"metric": METRICS}), how="cross")
    if len(found):
        found[glue.ESTIMATE] = np.transpose(bootstrap.interval(gains, label, **study.resampling))
    each = pd.DataFrame(np.concatenate([network.table() for network in networks]), members.index, METRICS)
    return scores, found, members[["family", "model"]].join(each)


evaluated = [evaluate(members) for _, members in runs.groupby("folds")]
metrics, differences, spread = (pd.concat(groups, ignore_index=True) for groups in zip(*evaluated, strict=True))
spread = spread.melt(["family", "model"], var_name="metric")
over_seeds = spread.groupby(["family", "metric"])["value"].agg(["min", "max", "std"]).reset_index()
metrics = metrics.merge(over_seeds, on=["family", "metric"])
metrics[metrics["metric"] == "roc_auc"]

# %%
differences[differences["metric"] == "roc_auc"]

# %% [markdown]
# ## Do several sections help?
#
# A difference is resolved when its interval excludes zero; no other difference supports a claim.

# %%
auc = metrics[metrics["metric"] == "roc_auc"].set_index("family")
gains = differences.query("metric == 'roc_auc' and role == 'one section'").set_index("family")
seen = {"2.5D": "several sections as channels", "3D": "cubes"}
sentences, values = [], {}
for dimensionality, family in best_of_each.items():
    if family is None:
        continue
    key = "best_" + dimensionality.lower().replace(".", "")
    values[key] = glue.Value(family, families["label"][family])
    values[f"{key}_roc_auc"] = glue.estimate_of(auc.loc[family])
    if family in gains.index:
        row = gains.loc[family]
        favoured = "several sections" if row["low"] > 0 else "one section"
        conclusion = f"resolved in favour of {favoured}" if glue.resolved(row) else "not resolved"
        gain = values[f"{key}_gain"] = glue.estimate_of(row, digits=3)
        sentences.append(
            f"The best network on validation among those that see {seen[dimensionality]} ({values[key].text}) had a "
            f"test AUC of {values[f'{key}_roc_auc'].text}, compared with {values['best_2d_roc_auc'].text} for the best "
            f"on one section ({values['best_2d'].text}); the difference, {gain.text}, is {conclusion}."
        )
none = "This edition does not compare networks that see several sections with one that sees a single section."
values |= {
    "several_sections": glue.text(" ".join(sentences) or none),
    "n_families": glue.count(len(families)),
    "n_networks": glue.count(families["n_networks"].sum()),
    "most_seeds": glue.count(families["n_networks"].max()),
}
results = {"families": families.reset_index(), "metrics": metrics, "spread": spread, "differences": differences}
study.save(values, **results)
