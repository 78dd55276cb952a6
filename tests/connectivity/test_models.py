"""Models: against a second library, the sandwich by hand, and cases whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pipeline.connectivity import ConnectivityError, models


def _clustered(n_neurons=150, per_neuron=8, seed=0):
    """Two features, of which `a` is the same for all rows of a neuron; labels follow `a` and `b` by known weights."""
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(n_neurons), per_neuron)
    table = pd.DataFrame({"a": rng.normal(size=n_neurons)[neuron], "b": rng.normal(size=neuron.size) * 3 + 1})
    noise = rng.normal(size=n_neurons)[neuron]
    label = (rng.random(neuron.size) < expit(table["a"] - 0.3 * table["b"] + noise)).astype(int)
    return table, label, neuron


def test_coefficients_against_scikit_learn_and_the_cluster_sandwich():
    table, label, neuron = _clustered()
    found = models.coefficients(table, label, neuron, 0.95)
    z = ((table - table.mean()) / table.std(ddof=0)).to_numpy()
    other = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(z, label)
    np.testing.assert_allclose(found["coefficient"], other.coef_[0], rtol=1e-5)

    label = label.to_numpy()
    design = np.column_stack([z, np.ones(len(z))])
    p = other.predict_proba(z)[:, 1]
    bread = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    sums = pd.DataFrame(design * (label - p)[:, None]).groupby(neuron).sum().to_numpy()
    n, g = len(z), len(sums)
    covariance = bread @ (sums.T @ sums) @ bread * g / (g - 1) * (n - 1) / (n - 3)
    half = 1.959964 * np.sqrt(np.diag(covariance))[:2]
    np.testing.assert_allclose(found["high"] - found["coefficient"], half, rtol=1e-4)
    np.testing.assert_allclose(found["coefficient"] - found["low"], half, rtol=1e-4)


def test_clustering_widens_the_interval_of_what_a_neuron_has_in_common():
    table, label, neuron = _clustered()
    clustered = models.coefficients(table, label, neuron, 0.95).set_index("feature")
    naive = models.coefficients(table, label, np.arange(len(label)), 0.95).set_index("feature")
    width = (clustered["high"] - clustered["low"]) / (naive["high"] - naive["low"])
    assert width["a"] > 1.3
    assert 0.8 < width["b"] < 1.2


def test_unknown_values_are_marked_and_constants_left_out():
    table, label, neuron = _clustered()
    table["c"] = table["d"] = np.where(np.arange(len(table)) % 4 == 0, np.nan, table["b"] ** 2)
    table["d"] = table["d"] + table["a"]  # unknown where c is
    table["empty"], table["same"] = np.nan, 7.0
    found = models.coefficients(table, label, neuron, 0.95)
    assert found["feature"].tolist() == ["a", "b", "c", "d", "c_missing"]
    assert np.isfinite(found[["coefficient", "low", "high", "p_value"]]).all(axis=None)
    fold = neuron % 5
    for model in (models.logistic, models.boosting):
        p = models.out_of_fold(label, fold, dict.fromkeys(range(5), table), model)
        assert roc_auc_score(label, p) > 0.6


def test_dependent_columns_and_constants_alone_have_no_coefficients():
    table, label, neuron = _clustered()
    with pytest.raises(ConnectivityError, match=r"\['a', 'b', 'c', 'const'\] are linearly dependent"):
        models.coefficients(table.assign(c=table["a"] + table["b"]), label, neuron, 0.95)
    with pytest.raises(ConnectivityError, match=r"all features are constant: \['c'\]"):
        models.coefficients(pd.DataFrame({"c": np.ones(len(label))}), label, neuron, 0.95)
    with pytest.raises(ConnectivityError, match=r"\['a', 'b', 'd'\] separate the classes"):
        models.coefficients(table.assign(d=label + 0.1 * table["a"]), label, neuron, 0.95)


def test_boosting_finds_an_interaction_that_the_logistic_model_cannot():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.normal(size=(2000, 2)), columns=["a", "b"])
    label = ((table["a"] > 0) ^ (table["b"] > 0)).to_numpy().astype(int)
    tables, fold = dict.fromkeys(range(4), table), np.arange(2000) % 4
    assert roc_auc_score(label, models.out_of_fold(label, fold, tables, models.boosting)) > 0.97
    assert roc_auc_score(label, models.out_of_fold(label, fold, tables, models.logistic)) < 0.6


def test_a_model_never_sees_the_fold_that_it_scores():
    """A feature that is the neuron's number: a model that saw the neuron knows its random label."""
    rng = np.random.default_rng(0)
    neuron = np.repeat(np.arange(200), 10)
    label = (rng.random(200) < 0.5).astype(int)[neuron]
    table = pd.DataFrame({"neuron": rng.permutation(200)[neuron].astype(float)})
    p = models.out_of_fold(label, neuron % 5, dict.fromkeys(range(5), table), models.boosting)
    assert abs(roc_auc_score(label, p) - 0.5) < 0.1
    rows = np.arange(len(label)) % 5  # the same with rows dealt to folds
    p = models.out_of_fold(label, rows, dict.fromkeys(range(5), table), models.boosting)
    assert roc_auc_score(label, p) > 0.9
