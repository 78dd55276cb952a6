# %% [markdown]
# # Which synapses are misclassified
#
# A logistic model of the errors of the best model on the test synapses, fitted by generalised estimating equations,
# which allow synapses of one neuron to be correlated.

# %%
import numpy as np
import pandas as pd

from pipeline import glue
from pipeline.stats import errors
from pipeline.stats.metrics import PredictionsError

study = glue.study("analysis/errors.py")
performance = study.values("performance")
best, tau = performance["best_model"], performance["best_tau"].value
test = study.predictions(best.value).query("split == 'test'").reset_index(drop=True)
test["error"] = (test["p_excitatory"] >= tau) != (test["label"] == 1)

# %% [markdown]
# ## Predictors
#
# The size of the synapse, and the quality of its image: how much of it is reflected tissue beyond the edge of the
# volume, its brightness and contrast, and whether a section is blank.
# The class is among the predictors, so that properties correlated with the class are not mistaken for causes of errors.
# The simulation also knows whether a synapse lies on a spine, and how many vesicles its bouton holds.
# Predictors that are unknown in this edition, or the same for all synapses, are left out.

# %%
PREDICTORS = {  # name of the predictor, and of the synapses for which it is higher
    "excitatory": ("Excitatory", "excitatory synapses"),
    "log_size": ("Size (log voxels)", "larger synapses"),
    "on_spine": ("On a spine", "synapses on spines"),
    "log_vesicles": ("Vesicles (log number)", "boutons with more vesicles"),
    "padded": ("Share of the image beyond the edge", "images that reach further beyond the edge"),
    "brightness": ("Mean grey level", "brighter images"),
    "contrast": ("Standard deviation of grey levels", "images of higher contrast"),
    "blank_sections": ("Blank sections in the image", "images with a blank section"),
}
model = study.config.model(best.value)
image = model.array
quality = study.read(study.build.patches / "quality.parquet")
synapses = study.read(study.build.synapses)
facts = synapses[["synapse_id", "size", *({"on_spine"} & set(synapses))]]
if study.simulated:
    truth = study.read(study.build.source / "truth" / "synapses.parquet")
    facts = facts.merge(truth[["synapse_id", "on_spine", "n_vesicles"]], on="synapse_id", validate="one_to_one")
names = {"padded": f"{image}_padded", "brightness": f"{image}_mean", "contrast": f"{image}_std"}
if image == "cube":
    names["blank_sections"] = "cube_blank_sections"
facts = facts.merge(quality[["synapse_id", *names.values()]], on="synapse_id", validate="one_to_one")
facts = facts.rename(columns={name: predictor for predictor, name in names.items()})
facts["log_size"] = np.log(facts["size"].astype(float))
if "n_vesicles" in facts:
    facts["log_vesicles"] = np.log1p(facts["n_vesicles"])
rows = test.merge(facts, on="synapse_id", validate="one_to_one", how="left")
rows["excitatory"] = rows["label"] == 1
known = [name for name in PREDICTORS if name in rows and rows[name].notna().all() and rows[name].nunique() > 1]
left_out = [PREDICTORS[name][0].lower() for name in PREDICTORS if name not in known]
known, left_out

# %% [markdown]
# ## Odds ratios
#
# One model with all predictors, so that each odds ratio holds the others fixed; and one model for each predictor with
# the class as the only other one.
# Where there are too few neurons or errors to fit a model, the reason is given instead.

# %%
found, refused = [], {}
for model, predictors in {
    "together": [known],
    "alone": [[name] if name == "excitatory" else ["excitatory", name] for name in known],
}.items():
    for chosen in predictors:
        try:
            odds = errors.odds_ratios(rows, chosen, study.config.stats.confidence)
        except PredictionsError as error:
            refused[model, chosen[-1]] = str(error)
            continue
        found.append((odds if model == "together" else odds[odds["predictor"] == chosen[-1]]).assign(model=model))
empty = pd.DataFrame(columns=["predictor", "unit", "odds_ratio", "low", "high", "p", "model"])
odds = pd.concat(found, ignore_index=True) if found else empty
odds["label"] = [PREDICTORS[name][0] for name in odds["predictor"]]
print(refused)
odds

# %%
together = odds[odds["model"] == "together"]
resolved = together[(together["low"] > 1) | (together["high"] < 1)]


def phrase(row):
    """`more likely in larger synapses (odds ratio 1.8 [1.2, 2.7])`."""
    more = "more" if row.odds_ratio > 1 else "less"
    ratio = glue.estimate(row.odds_ratio, row.low, row.high).text
    return f"{more} likely in {PREDICTORS[row.predictor][1]} (odds ratio {ratio})"


if together.empty:
    words = f"No model of all predictors could be fitted: {refused['together', known[-1]]}."
elif resolved.empty:
    words = "In the model with all predictors, no interval of an odds ratio excludes one."
else:
    words = (
        f"With the other predictors held fixed, errors were {', '.join(phrase(row) for row in resolved.itertuples())}."
    )
values = {
    "model": best,
    "n_synapses": glue.count(len(rows)),
    "n_neurons": glue.count(rows["pre_neuron_id"].nunique()),
    "n_errors": glue.count(rows["error"].sum()),
    "error_share": glue.percent(rows["error"].mean()),
    "found": glue.text(words),
    "left_out": glue.text("; ".join(left_out) if left_out else "none"),
}
for row in odds.itertuples():
    values[f"{row.predictor}_{row.model}"] = glue.estimate(row.odds_ratio, row.low, row.high)
    values[f"{row.predictor}_{row.model}_p"] = glue.p_value(row.p)
study.save(values, odds=odds)
