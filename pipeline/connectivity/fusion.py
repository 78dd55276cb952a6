"""The EM score stacked with connectivity features, and what each kind of knowledge adds.

The stacker is fitted on the validation neurons alone: no EM model was trained on them, and no test neuron is used. In
`features.table` the test neurons are then a part of their own, and the hidden one.
"""

import pandas as pd
from scipy.special import logit

from pipeline.connectivity import features, folds, models

N_FOLDS = 5

#: What is put on top of the EM score, from the least knowledge to the most: keys of `features.LEAKAGE`.
STEPS = {
    "EM alone": (),
    "EM + synapse": ("synapse",),
    "EM + synapse + post neuron": ("synapse", "post"),
    "EM + synapse + post neuron + axon": ("synapse", "post", "axon"),
}


class FusionError(ValueError):
    """Predictions and features that cannot be stacked; the text says why."""


def ablation(predictions, table, seed=0):
    """Validation and test predictions of every step, `{step: DataFrame}`, in the schema of `predictions`.

    `predictions` has `synapse_id, pre_neuron_id, label, split, p_excitatory` and more; `table` has the features of each
    of these synapses, indexed by `synapse_id`. EM alone is the predictions as they are.
    """
    alone, *others = STEPS
    stacked = {step: stack(predictions, table[features.names(table, STEPS[step])], seed) for step in others}
    return {alone: predictions[predictions["split"].isin(("val", "test"))]} | stacked


def stack(predictions, table, seed=0):
    """`predictions` with `p_excitatory` of a logistic model of the EM logit and the columns of `table`.

    The model is fitted on the rows with split `val` and scores those with split `test`. Validation rows are returned
    too, scored out of fold by neuron, so that a threshold can be chosen on them. Raises FusionError where synapses lack
    features or occur twice, where scores are missing or no probabilities, and where there are no test rows; and
    folds.FoldError where the validation rows have less than two neurons of a class.
    """
    for name, ids in (("predictions", predictions["synapse_id"]), ("features", table.index.to_series())):
        if ids.duplicated().any():
            twice = ids[ids.duplicated()].head().tolist()
            raise FusionError(
                f"{ids.duplicated().sum()} synapse ids occur more than once in the {name}, such as {twice}"
            )
    wrong = ~predictions["p_excitatory"].between(0, 1)
    if wrong.any():
        ids = predictions.loc[wrong, "synapse_id"].head().tolist()
        raise FusionError(f"{wrong.sum()} synapses have p_excitatory outside [0, 1], such as {ids}")
    unknown = ~predictions["synapse_id"].isin(table.index)
    if unknown.any():
        ids = predictions.loc[unknown, "synapse_id"].head().tolist()
        raise FusionError(f"{unknown.sum()} synapses have no connectivity features, such as {ids}")
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    if test.empty:
        raise FusionError("there are no rows with split `test` to predict")
    n_folds = max(2, min(N_FOLDS, *(val.loc[val["label"] == of, "pre_neuron_id"].nunique() for of in (0, 1))))
    fold = folds.by_neuron(val["pre_neuron_id"], val["label"], n_folds, seed)
    design = {part: _design(rows, table) for part, rows in (("val", val), ("test", test))}
    held_out = models.out_of_fold(val["label"], fold, dict.fromkeys(range(n_folds), design["val"]), models.logistic)
    fitted = models.logistic().fit(design["val"].to_numpy(), val["label"])
    scored = fitted.predict_proba(design["test"].to_numpy())[:, 1]
    return pd.concat([val.assign(p_excitatory=held_out), test.assign(p_excitatory=scored)])


def _design(rows, table):
    score = logit(rows["p_excitatory"].clip(1e-6, 1 - 1e-6)).to_numpy()
    return table.loc[rows["synapse_id"]].reset_index(drop=True).assign(em_logit=score)
