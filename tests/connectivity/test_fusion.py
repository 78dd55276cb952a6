"""Fusion: a feature with known worth adds it, noise adds nothing, and no label that is scored is used."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from pipeline.connectivity import ConnectivityError, fusion


def _synthetic(seed=0, n_neurons=120, per_neuron=20):
    """EM logit and `log_size` carry independent evidence with known weights; `depth_um` and the rest are noise."""
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(n_neurons), per_neuron)
    label = neuron % 2
    n = neuron.size
    sign = 2 * label - 1
    predictions = pd.DataFrame(
        {
            "synapse_id": 1000 + rng.permutation(n),
            "pre_neuron_id": neuron,
            "label": label,
            "split": np.array(["train", "val", "test"])[neuron // 2 % 3],
            "fold": neuron % 5,
            "p_excitatory": expit(1.0 * sign + rng.normal(0, np.sqrt(2), n)),  # log odds of N(+-1, 2) are itself
        }
    )
    table = pd.DataFrame(
        {
            "log_size": 0.8 * sign + rng.normal(size=n),
            "depth_um": rng.normal(size=n),
            "post_depth_um": rng.normal(size=n),
            "log_multiplicity": rng.normal(size=n),
        },
        index=predictions["synapse_id"],
    )
    return predictions, table


def _auc(rows, split="test"):
    rows = rows[rows["split"] == split]
    return roc_auc_score(rows["label"], rows["p_excitatory"])


def test_independent_evidence_adds_what_theory_says_and_noise_adds_nothing():
    steps = []
    for seed in range(5):
        predictions, table = _synthetic(seed)
        steps.append({step: _auc(rows) for step, rows in fusion.ablation(predictions, table, seed=0).items()})
    alone, synapse, post, axon = (pd.DataFrame(steps).mean()[step] for step in fusion.STEPS)
    # d' of the EM logit is sqrt(2), of the size 1.6; evidence adds in squares, and AUC = Phi(d' / sqrt 2)
    assert alone == pytest.approx(0.841, abs=0.015)
    assert synapse == pytest.approx(0.935, abs=0.01)
    assert synapse - 0.01 < post < synapse + 0.002
    assert synapse - 0.01 < axon < synapse + 0.002


def test_the_em_score_alone_is_the_predictions_as_they_are():
    predictions, table = _synthetic()
    alone = fusion.ablation(predictions, table, seed=0)["EM alone"]
    pd.testing.assert_frame_equal(alone, predictions[predictions["split"] != "train"])
    stacked = fusion.stack(predictions, table[[]], seed=0)
    assert list(stacked.columns) == list(predictions.columns)
    assert _auc(stacked) == pytest.approx(_auc(predictions), abs=1e-12)


def test_only_validation_rows_are_learned_from():
    predictions, table = _synthetic()
    validation = predictions["split"] == "val"
    other = predictions.assign(label=predictions["label"].where(validation, 1 - predictions["label"]))
    pd.testing.assert_series_equal(
        fusion.stack(predictions, table, seed=0)["p_excitatory"], fusion.stack(other, table, seed=0)["p_excitatory"]
    )


def test_validation_rows_are_scored_out_of_fold_by_neuron():
    """Columns of noise, one value a neuron, as many as there are neurons: fitted rows would look perfect."""
    predictions, _ = _synthetic()
    predictions["p_excitatory"] = 0.5
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(120, 40))[predictions["pre_neuron_id"]]
    table = pd.DataFrame(noise, index=predictions["synapse_id"]).add_prefix("noise_")
    stacked = fusion.stack(predictions, table, seed=0)
    assert stacked["synapse_id"].tolist() == sum(
        (predictions.loc[predictions["split"] == split, "synapse_id"].tolist() for split in ("val", "test")), []
    )
    assert abs(_auc(stacked, "val") - 0.5) < 0.2
    assert abs(_auc(stacked) - 0.5) < 0.2


def test_rows_are_matched_by_synapse_id():
    predictions, table = _synthetic()
    shuffled = fusion.stack(predictions, table.sample(frac=1, random_state=0), seed=0)
    pd.testing.assert_frame_equal(shuffled, fusion.stack(predictions, table, seed=0))


def test_too_few_validation_neurons():
    predictions, table = _synthetic()
    with pytest.raises(ConnectivityError, match="no 2 folds by neuron: 0 excitatory"):
        fusion.stack(predictions[predictions["split"] != "val"], table, seed=0)
