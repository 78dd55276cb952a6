# %% [markdown]
# # The study of all models
#
# Every entry of the configuration's list is a family: one network and recipe, trained with one or several seeds.
# A family's score is the mean of its networks' scores, each at its own validation threshold, on neurons that none of
# them saw.

# %%
import numpy as np
import pandas as pd

from pipeline import glue
from pipeline.stats import bootstrap, checks
from pipeline.stats.metrics import METRICS, Scored

study = glue.study("analysis/study.py")
stats = study.config.stats
runs = study.frame("performance", "runs")
families = runs.groupby("family", sort=False).agg(
    network=("network", "first"),
    kind=("kind", "first"),
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
families.insert(0, "label", families.index.map(study.family_labels))
families

# %% [markdown]
# ## What each family is compared with
#
# The best family of a kind of input (one section, several sections as channels, a cube) is the trained one with the
# highest mean validation AUC.
# Every trained family is compared with the best on one section, and with the untrained control of the same network and
# number of sections; where there are several controls, the best on validation.
# Held-out families share the test neurons, and cross-validated ones are scored on all neurons, each called by the
# network that never saw it: families are compared within these two groups, and not between them.


# %%
def best(folds, **wanted):
    """The family with the highest mean validation AUC among those of a group that are as wanted, or None."""
    fit = families[(families["folds"] == folds) & (families[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    return fit["validation_auc"].idxmax() if len(fit) else None


best_of_kind = {kind: best(False, trained=True, kind=kind) for kind in glue.KINDS}
pairs = [
    (family, role, other)
    for family, row in families[families["trained"]].iterrows()
    for role, other in (
        ("one section", best(row["folds"], trained=True, kind="2D")),
        ("control", best(row["folds"], trained=False, network=row["network"], sections=row["sections"])),
    )
    if other not in (None, family)
]
pairs = pd.DataFrame(pairs, columns=["family", "role", "other"])
best_of_kind, pairs

# %% [markdown]
# ## Scores and differences
#
# All of a group are computed on the same resampled neurons, after averaging over seeds.
# The spread is over seeds: it says how much the random start and order matter; the interval says it of the neurons.


# %%
def evaluate(members):
    """Of runs scored on the same synapses: metrics of each family, differences of its pairs, metrics of each run."""
    tables = [study.predictions(model).query("split == 'test'") for model in members["model"]]
    tables = checks.checked_pairs(tables)
    label, neuron = checks.by_neuron(tables[0])
    networks = [
        Scored(table["label"], table["p_excitatory"], tau, neuron)
        for table, tau in zip(tables, members["tau"], strict=True)
    ]
    rows_of = members.reset_index(drop=True).groupby("family", sort=False).groups
    own_pairs = pairs[pairs["family"].isin(rows_of)]

    def means_and_differences(weights):
        each = np.stack([network.table(weights) for network in networks])
        mean = {family: each[rows].mean(axis=0) for family, rows in rows_of.items()}
        gains = [mean[pair.family] - mean[pair.other] for pair in own_pairs.itertuples()]
        return np.concatenate([*mean.values(), *gains], axis=1)

    keys = pd.concat([pd.DataFrame({"family": list(rows_of)}), own_pairs])
    found = keys.merge(pd.DataFrame({"metric": METRICS}), how="cross")
    found["value"], found["low"], found["high"] = bootstrap.interval(
        means_and_differences, label, stats.n_bootstrap, stats.confidence, study.config.seed
    )
    each = pd.DataFrame(np.concatenate([network.table() for network in networks]), members.index, METRICS)
    alone = found["role"].isna()
    return found[alone].drop(columns=["role", "other"]), found[~alone], members[["family", "model"]].join(each)


evaluated = [evaluate(members) for _, members in runs.groupby("folds")]
metrics, differences, spread = (pd.concat(frames, ignore_index=True) for frames in zip(*evaluated, strict=True))
spread = spread.melt(["family", "model"], var_name="metric")
over_seeds = spread.groupby(["family", "metric"])["value"].agg(["min", "max", "std"]).reset_index()
metrics = metrics.merge(over_seeds, on=["family", "metric"])
metrics[metrics["metric"] == "roc_auc"]

# %%
differences[differences["metric"] == "roc_auc"]

# %% [markdown]
# ## Do several sections help?
#
# A difference is resolved when its interval excludes zero; anything else is no claim.

# %%
auc = metrics[metrics["metric"] == "roc_auc"].set_index("family")
gains = differences.query("metric == 'roc_auc' and role == 'one section'").set_index("family")
seen = {"2.5D": "several sections as channels", "3D": "cubes"}
sentences, values = [], {}
for kind, family in best_of_kind.items():
    if family is None:
        continue
    key = "best_" + kind.lower().replace(".", "")
    row = auc.loc[family]
    values[key] = glue.Value(family, families["label"][family])
    values[f"{key}_roc_auc"] = glue.estimate(row["value"], row["low"], row["high"])
    if family in gains.index:
        row = gains.loc[family]
        for_more, for_one = "resolved in favour of several sections", "resolved in favour of one section"
        verdict = for_more if row["low"] > 0 else for_one if row["high"] < 0 else "not resolved"
        gain = values[f"{key}_gain"] = glue.estimate(row["value"], row["low"], row["high"], digits=3)
        sentences.append(
            f"Of the networks that see {seen[kind]}, the best on validation ({values[key].text}) had a test AUC of "
            f"{values[f'{key}_roc_auc'].text}, against {values['best_2d_roc_auc'].text} of the best on one section "
            f"({values['best_2d'].text}); the difference, {gain.text}, is {verdict}."
        )
none = "This edition does not compare networks that see several sections with one that sees a single section."
values |= {
    "several_sections": glue.text(" ".join(sentences) or none),
    "n_families": glue.count(len(families)),
    "n_networks": glue.count(families["n_networks"].sum()),
    "most_seeds": glue.count(families["n_networks"].max()),
}
frames = {"families": families.reset_index(), "metrics": metrics, "spread": spread, "differences": differences}
study.save(values, **frames)
