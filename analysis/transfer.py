# %% [markdown]
# # From this edition's data to real electron microscopy
#
# Networks that never saw the real volume are applied to its synapses as they are (zero-shot).
# Nothing is chosen on the real synapses: the best network of each dimensionality is the best on this edition's
# validation neurons, and every attempt to narrow the gap is shown, whether or not it helped.

# %%
import numpy as np
import pandas as pd

from pipeline import glue, labels
from pipeline.stats import bootstrap, checks
from pipeline.stats.auc import auc_interval
from pipeline.stats.metrics import Scored

study = glue.study("analysis/transfer.py", on_data=True)
folder = study.build.transfer
volume = study.read(folder / "volume.json")["datastack"]
floors = study.read(folder / "floors.parquet").sort_values("synapse_id", ignore_index=True)
floors = floors.astype({"label": int, "on_spine": bool})
runs = study.edition.rows("performance", "runs")
runs = runs[~runs["folds"]]  # a cross-validated model is not one network that could be applied
families = runs.groupby("family", sort=False).agg(
    dimensionality=("dimensionality", "first"), trained=("trained", "first"), validation_auc=("validation_auc", "mean")
)
families.insert(0, "label", families.index.map(labels.of_families(study.config)))
families

# %% [markdown]
# ## The real synapses
#
# Inhibitory synapses are few, come from even fewer axons, and may all lie on shafts, so that the location of a synapse
# alone nearly determines its class.
# Everything is therefore computed for the synapses on dendritic shafts as well.

# %%
SUBSETS = {"all": floors["synapse_id"], "shaft": floors.loc[~floors["on_spine"], "synapse_id"]}
sample = pd.DataFrame(
    {
        "subset": subset,
        "class": glue.CLASSES[label],
        "synapses": len(rows),
        "axons": rows["pre_neuron_id"].nunique(),
    }
    for subset, ids in SUBSETS.items()
    for label, rows in floors[floors["synapse_id"].isin(ids)].groupby("label")
)
sample

# %% [markdown]
# ## Scores
#
# Each network scores the images as they are, and with their grey levels matched to its training images by one curve
# for the whole volume.
# Baselines need no network: synapses with a darker postsynaptic side (a thick density), with a smoother bouton, or on a
# spine are expected to be excitatory.
# Radius, scale and direction of the second baseline were set with these synapses in view, which favours it.

# %%
ATTEMPTS = {"as it is": "p_excitatory", "matched": "p_matched"}
BASELINES = {
    "grey_post": "Dark postsynaptic side",
    "texture_pre": "Smooth bouton",
    "on_spine": "On a spine",
}
predictions = {}
for model in runs["model"]:
    rows = study.read(folder / f"{model}.parquet").sort_values("synapse_id", ignore_index=True)
    keys = ["synapse_id", "pre_neuron_id", "label"]
    if not rows[keys].astype(int).equals(floors[keys].astype(int)):
        raise glue.StudyError(f"{folder / f'{model}.parquet'} does not fit floors.parquet: run `make transfer` again")
    predictions[model] = rows


def scored(table, column, ids):
    """Those synapses `ids` of a table whose `column` is known, which becomes their score."""
    table = table[table["synapse_id"].isin(ids) & table[column].notna()]
    return checks.checked(table.assign(p_excitatory=table[column]))


def auc(tables):
    """The mean ROC AUC of tables of the same synapses, with its interval."""
    first, scores = tables[0], [table["p_excitatory"] for table in tables]
    found = auc_interval(first["label"], first["pre_neuron_id"], np.stack(scores), study.config.stats.confidence)
    return dict(zip(glue.ESTIMATE, found, strict=True))


def of_family(family, attempt, subset):
    """The scored synapses of each of a family's seeds."""
    members = runs.loc[runs["family"] == family, "model"]
    return [scored(predictions[model], ATTEMPTS[attempt], SUBSETS[subset]) for model in members]


def gain(tables, others):
    """The difference of the mean ROC AUCs of two families on the same resampled axons."""
    label, axon = checks.by_neuron(tables[0])
    ours, theirs = (
        [Scored(table["label"], table["p_excitatory"], group=axon) for table in family] for family in (tables, others)
    )

    def statistic(weights):
        ours_auc, theirs_auc = (
            np.mean([part.metrics(weights)["roc_auc"] for part in family], axis=0) for family in (ours, theirs)
        )
        return (ours_auc - theirs_auc)[:, None]

    found = bootstrap.interval(statistic, label, **study.resampling)
    return dict(zip(glue.ESTIMATE, np.ravel(found), strict=True))


# %%
results = pd.DataFrame(
    {"family": family, "attempt": attempt, "subset": subset} | auc(of_family(family, attempt, subset))
    for family in families.index
    for attempt in ATTEMPTS
    for subset in SUBSETS
)
results

# %%
baseline_scores = floors.assign(  # higher is more excitatory, in [0, 1]
    grey_post=(-floors["grey_post"]).rank(pct=True),
    texture_pre=(-floors["texture_pre"]).rank(pct=True),
    on_spine=floors["on_spine"].astype(float),
)
baseline_results = []
for name, label in BASELINES.items():
    for subset, ids in SUBSETS.items():
        if name == "on_spine" and subset == "shaft":
            continue  # no synapse on a shaft lies on a spine
        part = scored(baseline_scores, name, ids)
        baseline_results.append({"baseline": name, "label": label, "subset": subset, "n": len(part)} | auc([part]))
baseline_results = pd.DataFrame(baseline_results)
baseline_results

# %% [markdown]
# ## What the attempts did
#
# Paired differences on the same resampled axons: matched images minus images as they are, and each family minus the
# first one in the configuration that differs from it only in augmentation.

# %%
settings = {}
for family, (model, *_) in labels.families(study.config).items():
    settings[family] = model.model_dump(mode="json", exclude={"name", "family", "seed", "augmentation"})
trained = families.index[families["trained"]]
attempts = [("matching", family, "matched", family) for family in trained]
for family in trained:
    first = next(other for other in trained if settings[other] == settings[family])
    if first != family:
        attempts.append(("augmentation", family, "as it is", first))
gains = []
for what, family, attempt, base in attempts:
    for subset in SUBSETS:
        found = gain(of_family(family, attempt, subset), of_family(base, "as it is", subset))
        gains.append({"attempt": what, "family": family, "base": base, "subset": subset} | found)
gains = pd.DataFrame(gains)
gains

# %%
counts = sample.set_index(["subset", "class"])
values = {"volume": glue.text(volume), "n_synapses": glue.count(len(floors))}
for (subset, name), row in counts.iterrows():
    values |= {f"n_{subset}_{name}": glue.count(row["synapses"]), f"n_{subset}_{name}_axons": glue.count(row["axons"])}
for row in baseline_results.itertuples():
    values[f"{row.baseline}_{row.subset}"] = glue.estimate_of(row)
    values[f"n_{row.baseline}_{row.subset}"] = glue.count(row.n)
for row in results.itertuples():
    where = f"{row.family}_{row.subset}" + ("_matched" if row.attempt == "matched" else "")
    values[where] = glue.estimate_of(row)
for row in gains.itertuples():
    values[f"{row.family}_{row.subset}_{row.attempt}_gain"] = glue.estimate_of(row)
ranked = families[families["trained"]].sort_values("validation_auc", ascending=False, kind="stable")
families["best"] = families.index.isin(ranked.index[~ranked["dimensionality"].duplicated()])
for dimensionality, part in ranked.groupby("dimensionality"):
    key, family = "best_" + dimensionality.lower().replace(".", ""), part.index[0]
    values[key] = glue.Value(family, families["label"][family])
    for suffix in ("all", "shaft", "all_matched", "shaft_matched", "all_matching_gain", "shaft_matching_gain"):
        values[f"{key}_{suffix}"] = values[f"{family}_{suffix}"]
tables = {"families": families.reset_index(), "sample": sample, "results": results, "baselines": baseline_results}
study.save(values, **tables, gains=gains)
