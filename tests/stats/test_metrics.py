"""Metrics against scikit-learn, weight by weight."""

import numpy as np
import pytest
from sklearn import metrics as sk

from pipeline.stats import metrics
from pipeline.stats.metrics import PredictionsError, Scored


def reference(label, p, tau, weight):
    called = p >= tau
    return {
        "accuracy": sk.accuracy_score(label, called, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(label, called, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(label, p, sample_weight=weight),
        "average_precision": sk.average_precision_score(label, p, sample_weight=weight),
        "f1": sk.f1_score(label, called, sample_weight=weight),
    }


def sample(rng, n, levels):
    """Labels of both classes and scores that take at most `levels` values (0: continuous)."""
    label = np.append(rng.integers(0, 2, n - 2), [0, 1])
    p = rng.beta(2 + label, 2, n)
    return label, np.round(p * levels) / levels if levels else p


@pytest.mark.parametrize("levels", [0, 1, 3, 20])
@pytest.mark.parametrize("weighting", ["fractional", "counts with zeros"])
def test_every_metric_equals_scikit_learn_under_weights_and_ties(levels, weighting):
    rng = np.random.default_rng(levels)
    for n in (2, 3, 17, 200):
        label, p = sample(rng, n, levels)
        weights = rng.random((70, n)) if weighting == "fractional" else rng.poisson(1.0, (70, n)).astype(float)
        weights[:, -2:] += 0.5  # some weight in each class
        ours = Scored(label, p, 0.4).metrics(weights)
        assert tuple(ours) == metrics.METRICS
        for row in (0, 1, 63, 64, 69):  # across the border of a block of replicates
            for name, value in reference(label, p, 0.4, weights[row]).items():
                assert ours[name][row] == pytest.approx(value, abs=1e-12), (name, n, row)


def test_without_weights_every_synapse_counts_once():
    label, p = sample(np.random.default_rng(5), 300, 10)
    found = {name: value.item() for name, value in Scored(label, p, 0.5).metrics().items()}
    assert found == pytest.approx(reference(label, p, 0.5, None), abs=1e-12)


def test_group_weights_equal_the_same_weights_spelled_out_per_synapse():
    rng = np.random.default_rng(1)
    label, p = sample(rng, 500, 30)
    group = rng.integers(0, 12, 500)
    weights = rng.poisson(2, (9, 12)) + 1
    grouped = Scored(label, p, 0.5, group).metrics(weights)
    spelled_out = Scored(label, p, 0.5).metrics(weights[:, group])
    for name in metrics.METRICS:
        np.testing.assert_allclose(grouped[name], spelled_out[name], rtol=1e-12)


def test_a_score_on_the_threshold_is_called_excitatory():
    assert Scored([1, 0], [0.5, 0.4], tau=0.5).metrics()["accuracy"] == 1.0


def test_a_class_without_weight_is_refused():
    with pytest.raises(PredictionsError, match="both classes are needed"):
        Scored([1, 1], [0.1, 0.2]).metrics()
    with pytest.raises(PredictionsError, match="leave some weight to each"):
        Scored([0, 1, 1], [0.1, 0.2, 0.3]).metrics([[0.0, 1.0, 1.0]])
