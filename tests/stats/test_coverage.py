"""The simulated truth against huge samples, and what intervals of few and of enough neurons hold."""

import pytest
import scipy.stats
from sklearn import metrics as sk

from pipeline.stats.coverage import ceiling, coverage, simulate

SIMULATED = {"distance": 1.5, "spread": 0.7, "n_synapses": 30}


@pytest.fixture(scope="module")
def table():
    return coverage((6, 30), 400, 0, SIMULATED, n_replicates=400, confidence=0.95).set_index(
        ["n_neurons", "metric", "interval"]
    )


def test_the_closed_form_truth_is_that_of_a_huge_test_set(table):
    label, neuron, p = simulate((20_000, 20_000), 1, **SIMULATED)
    truth = table.groupby("metric")["truth"].first()
    assert sk.balanced_accuracy_score(label[neuron], p >= 0.5) == pytest.approx(truth["balanced_accuracy"], abs=0.005)
    assert sk.roc_auc_score(label[neuron], p) == pytest.approx(truth["roc_auc"], abs=0.005)


@pytest.mark.parametrize("metric", ["balanced_accuracy", "roc_auc"])
def test_the_intervals_of_the_report_hold_the_truth(table, metric):
    assert 0.93 <= table.loc[(30, metric, "report"), "coverage"] <= 0.97
    assert table.loc[(6, metric, "report"), "coverage"] >= 0.93


def test_near_the_ceiling_they_hold_the_truth_and_have_a_width():
    found = ceiling((0.95, 0.99, 0.995), ((18, 9), (12, 15)), 200, 5, spread=0.7, n_synapses=14, confidence=0.95)
    assert found["truth"].tolist() == [0.95, 0.99, 0.995] * 2
    assert (found["high"] > 0.95).all(), "the nominal coverage is within the error of 200 test sets"
    assert (found["coverage"] > 0.91).all()
    assert (found["width"] > 0).all()


@pytest.mark.parametrize("metric", ["balanced_accuracy", "roc_auc"])
@pytest.mark.parametrize("n_neurons", [6, 30])
def test_intervals_of_synapses_promise_far_too_much(table, metric, n_neurons):
    of = table.loc[n_neurons, metric]
    assert of.loc["synapses", "coverage"] < 0.65
    assert of.loc["synapses", "coverage"] < of.loc["percentile", "coverage"] < of.loc["report", "coverage"]
    assert of.loc["synapses", "width"] < of.loc["percentile", "width"] < of.loc["report", "width"]


def test_without_effects_of_neurons_synapses_are_independent_and_their_intervals_right():
    table = coverage((20,), 300, 1, SIMULATED | {"spread": 0.0}, n_replicates=100, confidence=0.9)
    naive = table[table["interval"] == "synapses"]
    assert naive["coverage"].between(0.85, 0.95).all()  # 3 standard errors
    own = scipy.stats.binomtest(int(round(300 * naive["coverage"].iloc[0])), 300).proportion_ci(method="wilson")
    assert (naive["low"].iloc[0], naive["high"].iloc[0]) == pytest.approx(tuple(own))
