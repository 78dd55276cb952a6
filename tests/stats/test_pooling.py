"""Pooling synapses of a neuron against exhaustive choice and closed forms."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pipeline.stats.metrics import PredictionsError
from pipeline.stats.pooling import neuron_accuracy
from pipeline.stats.shares import balanced_interval


def predictions(seed, sizes, distance=1.0, spread=0.0):
    """Independent normal logits around +-distance / 2, but for an effect of the neuron."""
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(len(sizes)), sizes)
    label = neuron % 2
    logit = (
        distance * (label - 0.5) + (spread * rng.standard_normal(len(sizes)))[neuron] + rng.standard_normal(neuron.size)
    )
    columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label}
    return pd.DataFrame(columns | {"p_excitatory": 1 / (1 + np.exp(-logit))})


def test_each_size_equals_the_share_of_all_choices_of_synapses():
    synapses, tau = predictions(1, [4, 6, 5, 7, 1, 3]), 0.55
    ours = neuron_accuracy(synapses, tau, 0.95, seed=0, sizes=(1, 2, 5)).set_index("pooled")
    threshold = np.log(tau / (1 - tau))
    for k in (1, 2, 5, "all"):
        accuracy = {0: [], 1: []}
        for _, rows in synapses.groupby("pre_neuron_id"):
            logit = np.log(rows["p_excitatory"] / (1 - rows["p_excitatory"]))
            n = len(rows) if k == "all" else min(k, len(rows))
            called = [np.mean(chosen) >= threshold for chosen in itertools.combinations(logit, n)]
            label = rows["label"].iloc[0]
            accuracy[label].append(np.mean(np.array(called) == label))
        expected = np.mean([np.mean(accuracy[0]), np.mean(accuracy[1])])
        drawn = k in (2, 5)
        assert ours.loc[str(k), "value"] == pytest.approx(expected, abs=0.04 if drawn else 1e-12)
    assert ours["n_short"].to_dict() == {"1": 0, "2": 1, "5": 3, "all": 0}


def test_independent_synapses_pool_as_the_normal_distribution_says():
    synapses = predictions(2, [40] * 400)
    ours = neuron_accuracy(synapses, 0.5, 0.95, seed=0).set_index("pooled")
    for k in (1, 2, 5, 10, 20):
        truth = scipy.stats.norm.cdf(0.5 * np.sqrt(k))
        assert ours.loc[str(k), "low"] - 0.01 <= truth <= ours.loc[str(k), "high"] + 0.01


def test_pooling_cannot_cure_what_a_neurons_synapses_share():
    synapses = predictions(3, [50] * 400, spread=1.0)
    ours = neuron_accuracy(synapses, 0.5, 0.95, seed=0).set_index("pooled")["value"]
    limit = scipy.stats.norm.cdf(0.5 / np.sqrt(1 + 1 / 50))
    assert ours["all"] == pytest.approx(limit, abs=0.07)  # 3 standard errors of 400 neurons
    assert ours["1"] < ours["5"] < ours["all"]


def test_the_interval_for_all_synapses_is_that_of_two_shares_of_neurons():
    synapses = predictions(4, [3] * 200)
    ours = neuron_accuracy(synapses, 0.5, 0.95, seed=0).set_index("pooled").loc["all"]
    right = synapses.assign(logit=np.log(synapses["p_excitatory"] / (1 - synapses["p_excitatory"]))).groupby(
        "pre_neuron_id"
    )
    right = (right["logit"].mean() >= 0) == right["label"].first()
    expected = balanced_interval(np.arange(200) % 2, np.arange(200), right, 0.95)
    assert tuple(ours[["value", "low", "high"]]) == pytest.approx(expected)


def test_certain_synapses_count_as_finite_votes_and_nan_is_refused():
    synapses = predictions(5, [3] * 6).assign(p_excitatory=lambda f: np.where(f["synapse_id"] % 3 == 0, 1.0, 0.001))
    ours = neuron_accuracy(synapses, 0.5, 0.95, seed=0, sizes=(1,)).set_index("pooled")["value"]
    assert ours["all"] == 0.5  # one certain "excitatory" against two confident "inhibitory": 13.8 - 2 x 6.9 < 0
    with pytest.raises(PredictionsError, match="outside"):
        neuron_accuracy(synapses.assign(p_excitatory=np.nan), 0.5, 0.95, seed=0)


def test_neurons_without_error_have_an_interval_that_more_pooling_widens():
    synapses = predictions(6, [5] * 27).assign(p_excitatory=lambda f: 0.1 + 0.8 * f["label"])  # 14 and 13 neurons
    ours = neuron_accuracy(synapses, 0.5, 0.95, seed=0)
    assert (ours["value"] == 1).all()
    assert (ours["high"] == 1).all()
    low = ours["low"]
    assert low.is_monotonic_decreasing
    assert low.iloc[0] > low.iloc[-1], "five synapses are more certain than the neuron that they make up"
    assert 0.7 < low.iloc[-1] < 0.9
