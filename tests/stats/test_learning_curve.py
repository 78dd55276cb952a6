"""The learning curve against metrics of single runs and a line that is known."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from pipeline.stats import bootstrap
from pipeline.stats.learning_curve import learning_curve
from pipeline.stats.metrics import METRICS, PredictionsError


def predictions(seed, distance):
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(24), 12)
    label = neuron % 2
    latent = distance * (label - 0.5) + rng.standard_normal(neuron.size)
    columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label}
    return pd.DataFrame(columns | {"p_excitatory": scipy.stats.norm.cdf(latent)})


def test_runs_of_a_size_are_averaged_and_the_gain_is_the_slope_over_doublings():
    runs = [(8, predictions(0, 0.5), 0.5), (16, predictions(1, 1.0), 0.45), (8, predictions(2, 0.5), 0.55)]
    runs.append((64, predictions(3, 2.0), 0.5))
    curve, gain = learning_curve(runs, 300, 0.95, seed=0)
    alone = [bootstrap.intervals(synapses, tau, 100, 0.95, 0)["value"].to_numpy() for _, synapses, tau in runs]
    expected = np.array([(alone[0] + alone[2]) / 2, alone[1], alone[3]])
    assert curve["n_train_neurons"].unique().tolist() == [8, 16, 64]
    assert curve.groupby("n_train_neurons")["n_runs"].first().tolist() == [2, 1, 1]
    np.testing.assert_allclose(curve["value"], expected.ravel())
    np.testing.assert_allclose(gain["value"], np.polyfit([3, 4, 6], expected, 1)[0])
    assert gain["metric"].tolist() == list(METRICS)
    assert gain.set_index("metric")["low"]["roc_auc"] > 0


def test_intervals_of_one_run_are_its_own():
    runs = [(8, predictions(0, 0.5), 0.5), (16, predictions(1, 1.0), 0.45)]
    curve, gain = learning_curve(runs, 300, 0.9, seed=4)
    alone = bootstrap.intervals(runs[1][1], 0.45, 300, 0.9, seed=4)
    columns = ["value", "low", "high"]
    np.testing.assert_allclose(curve.loc[curve["n_train_neurons"] == 16, columns], alone[columns])
    between = bootstrap.difference(runs[1][1], runs[0][1], 0.45, 0.5, 300, 0.9, seed=4)  # one doubling
    np.testing.assert_allclose(gain[columns], between[columns], atol=1e-12)


def test_one_size_is_no_curve_and_other_synapses_are_another_test():
    synapses = predictions(0, 1.0)
    with pytest.raises(PredictionsError, match=r"two numbers of training neurons, not \[8\]"):
        learning_curve([(8, synapses, 0.5), (8, synapses, 0.5)], 100, 0.95, seed=0)
    with pytest.raises(PredictionsError, match="in one only"):
        learning_curve([(8, synapses, 0.5), (16, synapses[1:], 0.5)], 100, 0.95, seed=0)
