# %% [markdown]
# # The second fault: leakage
#
# The connectivity model of the earlier work is a logistic regression on the logits of two priors, the shares of
# excitatory synapses (Laplace-smoothed) among the training synapses of the presynaptic and of the postsynaptic neuron.
# *Leaky*: as it was, with synapses split at random, so that nearly every test synapse belongs to a neuron whose label
# was seen in training.
# *Honest*: the same model on held-out neurons, by the folds of the cohort, without any information on the presynaptic
# neuron.

# %%
import pandas as pd
from scipy.special import expit

from pipeline import glue
from pipeline.connectivity import prior
from pipeline.stats import bootstrap

TEST_FRACTION = 0.2
METRICS = ["accuracy", "balanced_accuracy", "roc_auc"]

study = glue.study("analysis/leakage.py")
synapses = study.read(study.build.synapses)
results = {
    "leaky": prior.leaky_protocol(synapses, TEST_FRACTION, study.config.seed),
    "honest": prior.honest_protocol(synapses),
}

# %% [markdown]
# ## Scores under both protocols
#
# At the threshold 0.5, with intervals whose unit is the presynaptic neuron.

# %%
scores = pd.concat(
    bootstrap.intervals(rows, 0.5, **study.resampling).assign(protocol=protocol)
    for protocol, (rows, _, _) in results.items()
)
scores = scores[scores["metric"].isin(METRICS)].reset_index(drop=True)
scores

# %% [markdown]
# ## Why
#
# Where synapses are split at random, the prior of the presynaptic neuron equals its label, and a predictor that is
# always correct has no finite weight without a penalty: shown is the penalised weight that the model learned.
# On held-out neurons the weight of each prior is fitted again without a penalty, with standard errors clustered by
# presynaptic neuron.
# There the prior of the presynaptic neuron is 0.5 for every synapse and has no value, whatever its weight.

# %%
priors = pd.concat(
    rows[["synapse_id", "label"]].assign(protocol=protocol, pre=expit(log_odds[:, 0]), post=expit(log_odds[:, 1]))
    for protocol, (rows, log_odds, _) in results.items()
)
rows, log_odds, _ = results["honest"]
worth = prior.refit(log_odds, rows["label"], rows["pre_neuron_id"], study.config.stats.confidence)
weights = worth.assign(learned=results["leaky"][2])
low, high = worth.set_index("side").loc["pre", ["low", "high"]]
glue.require(low <= 0 <= high, "the prior of a held-out presynaptic neuron has no weight")
leaky = scores.set_index(["protocol", "metric"]).loc[("leaky", "balanced_accuracy"), "value"]
glue.require(leaky >= 0.9, "split by synapse, the prior classifies at least nine in ten of either class correctly")
weights

# %%
known = results["leaky"][0]["pre_neuron_id"].isin(
    synapses.loc[~synapses["synapse_id"].isin(results["leaky"][0]["synapse_id"]), "pre_neuron_id"]
)
values = {
    "n_synapses": glue.count(len(synapses)),
    "n_neurons": glue.count(synapses["pre_neuron_id"].nunique()),
    "test_share": glue.percent(TEST_FRACTION),
    "n_leaky_test_synapses": glue.count(len(known)),
    "known_share": glue.percent(known.mean(), 1),
    "n_folds": glue.count(synapses["fold"].nunique()),
}
for row in scores.itertuples():
    values[f"{row.protocol}_{row.metric}"] = glue.estimate_of(row)
for row in weights.itertuples():
    values[f"leaky_{row.side}_learned"] = glue.number(row.learned)
    values[f"honest_{row.side}_weight"] = glue.estimate(row.weight, row.low, row.high)
study.save(values, scores=scores, weights=weights, priors=priors)
