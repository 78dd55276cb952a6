"""Clustered intervals against explicit resampling, SciPy and Student."""

import functools

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn import metrics as sk

from pipeline.stats import bootstrap, checks
from pipeline.stats.auc import auc_interval
from pipeline.stats.metrics import METRICS, PredictionsError, Scored
from pipeline.stats.shares import balanced_interval, share_interval

FIRST_ID = 864691135000000000  # root ids lie above 2^53, where floats no longer distinguish neighbours


def predictions(seed, n_neurons=(9, 6), per_neuron=7, spread=0.7, distance=1.0):
    """Scores with a random effect of each neuron; `n_neurons` excitatory and inhibitory."""
    rng = np.random.default_rng(seed)
    label = np.repeat([1, 0], n_neurons)
    latent = np.repeat(label * distance + spread * rng.standard_normal(label.size), per_neuron)
    latent = latent + rng.standard_normal(latent.size)
    synapses = pd.DataFrame(
        {
            "synapse_id": rng.permutation(latent.size) + 1,
            "pre_neuron_id": np.repeat(np.arange(label.size) + FIRST_ID, per_neuron),
            "label": np.repeat(label, per_neuron),
            "p_excitatory": scipy.stats.norm.cdf(latent - distance / 2),
        }
    )
    return synapses.sample(frac=1, random_state=seed)


def slow_metrics(synapses, tau):
    label, p = synapses["label"], synapses["p_excitatory"]
    return [
        sk.accuracy_score(label, p >= tau),
        sk.balanced_accuracy_score(label, p >= tau),
        sk.roc_auc_score(label, p),
        sk.average_precision_score(label, p),
        sk.f1_score(label, p >= tau),
    ]


def slow_replicates(synapses, tau, n_replicates, seed):
    """The same draws, carried out by copying each drawn neuron's synapses."""
    neurons = {neuron: rows for neuron, rows in synapses.groupby("pre_neuron_id")}
    label = [rows["label"].iloc[0] for rows in neurons.values()]
    replicates = []
    for counts in np.concatenate(list(bootstrap.resamples(label, n_replicates, seed))):
        drawn = [rows for rows, count in zip(neurons.values(), counts, strict=True) for _ in range(count)]
        replicates.append(slow_metrics(pd.concat(drawn), tau))
    return np.array(replicates)


def resampled(synapses, tau, n_replicates, confidence, seed, method):
    """Bootstrap intervals of all metrics, which `bootstrap.intervals` has for some of them."""
    rows = checks.checked(synapses)
    label, group = checks.by_neuron(rows)
    scored = Scored(rows["label"], rows["p_excitatory"], tau, group)
    found = bootstrap.interval(scored.table, label, n_replicates, confidence, seed, method)
    return pd.DataFrame(dict(zip(("value", "low", "high"), found, strict=True)), index=METRICS)


def test_intervals_equal_an_explicit_resampling_loop():
    synapses = predictions(1)
    synapses["p_excitatory"] = synapses["p_excitatory"].round(1)  # ties
    result = resampled(synapses, 0.5, 30, 0.9, 3, "percentile")
    replicates = slow_replicates(synapses, 0.5, 30, seed=3)
    np.testing.assert_allclose(result["value"], slow_metrics(synapses, 0.5))
    np.testing.assert_allclose(result["low"], np.quantile(replicates, 0.05, axis=0))
    np.testing.assert_allclose(result["high"], np.quantile(replicates, 0.95, axis=0))


def test_a_model_has_closed_forms_where_there_are_any_and_the_bootstrap_elsewhere():
    synapses = predictions(5)
    found = bootstrap.intervals(synapses, 0.4, 300, 0.95, seed=2).set_index("metric")
    expanded = resampled(synapses, 0.4, 300, 0.95, 2, "expanded")
    assert list(found.index) == list(METRICS)
    np.testing.assert_allclose(found["value"], slow_metrics(synapses, 0.4))
    resampling = ["average_precision", "f1"]
    pd.testing.assert_frame_equal(found.loc[resampling], expanded.loc[resampling], check_names=False)
    label, neuron = synapses["label"], synapses["pre_neuron_id"]
    right = (synapses["p_excitatory"] >= 0.4) == label
    assert tuple(found.loc["roc_auc"]) == pytest.approx(auc_interval(label, neuron, synapses["p_excitatory"], 0.95))
    assert tuple(found.loc["balanced_accuracy"]) == pytest.approx(balanced_interval(label, neuron, right, 0.95))
    assert tuple(found.loc["accuracy"])[1:] == pytest.approx(share_interval(right, neuron, 0.95))


def test_a_perfect_model_has_no_interval_without_width():
    synapses = predictions(5).assign(p_excitatory=lambda rows: 0.2 + 0.6 * rows["label"])
    found = bootstrap.intervals(synapses, 0.5, 300, 0.95, seed=2)
    assert (found["value"] == 1).all()
    assert (found["low"] < 0.99).all()
    assert (found["high"] == 1).all()


def test_networks_of_a_model_are_averaged():
    tables = [predictions(1), predictions(1).assign(p_excitatory=lambda rows: rows["p_excitatory"] ** 2)]
    found = bootstrap.mean_intervals(tables, [0.5, 0.3], 200, 0.95, seed=1)
    expected = np.mean([slow_metrics(rows, tau) for rows, tau in zip(tables, (0.5, 0.3), strict=True)], axis=0)
    np.testing.assert_allclose(found["value"], expected)
    twice = bootstrap.mean_intervals([tables[0]] * 2, [0.5] * 2, 200, 0.95, seed=1)
    alone = bootstrap.intervals(tables[0], 0.5, 200, 0.95, seed=1)
    pd.testing.assert_frame_equal(twice, alone)


def test_difference_equals_an_explicit_resampling_loop_on_shared_neurons(monkeypatch):
    percentile = functools.partial(bootstrap.interval, method="percentile")
    monkeypatch.setattr(bootstrap, "interval", percentile)
    a, b = predictions(1), predictions(1)
    b["p_excitatory"] = (b["p_excitatory"] + np.random.default_rng(0).random(len(b))) / 2
    result = bootstrap.difference(a, b, 0.5, 0.45, 30, 0.9, seed=4)
    replicates = slow_replicates(a, 0.5, 30, 4) - slow_replicates(b, 0.45, 30, 4)
    np.testing.assert_allclose(result["value"], np.subtract(slow_metrics(a, 0.5), slow_metrics(b, 0.45)))
    np.testing.assert_allclose(result["low"], np.quantile(replicates, 0.05, axis=0), atol=1e-12)
    np.testing.assert_allclose(result["high"], np.quantile(replicates, 0.95, axis=0), atol=1e-12)


def test_a_model_does_not_differ_from_itself():
    synapses = predictions(2)
    result = bootstrap.difference(synapses, synapses.iloc[::-1], 0.5, 0.5, 200, 0.95, seed=0)
    assert (result[["value", "low", "high"]] == 0).all(axis=None)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_with_one_synapse_a_neuron_the_interval_is_that_of_scipy(method):
    synapses = predictions(3, n_neurons=(60, 40), per_neuron=1, distance=2.5)  # skewed: BCa differs from percentile
    ours = resampled(synapses, 0.5, 20_000, 0.9, 0, method).loc["roc_auc"]
    excitatory, inhibitory = (synapses.loc[synapses["label"] == value, "p_excitatory"] for value in (1, 0))

    def auc(x, y, axis):
        return (x[..., :, None] > y[..., None, :]).mean(axis=(-2, -1)) + (x[..., :, None] == y[..., None, :]).mean(
            axis=(-2, -1)
        ) / 2

    theirs = scipy.stats.bootstrap(
        (excitatory, inhibitory), auc, n_resamples=20_000, confidence_level=0.9, method=method, batch=500, rng=1
    ).confidence_interval
    assert (ours["low"], ours["high"]) == pytest.approx(tuple(theirs), abs=0.003)  # the error of 20,000 replicates


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_with_many_synapses_a_neuron_the_interval_is_that_of_scipy_on_the_neurons(method):
    """Neurons of equal size: balanced accuracy is the mean of two means over neurons, which SciPy can resample."""
    synapses = predictions(7, n_neurons=(20, 14), per_neuron=30, distance=2.5, spread=1.2)
    ours = resampled(synapses, 0.5, 20_000, 0.95, 0, method)
    right = (
        (synapses["label"] == (synapses["p_excitatory"] >= 0.5))
        .groupby([synapses["label"], synapses["pre_neuron_id"]])
        .mean()
    )
    theirs = scipy.stats.bootstrap(
        (right[1].to_numpy(), right[0].to_numpy()),
        lambda x, y, axis: (x.mean(axis=axis) + y.mean(axis=axis)) / 2,
        n_resamples=20_000,
        method=method,
        rng=1,
    ).confidence_interval
    assert tuple(ours.loc["balanced_accuracy", ["low", "high"]]) == pytest.approx(tuple(theirs), abs=0.003)


def test_the_expanded_interval_of_a_mean_is_students():
    """Many neurons' means are nearly normal: the interval must be the textbook one, t and n - 1 included."""
    n = 40
    values = np.random.default_rng(0).normal(size=2 * n)
    label = np.repeat([1, 0], n)

    def mean_of_excitatory(weights):
        return (weights[:, label == 1] @ values[label == 1] / n)[:, None]

    value, low, high = bootstrap.interval(mean_of_excitatory, label, 200_000, 0.95, seed=0)
    sample = values[label == 1]
    half = scipy.stats.t.ppf(0.975, n - 1) * sample.std(ddof=1) / np.sqrt(n)
    assert value[0] == pytest.approx(sample.mean())
    assert (high[0] - low[0]) / 2 == pytest.approx(half, rel=0.02)
    plain = bootstrap.interval(mean_of_excitatory, label, 200_000, 0.95, seed=0, method="percentile")
    assert (plain[2][0] - plain[1][0]) / 2 < 0.97 * half


def test_results_depend_on_the_seed_and_on_nothing_else():
    synapses = predictions(4)
    first = bootstrap.intervals(synapses, 0.5, 500, 0.95, seed=1)
    pd.testing.assert_frame_equal(first, bootstrap.intervals(synapses.iloc[::-1], 0.5, 500, 0.95, seed=1))
    nullable = synapses.astype({"label": "Int64"}).assign(split="test")
    pd.testing.assert_frame_equal(first, bootstrap.intervals(nullable, 0.5, 500, 0.95, seed=1))
    assert not first.equals(bootstrap.intervals(synapses, 0.5, 500, 0.95, seed=2))


def test_resamples_draw_each_class_apart_and_uniformly():
    label = np.array([1, 0, 0, 1, 1])
    counts = np.concatenate(list(bootstrap.resamples(label, 30_000, seed=0)))
    assert (counts[:, label == 1].sum(axis=1) == 3).all()
    assert (counts[:, label == 0].sum(axis=1) == 2).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.02)
    np.testing.assert_allclose(counts.var(axis=0), np.where(label == 1, 2 / 3, 1 / 2), atol=0.02)
    fewer = np.concatenate(list(bootstrap.resamples(label, 1000, seed=0)))
    np.testing.assert_array_equal(counts[:1000], fewer)  # more replicates only append


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="label"), r"lack the columns \['label'\]"),
        (lambda f: pd.concat([f, f.head(1)]), "1 synapse ids occur more than once, such as"),
        (lambda f: f.assign(p_excitatory=f["p_excitatory"].where(f["synapse_id"] != 5)), r"1 .*outside.*such as \[5\]"),
        (lambda f: f.assign(p_excitatory=f["p_excitatory"] + 1), r"105 synapses have p_excitatory outside \[0, 1\]"),
        (lambda f: f.assign(label=f["label"].astype("Int64").where(f["synapse_id"] != 7)), r"neither 0 nor 1.*\[7\]"),
        (lambda f: f.assign(pre_neuron_id=FIRST_ID), rf"both classes, such as \[{FIRST_ID}\]"),
        (lambda f: f.assign(pre_neuron_id=f["pre_neuron_id"].where(f["synapse_id"] != 3)), r"no presynaptic.*\[3\]"),
        (lambda f: f[f["label"] == 1], "0 inhibitory neurons: resampling neurons needs at least 2"),
        (lambda f: f[f["pre_neuron_id"] >= FIRST_ID + 8], "1 excitatory neurons"),
        (lambda f: f[f["pre_neuron_id"] == FIRST_ID], "1 excitatory neurons"),
    ],
)
def test_predictions_that_cannot_be_resampled_are_refused(change, message):
    with pytest.raises(PredictionsError, match=message):
        bootstrap.intervals(change(predictions(1)), 0.5, 100, 0.95, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[f["synapse_id"] != 9], r"1 are in one only: \[9\]"),
        (lambda f: f.assign(pre_neuron_id=f["pre_neuron_id"] + 1), "105 synapses differ in pre_neuron_id"),
        (lambda f: f.assign(label=1 - f["label"]), "105 synapses differ in label"),
    ],
)
def test_models_are_compared_on_the_same_synapses_only(change, message):
    synapses = predictions(1)
    with pytest.raises(PredictionsError, match=message):
        bootstrap.difference(synapses, change(synapses), 0.5, 0.5, 100, 0.95, seed=0)


def test_a_statistic_that_many_resamples_leave_undefined_is_refused():
    def first_neurons(n):
        return lambda weights: np.where(weights[:, :n].any(axis=1), weights[:, :n].mean(axis=1), np.nan)[:, None]

    label = np.repeat([1, 0], 6)
    with pytest.raises(PredictionsError, match=r"statistic 0 of 1 is undefined in 3\d% of the resamples"):
        bootstrap.interval(first_neurons(1), label, 1000, 0.95, seed=0)
    draws = np.concatenate(list(bootstrap.resamples(label, 1000, seed=0)))[:, :4].mean(axis=1)
    _, low, high = bootstrap.interval(first_neurons(4), label, 1000, 0.95, seed=0, method="percentile")
    assert (low[0], high[0]) == tuple(np.quantile(draws[draws > 0], [0.025, 0.975]))


def test_a_class_without_neurons_cannot_be_resampled():
    with pytest.raises(PredictionsError, match="0 excitatory neurons"):
        next(bootstrap.resamples([0, 0, 0], 10, seed=0))


def test_bca_is_refused_where_it_is_undefined():
    label = np.array([1, 1, 0, 0])

    def other_in_resamples(weights):
        return (weights != 1).any(axis=1, keepdims=True) + 0.0 if len(weights) == 1 else np.ones((len(weights), 1))

    with pytest.raises(PredictionsError, match="outside all of its resamples"):
        bootstrap.interval(other_in_resamples, label, 100, 0.95, seed=0)
