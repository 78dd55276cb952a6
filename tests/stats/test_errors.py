"""The model of errors against logistic regression, known odds ratios, and its refusals."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from pipeline.stats.errors import odds_ratios
from pipeline.stats.metrics import PredictionsError


def errors(seed, n_neurons=60, size=25, spread=0.7, effect=0.8):
    """Errors with a neuron's own rate; synapses on spines and small synapses err more."""
    rng = np.random.default_rng(seed)
    neuron = np.repeat(np.arange(n_neurons), size)
    synapses = pd.DataFrame(
        {
            "synapse_id": np.arange(neuron.size),
            "pre_neuron_id": neuron + 864691135000000000,
            "size": rng.gamma(3, 200, neuron.size),
            "spine": rng.random(neuron.size) < 0.6,
        }
    )
    eta = (
        -1
        + effect * synapses["spine"]
        - 0.4 * (synapses["size"] - 600) / 346
        + (spread * rng.standard_normal(n_neurons))[neuron]
    )
    synapses["error"] = rng.random(neuron.size) < 1 / (1 + np.exp(-eta))
    return synapses.sample(frac=1, random_state=seed, ignore_index=True)


def test_with_one_synapse_a_neuron_the_odds_ratios_are_those_of_logistic_regression():
    synapses = errors(1, n_neurons=900, size=1)
    ours = odds_ratios(synapses, ["size", "spine"], 0.95).set_index("predictor")
    z = (synapses["size"] - synapses["size"].mean()) / synapses["size"].std(ddof=0)
    design = sm.add_constant(np.column_stack([z, synapses["spine"].astype(float)]))
    logit = sm.Logit(synapses["error"].astype(float).to_numpy(), design).fit(disp=False, cov_type="HC0")
    np.testing.assert_allclose(np.log(ours["odds_ratio"]), logit.params[1:], atol=1e-5)
    np.testing.assert_allclose(np.log(ours[["low", "high"]]), logit.conf_int()[1:], atol=0.01)  # HC0, normal
    np.testing.assert_allclose(ours["p"], logit.pvalues[1:], atol=0.003)
    assert ours["unit"]["spine"] == "1 against 0"
    assert ours["unit"]["size"].startswith("per 3")


def test_a_single_binary_predictor_has_the_odds_ratio_of_the_two_by_two_table():
    synapses = errors(2, n_neurons=400, size=1)
    table = pd.crosstab(synapses["spine"], synapses["error"]).to_numpy()
    by_hand = table[1, 1] * table[0, 0] / table[1, 0] / table[0, 1]
    assert odds_ratios(synapses, ["spine"], 0.95)["odds_ratio"][0] == pytest.approx(by_hand, rel=1e-5)


def test_what_belongs_to_neurons_is_judged_by_their_number():
    """A predictor that is constant within neurons, and without effect: intervals must cover 1 in about 95% of cases."""
    covered = naive = 0
    for seed in range(60):
        synapses = errors(seed, n_neurons=20, size=12, spread=1.0)
        synapses["dark"] = synapses["pre_neuron_id"] % 2
        row = odds_ratios(synapses, ["dark"], 0.95).iloc[0]
        covered += row["low"] <= 1 <= row["high"]
        logit = sm.Logit(synapses["error"].astype(float), sm.add_constant(synapses["dark"].astype(float))).fit(
            disp=False
        )
        naive += logit.pvalues["dark"] > 0.05
    assert covered >= 52  # 57 expected, 3 standard errors less
    assert naive < 51


@pytest.mark.parametrize(
    ("change", "predictors", "message"),
    [
        (lambda f: f, ["size", "density"], r"lacks the columns \['density'\]"),
        (lambda f: f.drop(columns="error"), ["size"], r"lacks the columns \['error'\]"),
        (lambda f: f.assign(size=5), ["size"], "predictor size is 5 everywhere"),
        (lambda f: f.assign(size="big"), ["size"], "predictor size holds object, not numbers"),
        (lambda f: f.assign(size=f["size"].where(f["synapse_id"] > 3)), ["size"], "size is missing or infinite in 4"),
        (lambda f: f.assign(area=2 * f["size"] + 1), ["size", "area"], "combinations of others"),
        (lambda f: f.assign(error=0), ["size"], "`error` must hold 0 and 1"),
        (lambda f: f.assign(size=f["size"] + 1e5 * f["error"]), ["spine", "size"], r"\['size'\] separate"),
        (lambda f: f.assign(fold=f["error"] & f["spine"]), ["fold"], r"\['fold'\] separate"),  # only in errors
        (lambda f: f[f["pre_neuron_id"] < 864691135000000003], ["size", "spine"], "more than 3 presynaptic neurons"),
    ],
)
def test_tables_without_an_answer_are_refused(change, predictors, message):
    with pytest.raises(PredictionsError, match=message):
        odds_ratios(change(errors(3)), predictors, 0.95)
