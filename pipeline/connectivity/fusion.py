"""The EM score stacked with connectivity features, and what each kind of knowledge adds.

The stacker is fitted on the validation neurons alone: no EM model was trained on them, and no test neuron is used. In
`features.table` the parts are then the splits and the hidden part is `test`.
"""

import numpy as np
from scipy.special import logit

from pipeline.connectivity import features, models

#: What is put on top of the EM score, from the least knowledge to the most: keys of `features.LEAKAGE`.
STEPS = {
    "EM alone": (),
    "EM + synapse": ("synapse",),
    "EM + synapse + post neuron": ("synapse", "post"),
    "EM + synapse + post neuron + axon": ("synapse", "post", "axon"),
}


class FusionError(ValueError):
    """Predictions and features that cannot be stacked; the text says why."""


def ablation(predictions, table):
    """Test predictions of every step, `{step: DataFrame}`, in the schema of `predictions/<model>.parquet`.

    `predictions` has `synapse_id, label, split, p_excitatory` and more; `table` has the features of each of these
    synapses, indexed by `synapse_id`.
    """
    return {step: stack(predictions, table[features.names(table, leakage)]) for step, leakage in STEPS.items()}


def stack(predictions, table):
    """Test rows of `predictions` with `p_excitatory` of a logistic model of the EM logit and the columns of `table`.

    The model is fitted on the rows with split `val`. Raises FusionError where synapses lack features, or where the
    validation rows lack a class.
    """
    unknown = ~predictions["synapse_id"].isin(table.index)
    if unknown.any():
        ids = predictions.loc[unknown, "synapse_id"].head().tolist()
        raise FusionError(f"{unknown.sum()} synapses have no connectivity features, such as {ids}")
    score = logit(predictions["p_excitatory"].clip(1e-6, 1 - 1e-6))
    design = np.column_stack([score, table.loc[predictions["synapse_id"]]])
    fitting, scored = ((predictions["split"] == split).to_numpy() for split in ("val", "test"))
    if not scored.any():
        raise FusionError("there are no rows with split `test` to predict")
    if predictions.loc[fitting, "label"].nunique() < 2:
        raise FusionError("stacking needs validation rows (split `val`) of both classes")
    fitted = models.logistic().fit(design[fitting], predictions.loc[fitting, "label"])
    return predictions[scored].assign(p_excitatory=fitted.predict_proba(design[scored])[:, 1])
