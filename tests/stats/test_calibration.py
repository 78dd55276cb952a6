"""Calibration against scikit-learn, and the intervals' promise where the truth is known."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from pipeline.stats import calibration
from pipeline.stats.metrics import PredictionsError


def predictions(seed, n_neurons=40, mean_size=20, sharpness=1.0, decimals=6):
    """Neurons with an effect of their own; calibrated where `sharpness` is 1, overconfident above."""
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(n_neurons), 1 + rng.poisson(mean_size, n_neurons))
    label = neuron % 2
    latent = 1.2 * (label - 0.5) + 0.7 * rng.standard_normal(n_neurons)[neuron] + rng.standard_normal(neuron.size)
    p = 1 / (1 + np.exp(-sharpness * 1.2 * latent / (1 + 0.7**2)))  # the posterior of two normals
    columns = {"synapse_id": np.arange(neuron.size), "pre_neuron_id": neuron, "label": label}
    return pd.DataFrame(columns | {"p_excitatory": p.round(decimals)})


@pytest.mark.parametrize("decimals", [6, 1])
def test_the_curve_is_that_of_scikit_learn(decimals):
    synapses = predictions(1, decimals=decimals)
    ours = calibration.curve(synapses, 200, 0.95, seed=0, n_bins=8)
    share, mean = calibration_curve(synapses["label"], synapses["p_excitatory"], n_bins=8, strategy="quantile")
    np.testing.assert_allclose(ours["value"], share)
    np.testing.assert_allclose(ours["p_excitatory"], mean)
    assert ours["n_synapses"].sum() == len(synapses)
    assert ours["low"].le(ours["value"]).all()
    assert ours["high"].ge(ours["value"]).all()


def test_bins_hold_equally_many_synapses_of_the_neurons_they_name():
    synapses = predictions(2)
    curve = calibration.curve(synapses, 100, 0.95, seed=0, n_bins=5)
    assert curve["n_synapses"].max() - curve["n_synapses"].min() <= 1
    quintile = pd.qcut(synapses["p_excitatory"], 5)
    assert curve["n_neurons"].tolist() == synapses.groupby(quintile, observed=True)["pre_neuron_id"].nunique().tolist()


def test_brier_and_ece_equal_their_definitions():
    synapses = predictions(3, sharpness=3.0)
    ours = calibration.summary(synapses, 200, 0.95, seed=0).set_index("metric")
    assert ours["value"]["brier"] == pytest.approx(brier_score_loss(synapses["label"], synapses["p_excitatory"]))
    bins = synapses.groupby(pd.qcut(synapses["p_excitatory"], 10), observed=True)
    gap = (bins["p_excitatory"].mean() - bins["label"].mean()).abs()
    assert ours["value"]["ece"] == pytest.approx((gap * bins.size()).sum() / len(synapses))


def test_intervals_hold_the_truth_for_calibrated_and_for_overconfident_models():
    huge = predictions(0, 20_000, sharpness=4.0)
    bins = huge.groupby(pd.qcut(huge["p_excitatory"], 10), observed=True)
    gap = (bins["p_excitatory"].mean() - bins["label"].mean()).abs()
    for sharpness, true_ece in ((1.0, 0.0), (4.0, (gap * bins.size()).sum() / len(huge))):
        held = 0
        for seed in range(100):
            ece = (
                calibration.summary(predictions(seed, sharpness=sharpness), 300, 0.95, seed)
                .set_index("metric")
                .loc["ece"]
            )
            held += ece["low"] <= true_ece <= ece["high"]
        assert held >= 88  # 95 expected, 3 standard errors less


def test_bins_of_one_class_have_the_exact_limit_for_their_neurons():
    synapses = predictions(5).assign(p_excitatory=lambda f: 0.2 + 0.6 * f["label"])
    curve = calibration.curve(synapses, 200, 0.95, seed=0, n_bins=2)
    exact = scipy.stats.binomtest(20, 20).proportion_ci(0.95, method="exact").low
    assert curve[["value", "low", "high"]].to_numpy() == pytest.approx(np.array([[0, 0, 1 - exact], [1, exact, 1]]))


def test_bins_of_too_few_neurons_are_refused():
    few = predictions(4, n_neurons=4, mean_size=10)
    with pytest.raises(PredictionsError, match="too few neurons bear on it"):
        calibration.curve(few, 500, 0.95, seed=0, n_bins=20)
    with pytest.raises(PredictionsError, match="outside"):
        calibration.summary(few.assign(p_excitatory=np.nan), 500, 0.95, seed=0)
