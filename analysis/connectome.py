# %% [markdown]
# # Neuron class from connectivity alone
#
# How well do the wiring diagram and the positions of cell bodies, without any image, predict the class of a
# presynaptic neuron?
# Every number comes from models that saw no connection of the neuron that they score (folds by presynaptic neuron).
# How far an axon was proofread, and with it the number of its connections, is correlated with its class in these data:
# neither is a feature.

# %%
import functools

import numpy as np
import pandas as pd
from IPython.display import display

from pipeline import glue
from pipeline.connectivity import connectome, features, models, prior
from pipeline.stats import bootstrap

study = glue.study("analysis/connectome.py")
folder = study.config.data
if folder is None or not study.config.reads_folder:
    raise glue.StudyError("this analysis reads a connectome: name its folder with `make real DATA=<folder>`")
links = connectome.scored(folder, study.config.seed)
tables = connectome.tables(links)
neurons = links.groupby("pre_neuron_id")["label"].first()


def with_intervals(rows):
    """Metrics of `rows` (`pre_neuron_id, label, p_excitatory`) at the threshold 0.5; the unit is the neuron."""
    numbered = rows.assign(synapse_id=np.arange(len(rows)))
    return bootstrap.closed_intervals([numbered], [0.5], study.config.stats.confidence).set_index("metric")


def roc_auc(p_excitatory):
    """ROC AUC of connections, and of neurons by the mean log odds of their connections, with intervals."""
    rows = links[["pre_neuron_id", "label"]].assign(p_excitatory=p_excitatory)
    scored = {"connection": rows, "neuron": connectome.per_neuron(rows)}
    found = pd.DataFrame({unit: with_intervals(rows).loc["roc_auc"] for unit, rows in scored.items()})
    return found.T.rename_axis("unit")


# %% [markdown]
# ## The features
#
# Each feature is declared with what must be known to compute it.
# The inhibitory share of the inputs of a postsynaptic neuron is counted over presynaptic neurons of other folds only.

# %%
declared = pd.DataFrame(features.FEATURES.values(), index=list(features.FEATURES))
declared = declared.loc[tables[0].columns].rename_axis("feature").reset_index()
declared.assign(leakage=declared["leakage"].map(features.LEAKAGE))

# %% [markdown]
# ## ROC AUC by group of features
#
# Logistic regression is the baseline.
# Gradient boosting on all features shows what thresholds and interactions would add.

# %%
GROUPS = {
    "multiplicity": ("multiplicity",),
    "post": ("post",),
    "multiplicity_post": ("multiplicity", "post"),
    "geometry": ("geometry",),
    "all": ("multiplicity", "post", "geometry"),
}


def of_groups(groups):
    chosen = declared.loc[declared["group"].isin(groups), "feature"]
    return {fold: table[chosen] for fold, table in tables.items()}


predicted = {
    (name, "logistic"): models.out_of_fold(links["label"], links["fold"], of_groups(groups), models.logistic)
    for name, groups in GROUPS.items()
}
predicted["all", "boosting"] = models.out_of_fold(links["label"], links["fold"], tables, models.boosting)
scores = pd.concat({key: roc_auc(p) for key, p in predicted.items()}, names=["features", "model"]).reset_index()
scores

# %% [markdown]
# ## Coefficients of the baseline
#
# Log odds of excitatory per standard deviation of a feature, with standard errors clustered by presynaptic neuron.

# %%
coefficients = models.coefficients(
    features.table(links, links["fold"]), links["label"], links["pre_neuron_id"], study.config.stats.confidence
)
coefficients

# %% [markdown]
# ## A leak: leaving out only the scored connection
#
# If the inhibitory share is counted over *all* other connections, including those of the tested neurons, its values for
# the connections of one postsynaptic neuron differ by exactly their own labels.
# Trees that can distinguish postsynaptic neurons recover the label, and more trees do so better, whereas the honest
# score gains nothing from more trees.

# %%
leaky = features.leave_one_out_share(links)
leaky_tables = {fold: table.assign(post_inhibitory_share=leaky) for fold, table in tables.items()}
N_TREES = (100, 300)
leak = {}
for n_trees in N_TREES:
    for name, used in (("cross-fitted", tables), ("leave-one-out", leaky_tables)):
        model = functools.partial(models.boosting, n_trees)
        leak[n_trees, name] = roc_auc(models.out_of_fold(links["label"], links["fold"], used, model)).loc["connection"]
leak = pd.DataFrame(leak.values(), index=pd.MultiIndex.from_tuples(leak, names=["n_trees", "share"])).reset_index()
leak

# %% [markdown]
# ## The prior of the pre and post neuron
#
# The connectivity model of the earlier work is a logistic regression on the logits of two priors, the shares of
# excitatory synapses (Laplace-smoothed) among the training synapses of the presynaptic and of the postsynaptic neuron.
# *Leaky*: as it was, with synapses split at random, so that most test synapses belong to neurons whose label was seen.
# *Honest*: the same model on held-out neurons; the prior of a neuron without training synapses is 0.5.
# The worth of each prior on held-out neurons is its weight when the model is fitted again there, with standard errors
# clustered by presynaptic neuron.

# %%
TEST_FRACTION = 0.2

scored, weights = {}, {}
synapses = links.loc[links.index.repeat(links["n_synapses"])].reset_index(drop=True)
for unit, all_rows in (("connection", links), ("synapse", synapses)):
    results = {
        "leaky": prior.leaky_protocol(all_rows, TEST_FRACTION, study.config.seed),
        "honest": prior.honest_protocol(all_rows),
    }
    for protocol, (rows, _, learned) in results.items():
        metrics = with_intervals(rows[["pre_neuron_id", "label", "p_excitatory"]])
        scored[unit, protocol] = metrics.loc[["accuracy", "balanced_accuracy", "roc_auc"]]
        weights[unit, protocol] = pd.DataFrame({"side": ["pre", "post"], "learned": learned})
    rows, log_odds, _ = results["honest"]
    worth = prior.refit(log_odds, rows["label"], rows["pre_neuron_id"], study.config.stats.confidence)
    weights[unit, "honest"] = weights[unit, "honest"].merge(worth)
    low, high = worth.loc[0, ["low", "high"]]
    glue.require(low <= 0 <= high, "the prior of a held-out presynaptic neuron has no weight")
protocols = pd.concat(scored, names=["unit", "protocol", "metric"]).reset_index()
weights = pd.concat(weights, names=["unit", "protocol", None]).droplevel(2).reset_index()
display(weights)
protocols

# %%
values = {
    "n_connections": glue.count(len(links)),
    "n_synapses": glue.count(links["n_synapses"].sum()),
    "n_neurons": glue.count(len(neurons)),
    "n_excitatory_neurons": glue.count((neurons == 1).sum()),
    "n_inhibitory_neurons": glue.count((neurons == 0).sum()),
    "n_folds": glue.count(connectome.N_FOLDS),
    "excitatory_share": glue.percent(links["label"].mean()),
    "prior_test_share": glue.percent(TEST_FRACTION),
}
for row in scores.itertuples():
    values[f"{row.features}_{row.model}_{row.unit}"] = glue.estimate_of(row, digits=3)
for row in leak.itertuples():
    name = "leaky" if row.share == "leave-one-out" else "honest"
    values[f"leak_{name}_{row.n_trees}"] = glue.estimate_of(row, digits=3)
for row in protocols.itertuples():
    values[f"prior_{row.protocol}_{row.unit}_{row.metric}"] = glue.estimate_of(row, digits=3)
for row in weights.itertuples():
    name = f"prior_{row.protocol}_{row.unit}_{row.side}"
    values[f"{name}_learned"] = glue.number(row.learned)
    if row.protocol == "honest":
        values[f"{name}_weight"] = glue.estimate(row.weight, row.low, row.high)
results = {"declared": declared, "scores": scores, "coefficients": coefficients, "leak": leak}
study.save(values, **results, protocols=protocols, weights=weights)
