"""The EM score stacked with connectivity features, and what each kind of knowledge adds.

The stacker is fitted on the validation neurons alone: no EM model was trained on them, and no test neuron is used. In
`features.table` the test neurons are then a part of their own, and the hidden one.
"""

import numpy as np
import pandas as pd
from scipy.special import logit

from pipeline.connectivity import features, folds, models

N_FOLDS = 5

#: What is put on top of the EM score, from the least knowledge to the most: keys of `features.LEAKAGE`.
STEPS: dict[str, tuple[str, ...]] = {
    "EM alone": (),
    "EM + synapse": ("synapse",),
    "EM + synapse + post neuron": ("synapse", "post"),
    "EM + synapse + post neuron + axon": ("synapse", "post", "axon"),
}


def ablation(predictions: pd.DataFrame, table: pd.DataFrame, seed: int) -> dict[str, pd.DataFrame]:
    """Validation and test predictions of every step, in the schema of `predictions`.

    `predictions` are those of `glue.Study.predictions`; `table` has the features of each of their synapses, indexed by
    `synapse_id`. EM alone is the predictions as they are. Raises ConnectivityError where the validation rows hold fewer
    than two neurons of a class.
    """
    alone, *others = STEPS
    stacked = {step: stack(predictions, table[features.names(table, STEPS[step])], seed) for step in others}
    return {alone: predictions[predictions["split"].isin(("val", "test"))]} | stacked


def stack(predictions: pd.DataFrame, table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """`predictions` with `p_excitatory` of a logistic model of the EM logit and the columns of `table`.

    The model is fitted on the rows with split `val` and scores those with split `test`. Validation rows are returned
    too, scored out of fold by neuron, so that a threshold can be chosen on them.
    """
    val, test = (predictions[predictions["split"] == split] for split in ("val", "test"))
    neurons = val.groupby("label")["pre_neuron_id"].nunique().reindex((0, 1), fill_value=0)
    n_folds = int(np.clip(neurons.min(), 2, N_FOLDS))
    fold = folds.by_neuron(val["pre_neuron_id"], val["label"], n_folds, seed)
    design = {part: _design(rows, table) for part, rows in (("val", val), ("test", test))}
    held_out = models.out_of_fold(val["label"], fold, dict.fromkeys(range(n_folds), design["val"]), models.logistic)
    fitted = models.logistic().fit(design["val"].to_numpy(), val["label"])
    scored = fitted.predict_proba(design["test"].to_numpy())[:, 1]
    return pd.concat([val.assign(p_excitatory=held_out), test.assign(p_excitatory=scored)])


def _design(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    score = logit(rows["p_excitatory"].clip(1e-6, 1 - 1e-6)).to_numpy()
    return table.loc[rows["synapse_id"]].reset_index(drop=True).assign(em_logit=score)
