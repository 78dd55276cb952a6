# %% [markdown]
# # Performance on held-out neurons
#
# Every model is scored on neurons that it never saw.
# All choices (the threshold of each model, and which model is the best) are made on the validation neurons.
# Only the control that the best model is compared with is chosen on the test neurons, against the model: it is the
# strongest there, so that the difference is the smallest.

# %%
import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from scipy.stats import binom
from sklearn.metrics import precision_recall_curve, roc_curve

from pipeline import glue, labels
from pipeline.columns import CENTER_NM
from pipeline.learn.threshold import best_threshold
from pipeline.stats import bootstrap
from pipeline.stats.metrics import Scored
from pipeline.stats.shares import balanced_interval

study = glue.study("analysis/performance.py")
label_of = labels.of_models(study.config)
# Models trained on part of the neurons, and those given a mask, are compared in `inference` and `partners`.
models = [model for model in study.config.models if model.train_share == 1 and not model.reads_mask]
predictions = {model.name: study.predictions(model.name) for model in models if not model.folds}
for name, rows in predictions.items():
    if not rows["synapse_id"].equals(next(iter(predictions.values()))["synapse_id"]):
        raise glue.StudyError(f"the predictions of {name} and those of {next(iter(predictions))} differ in synapses")


def of_set(name, split):
    rows = predictions[name]
    return rows[rows["split"] == split].reset_index(drop=True)


# %% [markdown]
# ## Choices on validation neurons
#
# The threshold $\tau$ of a model maximises its balanced accuracy on the validation synapses.
# The best model is the trained one with the highest validation ROC AUC.
# Controls have random weights under a fitted logistic head.
# A cross-validated model has no validation neurons of its own: each of its networks is validated on another fold, its
# threshold is 0.5 by construction, and it is compared only in [the study of all models](study.html).

# %%
runs = []
for model in models:
    result = study.read(study.build.run(model.name) / "result.json")
    if model.folds:
        tau, validation_auc = result["tau"], result["validation"]["roc_auc"]
    else:
        validation = of_set(model.name, "val")
        tau = best_threshold(validation["label"], validation["p_excitatory"])
        validation_auc = Scored(validation["label"], validation["p_excitatory"]).metrics()["roc_auc"].item()
    dimensionality, sections = labels.input_of(model, study.config)
    stored = {"patch": study.config.extract.patch_px, "cube": study.config.extract.cube_zyx[-1]}
    runs.append(
        {
            "model": model.name,
            "label": label_of[model.name],
            "family": model.family or model.name,
            "seed": model.seed,
            "network": model.network,
            "dimensionality": dimensionality,
            "sections": sections,
            "side_px": model.crop[-1] if model.crop else stored[model.array],
            "trained": model.trained,
            "folds": model.folds,
            "tau": float(tau),
            "validation_auc": validation_auc,
            "parameters": result["parameters"],
            "best_epoch": result.get("best_epoch"),
            "seconds_per_epoch": result.get("seconds_per_epoch"),
            "device": result["device"],
        }
    )
runs = pd.DataFrame(runs).astype({"best_epoch": float, "seconds_per_epoch": float})  # a control has no epochs
held_out = runs[~runs["folds"]]
for trained, what in ((True, "trained model"), (False, "untrained control")):
    if not (held_out["trained"] == trained).any():
        raise glue.StudyError(f"config {study.config.name!r} has no {what} without folds: add one to its `models`")
tau = runs.set_index("model")["tau"]
ranked = held_out[held_out["trained"]].sort_values("validation_auc", ascending=False, kind="stable")
best = ranked["model"].iloc[0]
runs[["label", "dimensionality", "trained", "tau", "validation_auc"]]

# %% [markdown]
# ## Best model against every control
#
# A network with random weights already scores above chance, because it responds to texture, and how well depends on the
# draw of its weights.
# What was learned is the difference, computed on the same resampled neurons; every control is listed.

# %%
controls, differences = [], {}
for row in held_out[~held_out["trained"]].itertuples():
    pair = of_set(best, "test"), of_set(row.model, "test")
    found = bootstrap.difference(*pair, tau[best], tau[row.model], **study.resampling).set_index("metric")
    auc = bootstrap.closed_intervals(pair[1:], [tau[row.model]], study.config.stats.confidence)
    auc = auc.set_index("metric").loc["roc_auc"]
    both = (auc[glue.ESTIMATE], found.loc["roc_auc", glue.ESTIMATE].add_prefix("difference_"))
    controls.append({"model": row.model, "label": row.label} | dict(pd.concat(both)))
    differences[row.model] = found.reset_index()
controls = pd.DataFrame(controls)
control = controls.loc[controls["value"].idxmax(), "model"]
difference = differences[control]
controls

# %% [markdown]
# Shown below are the best trained model of each dimensionality of the input (one section, several sections as channels,
# a cube) and the strongest control.

# %%
best_of_each = ranked.drop_duplicates("dimensionality").set_index("dimensionality")["model"]
shown = [*best_of_each.reindex(labels.DIMENSIONALITIES).dropna(), control]
[label_of[name] for name in shown]

# %% [markdown]
# ## Test metrics
#
# Synapses of one neuron resemble each other, so they are not independent draws.
# The unit of the intervals is the neuron, with all its synapses.

# %%
metrics = pd.concat(
    bootstrap.intervals(of_set(name, "test"), tau[name], **study.resampling).assign(model=name, label=label_of[name])
    for name in shown
)
metrics = metrics[["model", "label", "metric", "value", "low", "high"]].reset_index(drop=True)
metrics

# %% [markdown]
# ## Curves, confusion matrix and predicted probabilities
#
# Excitatory is the positive class throughout.

# %%
curves = []
for name in shown:
    test = of_set(name, "test")
    false_positive, true_positive, _ = roc_curve(test["label"], test["p_excitatory"])
    precision, recall, _ = precision_recall_curve(test["label"], test["p_excitatory"])
    curves.append(pd.DataFrame({"model": name, "curve": "roc", "x": false_positive, "y": true_positive}))
    curves.append(pd.DataFrame({"model": name, "curve": "pr", "x": recall, "y": precision}))
curves = pd.concat(curves, ignore_index=True)

test = of_set(best, "test").assign(predicted=lambda rows: (rows["p_excitatory"] >= tau[best]).astype(int))
cells = pd.MultiIndex.from_product([[1, 0], [1, 0]], names=["label", "predicted"])
confusion = test.groupby(["label", "predicted"]).size().reindex(cells, fill_value=0).rename("synapses").reset_index()
confusion

# %%
edges = np.linspace(0, 1, 21)
confidence = pd.concat(
    pd.DataFrame(
        {
            "label": label,
            "low": edges[:-1],
            "high": edges[1:],
            "synapses": np.histogram(test.loc[test["label"] == label, "p_excitatory"], edges)[0],
        }
    )
    for label in glue.CLASSES
).reset_index(drop=True)

# %% [markdown]
# ## Other thresholds
#
# A page of [the test synapses](atlas.html) lets its reader move the threshold of every model; here are the counts and
# the balanced accuracy that it shows.

# %%
CELLS = {"tp": (1, 1), "fn": (1, 0), "fp": (0, 1), "tn": (0, 0)}  # (label, call)
thresholds, aucs = [], []
for row in held_out.itertuples():
    scored = of_set(row.model, "test")
    auc = bootstrap.closed_intervals([scored], [row.tau], study.config.stats.confidence).set_index("metric")
    aucs.append({"model": row.model} | dict(auc.loc["roc_auc"]))
    label, neuron = scored["label"].to_numpy(), scored["pre_neuron_id"].to_numpy()
    for threshold in np.union1d(np.arange(101) / 100, row.tau):
        call = (scored["p_excitatory"] >= threshold).to_numpy(int)
        counts = {cell: int(((label == one) & (call == other)).sum()) for cell, (one, other) in CELLS.items()}
        balanced = balanced_interval(label, neuron, call == label, study.config.stats.confidence)
        of = {"model": row.model, "threshold": threshold} | counts
        thresholds.append(of | dict(zip(glue.ESTIMATE, balanced, strict=True)))
thresholds, aucs = pd.DataFrame(thresholds), pd.DataFrame(aucs)
aucs

# %% [markdown]
# ## Accuracy of each neuron
#
# If the synapses of a neuron were independent draws at the accuracy of their class, about the stated share of neurons
# would lie between the two binomial quantiles.
# Neurons outside this range show that errors cluster in neurons, which is why neurons are resampled.

# %%
neurons = (
    test.assign(correct=test["label"] == test["predicted"])
    .groupby(["label", "pre_neuron_id"])["correct"]
    .agg(synapses="size", accuracy="mean")
    .reset_index()
)
tail = (1 - study.config.stats.confidence) / 2
class_accuracy = (test["label"] == test["predicted"]).groupby(test["label"]).mean()
expected = class_accuracy[neurons["label"]].to_numpy()
neurons["expected"] = expected
neurons["low"] = binom.ppf(tail, neurons["synapses"], expected) / neurons["synapses"]
neurons["high"] = binom.ppf(1 - tail, neurons["synapses"], expected) / neurons["synapses"]
outside = (neurons["accuracy"] < neurons["low"]) | (neurons["accuracy"] > neurons["high"])
neurons

# %% [markdown]
# ## Test synapses that share no tissue with the other sets
#
# Cubes of test synapses may overlap those of training or validation synapses of other neurons, as the audit counts.
# The best model is scored again on the test synapses whose cubes overlap none.

# %%
synapses = study.read(study.build.synapses).set_index("synapse_id")
cube_nm = np.array(study.read(study.build.cohort / "audit.json")["cube_nm"])
in_cubes = synapses[CENTER_NM] / cube_nm  # two cubes overlap where their centres are less than 1 apart along each axis
others = cKDTree(in_cubes[synapses["split"] != "test"].to_numpy())
distance, _ = others.query(in_cubes.loc[test["synapse_id"]].to_numpy(), p=np.inf)
apart = test[distance >= 1 - 1e-9].reset_index(drop=True)
neurons_apart = apart.groupby("label")["pre_neuron_id"].nunique().reindex([1, 0], fill_value=0)
where = (
    f"{glue.count(len(apart)).text} of the {glue.count(len(test)).text} test synapses, of "
    f"{glue.count(neurons_apart[1]).text} excitatory and {glue.count(neurons_apart[0]).text} inhibitory neurons, share "
    "no tissue with a training or validation image"
)
if neurons_apart.min() >= 2:  # with fewer, there is no variance between neurons
    scored = bootstrap.closed_intervals([apart], [tau[best]], study.config.stats.confidence).set_index("metric")
    where += f"; on these alone the AUC of {label_of[best]} was {glue.estimate_of(scored.loc['roc_auc']).text}."
else:
    where += ", too few to be scored alone."
where

# %% [markdown]
# ## In words

# %%
gap = difference.set_index("metric").loc["roc_auc"]
strongest = controls.set_index("model").loc[control]
verdict = (
    f"Of {glue.count(len(controls)).text} untrained networks, the one with the highest AUC on the same neurons reached "
    f"{glue.estimate_of(strongest).text}; "
)
if gap["low"] > 0:
    verdict += f"training added {glue.estimate_of(gap).text}."
elif gap["high"] < 0:
    verdict += f"training did not help: the difference is {glue.estimate_of(gap).text}."
else:
    verdict += f"that training added anything is not resolved: the difference is {glue.estimate_of(gap).text}."
verdict

# %%
values = {
    "verdict": glue.text(verdict),
    "apart": glue.text(where),
    "n_test_synapses": glue.count(len(test)),
    "n_test_neurons": glue.count(test["pre_neuron_id"].nunique()),
    "best_model": glue.Value(best, label_of[best]),
    "best_tau": glue.number(tau[best]),
    "best_validation_auc": glue.number(ranked.set_index("model")["validation_auc"][best]),
    "control_model": glue.Value(control, label_of[control]),
    "n_controls": glue.count(len(controls)),
    "weakest_control_roc_auc": glue.estimate_of(controls.loc[controls["value"].idxmin()]),
    "best_excitatory_accuracy": glue.percent(class_accuracy[1]),
    "best_inhibitory_accuracy": glue.percent(class_accuracy[0]),
    "test_excitatory_share": glue.percent(test["label"].mean()),
    "n_neurons_outside": glue.count(outside.sum()),
    "share_neurons_outside": glue.percent(outside.mean()),
}
role_of = {best: "best", control: "control"}
for row in metrics.itertuples():
    for name in {row.model, role_of.get(row.model, row.model)}:
        values[f"{name}_{row.metric}"] = glue.estimate_of(row)
for row in difference.itertuples():
    values[f"difference_{row.metric}"] = glue.estimate_of(row)
results = {"runs": runs, "metrics": metrics, "difference": difference, "controls": controls, "curves": curves}
results |= {"thresholds": thresholds, "aucs": aucs, "confusion": confusion, "confidence": confidence}
study.save(values, **results, neurons=neurons)
