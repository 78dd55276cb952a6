# %% [markdown]
# # The image and the wiring together
#
# What does knowledge of the wiring add to the image of a synapse?
# The score of the best image model is stacked with features of connectivity, from those of a single synapse to those
# that require its whole axon.
# The stack is a logistic regression fitted on the validation neurons, on which no image model was trained; every step
# is scored on the test neurons.

# %%
import pandas as pd
from IPython.display import display

from pipeline import glue
from pipeline.connectivity import ConnectivityError, features, fusion, models
from pipeline.learn.threshold import best_threshold
from pipeline.stats import bootstrap, comparison

study = glue.study("analysis/fusion.py")
stats = study.config.stats
image_model = study.values("performance")["best_model"]
predictions = study.predictions(image_model.value)
image_model.text

# %% [markdown]
# ## Features
#
# Each feature is declared with what must be known to compute it.
# The inhibitory share of the inputs of a postsynaptic neuron is never counted over the neurons that it is used for: for
# a training or validation neuron it is counted over those of other folds, for a test neuron over all training and
# validation neurons, and no test label is ever counted.
# Whether a synapse lies on a spine is known from the truth of the simulation, or from a column of a folder's own table;
# the annotation service does not provide it.

# %%
links = study.read(study.build.synapses)
links["post_neuron_id"] = links["post_neuron_id"].astype("Int64").mask(links["post_neuron_id"] == 0)  # 0: unknown
if study.simulated:
    truth = study.read(study.build.source / "truth" / "synapses.parquet")[["synapse_id", "on_spine"]]
    links = links.merge(truth, on="synapse_id", how="left", validate="one_to_one")
links = features.with_neurons(links, study.read(study.build.cohort / "neurons.parquet"))
TEST = -1
part = links["fold"].where(links["split"] != "test", TEST)
table = features.table(links, part, hidden=TEST).set_axis(links["synapse_id"])
declared = pd.DataFrame(features.FEATURES.values(), index=list(features.FEATURES))
declared = declared.loc[table.columns].rename_axis("feature").reset_index()
declared.assign(leakage=declared["leakage"].map(features.LEAKAGE))

# %% [markdown]
# ## Ablation by what must be known
#
# The threshold of every step is the best one on the validation synapses, which are scored out of fold by neuron.
# Where spines are known, everything is repeated without the features that use them, and on synapses on shafts and cell
# bodies alone.

# %%
SPINE = ("on_spine", "axon_on_spine")
KEYS = dict(zip(fusion.STEPS, ("alone", "synapse", "post", "axon"), strict=True))
tables = {"all": table}
if "on_spine" in table:
    tables["no_spine"] = table.drop(columns=list(SPINE))
subsets = {"all": set(links["synapse_id"])}
if "on_spine" in table:
    shaft = links[(table["on_spine"] == 0).to_numpy()]
    per_class = shaft[shaft["split"] == "test"].groupby("label")["pre_neuron_id"].nunique()
    if per_class.reindex([0, 1], fill_value=0).min() >= 2:  # with fewer, neurons cannot be resampled
        subsets["shaft"] = set(shaft["synapse_id"])

scores, gains = [], []
for known, chosen in tables.items():
    steps = fusion.ablation(predictions, chosen, study.config.seed)
    validation = {step: rows[rows["split"] == "val"] for step, rows in steps.items()}
    tau = {step: best_threshold(*rows[["label", "p_excitatory"]].to_numpy().T) for step, rows in validation.items()}
    for subset, ids in subsets.items():
        test = {step: rows[(rows["split"] == "test") & rows["synapse_id"].isin(ids)] for step, rows in steps.items()}
        for step, rows in test.items():
            scores.append(
                bootstrap.intervals(rows, tau[step], **study.resampling).assign(
                    features=known, subset=subset, step=step
                )
            )
        pairs = comparison.pairwise(test, tau, **study.resampling, n_permutations=stats.n_bootstrap)
        to_alone = pairs[pairs["model_a"] == next(iter(steps))].rename(columns={"model_b": "step"})
        to_alone[["value", "low", "high"]] = -to_alone[["value", "high", "low"]].to_numpy()
        gains.append(to_alone.drop(columns="model_a").assign(features=known, subset=subset))
scores, gains = (
    pd.concat(tables_of).query("metric in ('roc_auc', 'balanced_accuracy')").reset_index(drop=True)
    for tables_of in (scores, gains)
)
display(gains[gains["metric"] == "roc_auc"])
scores[scores["metric"] == "roc_auc"]

# %% [markdown]
# ## Connectivity alone
#
# The same features without the image, for logistic regression and, as an upper reference, gradient boosting, both
# fitted on the training and validation neurons and scored on the same test synapses.

# %%
held_out = links["split"] == "test"
alone = []
for known, chosen in tables.items():
    for name, model in (("logistic", models.logistic), ("boosting", models.boosting)):
        fitted = model().fit(chosen.to_numpy()[~held_out], links.loc[~held_out, "label"])
        rows = links.loc[held_out, ["synapse_id", "pre_neuron_id", "label"]]
        rows = rows.assign(p_excitatory=fitted.predict_proba(chosen.to_numpy()[held_out])[:, 1])
        for subset, ids in subsets.items():
            found = bootstrap.intervals(rows[rows["synapse_id"].isin(ids)], tau=0.5, **study.resampling)
            alone.append(found[found["metric"] == "roc_auc"].assign(features=known, subset=subset, model=name))
alone = pd.concat(alone, ignore_index=True)
alone

# %% [markdown]
# Coefficients are log odds of excitatory per standard deviation on the training and validation neurons, with standard
# errors clustered by presynaptic neuron.
# They exist only where the features do not separate the classes without error.

# %%
training = ~held_out.to_numpy()
coefficients, without = [], {}
for known, chosen in tables.items():
    rows = links[training]
    try:
        found = models.coefficients(chosen[training], rows["label"], rows["pre_neuron_id"], stats.confidence)
    except ConnectivityError as error:
        without[known] = str(error)
        continue
    coefficients.append(found.assign(features=known))
empty = pd.DataFrame(columns=["feature", "coefficient", "low", "high", "p_value", "features"])
coefficients = pd.concat(coefficients, ignore_index=True) if coefficients else empty
print(without)
coefficients

# %% [markdown]
# ## In words

# %%
gain = gains.set_index(["features", "subset", "metric", "step"])


def auc(known, subset, step):
    """AUC of a step."""
    rows = scores.query("features == @known and subset == @subset and step == @step and metric == 'roc_auc'")
    return glue.estimate_of(rows.iloc[0])


*_, last = fusion.STEPS
words = "Whether a synapse lies on a spine is not known in these data, and none of the features uses it."
if "no_spine" in tables:
    others = gain.loc[("no_spine", "all", "roc_auc", last)]
    words = (
        f"With all features of the whole axon the AUC was {auc('all', 'all', last).text}; "
        f"without the two that use spines it was {auc('no_spine', 'all', last).text}, compared with "
        f"{auc('all', 'all', next(iter(fusion.STEPS))).text} for the image alone, a difference of "
        f"{glue.estimate_of(others).text} that is {'' if glue.resolved(others) else 'not '}resolved."
    )
    if "shaft" in subsets:
        words += (
            f" On synapses that lie on shafts or cell bodies the AUC was "
            f"{auc('all', 'shaft', next(iter(fusion.STEPS))).text} for the image alone and "
            f"{auc('no_spine', 'shaft', last).text} for the stack without features of spines."
        )
    if study.simulated:
        share = links.groupby("label")["on_spine"].mean()
        words += (
            f" That spines are so informative is a property of the simulation: by construction "
            f"{glue.percent(share[1]).text} of its excitatory and {glue.percent(share[0]).text} of its inhibitory "
            "synapses lie on spines, with the same probability in every axon of a class, so that the share of an "
            "axon's other synapses that lie on spines nearly determines its label."
        )
test_rows = links[held_out]
values = {
    "image_model": image_model,
    "n_synapses": glue.count(len(test_rows)),
    "n_neurons": glue.count(test_rows["pre_neuron_id"].nunique()),
    "n_validation_neurons": glue.count(links.loc[links["split"] == "val", "pre_neuron_id"].nunique()),
    "spines": glue.text(words),
}
if "shaft" in subsets:
    values |= {
        f"n_shaft_{name}": glue.count(
            (test_rows["synapse_id"].isin(subsets["shaft"]) & (test_rows["label"] == label)).sum()
        )
        for label, name in glue.CLASSES.items()
    }
for row in scores.itertuples():
    name = f"{row.features}_{row.subset}_{KEYS[row.step]}_{row.metric}"
    values[name] = glue.estimate_of(row)
for row in gains.itertuples():
    name = f"gain_{row.features}_{row.subset}_{KEYS[row.step]}_{row.metric}"
    values[name] = glue.estimate_of(row)
    values[f"{name}_p"] = glue.p_value(row.p_holm)
for row in alone.itertuples():
    values[f"{row.model}_{row.features}_{row.subset}_roc_auc"] = glue.estimate_of(row)
study.save(values, declared=declared, scores=scores, gains=gains, alone=alone, coefficients=coefficients)
