# %% [markdown]
# # The statistics behind the scores
#
# Which models differ, what pooling the synapses of a neuron gains, whether probabilities are calibrated, how many test
# neurons a given precision requires, and what more training neurons would add.
# The unit of every test and interval is the presynaptic neuron.

# %%
import pandas as pd

from pipeline import glue, labels
from pipeline.learn.threshold import best_threshold
from pipeline.stats import calibration, comparison, learning_curve, pooling, power
from pipeline.stats.metrics import PredictionsError

study = glue.study("analysis/inference.py")
stats = study.config.stats
runs = study.rows("performance", "runs").query("not folds").set_index("model")
performance = study.values("performance")
best, control = performance["best_model"].value, performance["control_model"].value
shown = list(study.rows("performance", "metrics")["model"].unique())
tau = runs["tau"]
test = {name: study.predictions(name).query("split == 'test'") for name in runs.index}
n_neurons = test[best]["pre_neuron_id"].nunique()

# %% [markdown]
# ## All pairs of models
#
# Models are compared on the same resampled neurons, and by a permutation test that exchanges all predictions for a
# neuron at once.
# Its p-values are adjusted over all pairs of models by Holm's method.
# For comparison we show two tests that treat every synapse as an independent draw and are therefore too liberal:
# DeLong's for AUC and McNemar's for accuracy.
# Models trained with several seeds are represented by the network with the best validation AUC.

# %%
ranked = runs.sort_values("validation_auc", ascending=False, kind="stable")
chosen = ranked.drop_duplicates("family").index
compared = [name for name in runs.index if name in chosen]
pairs = comparison.pairwise(
    {name: test[name] for name in compared}, tau[compared], **study.resampling, n_permutations=stats.n_bootstrap
)
pairs[pairs["metric"] == "roc_auc"]

# %%
LEVEL = 1 - stats.confidence
of_metric = {metric: rows for metric, rows in pairs.groupby("metric")}
resolved = {metric: int((rows["p_holm"] < LEVEL).sum()) for metric, rows in of_metric.items()}
naive = {metric: int((rows["p_naive"] < LEVEL).sum()) for metric, rows in of_metric.items()}
resolved, naive

# %% [markdown]
# ## Pooling the synapses of a neuron
#
# A neuron is classified by the mean log odds of k of its synapses, at the model's threshold.
# Intervals are those of shares, from the variance between neurons.

# %%
pooled = pd.concat(
    pooling.neuron_accuracy(test[name], tau[name], stats.confidence, study.config.seed).assign(model=name)
    for name in shown
).reset_index(drop=True)
pooled

# %% [markdown]
# ## Calibration
#
# Synapses are binned by probability, with equal numbers in each bin; there are up to ten bins, fewer where a bin would
# hold too few neurons to be resampled.

# %%
N_BINS = 10


def curve(name):
    """The calibration curve with as many bins as can be resampled."""
    for n_bins in range(N_BINS, 0, -1):
        try:
            return calibration.curve(test[name], **study.resampling, n_bins=n_bins).assign(model=name)
        except PredictionsError as error:
            reason = error
    raise reason


curves = pd.concat(curve(name) for name in shown).reset_index(drop=True)
summaries = pd.concat(
    calibration.summary(test[name], **study.resampling, n_bins=int((curves["model"] == name).sum())).assign(model=name)
    for name in shown
).reset_index(drop=True)
summaries

# %% [markdown]
# ## How many test neurons
#
# The half-width of the interval of balanced accuracy that is expected for n test neurons, half of each class, from the
# variance between neurons observed here.

# %%
WANTED = 0.05
SIZES = [6, 10, 20, 30, 50, 100, 200, 500, 1000]
observed = (test[best], tau[best])
half_widths = power.half_widths(*observed, SIZES, stats.confidence, stats.n_bootstrap, study.config.seed)
needed = power.neurons_needed(*observed, WANTED, stats.confidence, stats.n_bootstrap, study.config.seed)
half_widths

# %% [markdown]
# ## How many training neurons
#
# Networks trained by the same recipe on a share of the training neurons, and tested on the same neurons.
# The intervals resample test neurons: they do not include the variation between choices of training neurons.


# %%
def trained_with(model):
    """Training neurons, test predictions and threshold of a model."""
    rows = study.predictions(model.name)
    validation = rows[rows["split"] == "val"]
    threshold = best_threshold(validation["label"], validation["p_excitatory"])
    n_train = study.read(study.build.run(model.name) / "result.json")["train_neurons"]
    return n_train, rows[rows["split"] == "test"], threshold


same_recipe = {}
for model in study.config.models:
    if model.trained and not model.folds:
        recipe = model.model_dump_json(exclude={"name", "family", "seed", "train_share"})
        same_recipe.setdefault(recipe, []).append(model)
learning, sentences = [], []
for models in same_recipe.values():
    if len({model.train_share for model in models}) < 2:
        continue
    fullest = max(models, key=lambda model: model.train_share)
    curve, gain = learning_curve.learning_curve([trained_with(model) for model in models], **study.resampling)
    label = labels.of_models(study.config)[fullest.name]
    learning.append(curve.assign(model=fullest.name, label=label))
    auc, row = curve[curve["metric"] == "roc_auc"], gain.set_index("metric").loc["roc_auc"]
    first, last = (glue.estimate_of(end).text for _, end in auc.iloc[[0, -1]].iterrows())
    few, many = (glue.count(n).text for n in auc["n_train_neurons"].iloc[[0, -1]])
    sentences.append(
        f"{label} had an AUC of {first} when trained on {few} neurons and of {last} when "
        f"trained on {many}; the gain with each doubling, {glue.estimate_of(row, digits=3).text}, is "
        f"{'' if glue.resolved(row) else 'not '}resolved."
    )
columns = ["n_train_neurons", "n_runs", "metric", "value", "low", "high", "model", "label"]
learning = pd.concat(learning, ignore_index=True) if learning else pd.DataFrame(columns=columns)
none = "No network of this edition was trained on part of the training neurons."
learning[learning["metric"] == "roc_auc"]

# %%
values = {
    "learning": glue.text(" ".join(sentences) or none),
    "n_test_synapses": glue.count(len(test[best])),
    "n_test_neurons": glue.count(n_neurons),
    "best_model": performance["best_model"],
    "control_model": performance["control_model"],
    "n_models": glue.count(len(compared)),
    "n_pairs": glue.count(len(of_metric["roc_auc"])),
    "level": glue.number(LEVEL),
    "n_resolved_roc_auc": glue.count(resolved["roc_auc"]),
    "n_resolved_accuracy": glue.count(resolved["accuracy"]),
    "n_resolved_balanced_accuracy": glue.count(resolved["balanced_accuracy"]),
    "n_delong": glue.count(naive["roc_auc"]),
    "n_mcnemar": glue.count(naive["accuracy"]),
    "half_width_wanted": glue.number(WANTED),
    "neurons_needed": glue.count(needed["closed_form"]),
    "neurons_needed_resampled": glue.count(needed["resampled"]),
}
role_of = {best: "best", control: "control"}
for row in pooled.itertuples():
    for name in {row.model, role_of.get(row.model, row.model)}:
        values[f"{name}_pooled_{row.pooled}"] = glue.estimate_of(row)
for row in summaries.itertuples():
    for name in {row.model, role_of.get(row.model, row.model)}:
        values[f"{name}_{row.metric}"] = glue.estimate_of(row, digits=3)
described = runs[runs.index.isin([*compared, *shown])].reset_index()
described = described[["model", "label", "dimensionality", "trained"]]
results = {"models": described, "pairs": pairs, "pooled": pooled, "curves": curves, "summaries": summaries}
study.save(values, **results, half_widths=half_widths, learning=learning)
