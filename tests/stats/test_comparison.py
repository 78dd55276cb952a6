"""The table of all pairs: each column against the function or formula that defines it."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pipeline.stats import bootstrap, comparison, naive
from pipeline.stats.metrics import METRICS, PredictionsError
from pipeline.stats.permutation import permutation_test

TAU = {"good": 0.5, "fair": 0.45, "poor": 0.5}


@pytest.fixture(scope="module")
def models():
    rng = np.random.default_rng(0)
    neuron = np.repeat(np.arange(16), 10)
    label = neuron % 2
    tables = {}
    for name, distance in (("good", 2.0), ("fair", 1.2), ("poor", 0.3)):
        latent = distance * (label - 0.5) + 0.5 * rng.standard_normal(16)[neuron] + rng.standard_normal(neuron.size)
        columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label}
        tables[name] = pd.DataFrame(columns | {"p_excitatory": scipy.stats.norm.cdf(latent)})
    return tables


@pytest.fixture(scope="module")
def table(models):
    return comparison.pairwise(models, TAU, 400, 0.9, 299, seed=1).set_index(["metric", "model_a", "model_b"])


def test_each_pair_is_compared_as_if_alone(models, table):
    assert len(table) == 3 * len(METRICS)
    for a, b in (("good", "fair"), ("good", "poor"), ("fair", "poor")):
        alone = bootstrap.difference(models[a], models[b], TAU[a], TAU[b], 400, 0.9, seed=1).set_index("metric")
        p = permutation_test(models[a], models[b], TAU[a], TAU[b], 299, seed=1)
        for metric in METRICS:
            row = table.loc[metric, a, b]
            np.testing.assert_allclose(row[["value", "low", "high"]].astype(float), alone.loc[metric], atol=1e-12)
            assert row["p"] == p[metric]


def test_p_values_are_adjusted_by_holms_steps_within_each_metric(table):
    for _, rows in table.groupby("metric"):
        p = np.sort(rows["p"].to_numpy())
        by_hand = np.minimum(1, np.maximum.accumulate(p * [3, 2, 1]))
        np.testing.assert_allclose(np.sort(rows["p_holm"]), by_hand)


def test_naive_tests_stand_beside_the_metrics_that_they_test(models, table):
    good, poor = models["good"], models["poor"]
    row = table.loc["roc_auc", "good", "poor"]
    assert row["naive_test"] == "DeLong"
    assert row["p_naive"] == naive.delong_test(good["label"], good["p_excitatory"], poor["p_excitatory"])
    row = table.loc["accuracy", "good", "poor"]
    correct = [(synapses["p_excitatory"] >= 0.5) == synapses["label"] for synapses in (good, poor)]
    assert (row["naive_test"], row["p_naive"]) == ("McNemar", naive.mcnemar(*correct))
    assert table.xs("f1")["p_naive"].isna().all()


def test_one_model_has_nothing_to_be_compared_with(models):
    with pytest.raises(PredictionsError, match=r"at least two models, not \['good'\]"):
        comparison.pairwise({"good": models["good"]}, TAU, 100, 0.95, 99, seed=0)


def test_models_of_other_synapses_are_not_compared(models):
    with pytest.raises(PredictionsError, match="in one only"):
        comparison.pairwise({"good": models["good"], "fair": models["fair"][1:]}, TAU, 100, 0.95, 99, seed=0)
