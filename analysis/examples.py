# %% [markdown]
# # Example synapses
#
# Examples are chosen by rule and not by hand.
# For each class, the test synapses that the best model classified correctly, and those that it misclassified, are
# ordered by its confidence and taken at evenly spaced ranks from the most to the least confident.

# %%
import numpy as np
import pandas as pd

from pipeline import glue

N_CORRECT, N_WRONG = 4, 2

study = glue.study("analysis/examples.py")
performance = study.values("performance")
best, tau = performance["best_model"].value, performance["best_tau"].value
test = study.predictions(best).query("split == 'test'")
test = test.assign(predicted=(test["p_excitatory"] >= tau).astype(int))
test["confidence"] = (test["p_excitatory"] - tau).abs()

# %%
chosen = []
for label in glue.CLASSES:
    for correct, wanted in ((True, N_CORRECT), (False, N_WRONG)):
        group = test[(test["label"] == label) & ((test["predicted"] == label) == correct)]
        group = group.sort_values(["confidence", "synapse_id"], ascending=[False, True])
        rank = np.linspace(0, len(group) - 1, min(wanted, len(group))).round().astype(int)
        chosen.append(group.iloc[rank].assign(correct=correct))
examples = pd.concat(chosen, ignore_index=True)
examples = examples[["synapse_id", "pre_neuron_id", "label", "predicted", "p_excitatory", "correct"]]
examples

# %% [markdown]
# Where a model makes fewer errors than there are panels, all of them are shown.

# %%
values = {
    "model": performance["best_model"],
    "n_examples": glue.count(len(examples)),
    "n_wrong_examples": glue.count((~examples["correct"]).sum()),
    "n_wrong": glue.count((test["label"] != test["predicted"]).sum()),
}
study.save(values, examples=examples)
