"""The prior work's model: counted by hand, and what the split by neuron leaves of it."""

import numpy as np
import pandas as pd
import toy
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline.connectivity import folds, prior


def test_priors_counted_by_hand():
    links = pd.DataFrame(
        {"pre_neuron_id": [1, 1, 1, 2, 2, 3], "post_neuron_id": [8, 8, 9, 8, 9, 9], "label": [1, 1, 1, 0, 0, 1]}
    )
    training = np.array([True, True, False, True, True, False])
    found = prior.fit(links, training)
    # pre: 1 has 2 of 2 in training, 2 has 0 of 2, 3 has none; post: 8 has 2 of 3, 9 has 0 of 1
    share = [(3 / 4, 3 / 5), (3 / 4, 3 / 5), (3 / 4, 1 / 3), (1 / 4, 3 / 5), (1 / 4, 1 / 3), (1 / 2, 1 / 3)]
    np.testing.assert_allclose(found.log_odds, [[np.log(p / (1 - p)) for p in pair] for pair in share])


def test_the_leak_is_the_split():
    links = toy.links(n_neurons=240, per_neuron=20, effect=0.5)
    label = links["label"].to_numpy()
    test = prior.random_split(len(links), 0.2, seed=0)
    leaky = prior.fit(links, ~test)
    assert balanced_accuracy_score(label[test], leaky.p_excitatory[test] >= 0.5) > 0.95
    assert leaky.weights[0] > 5 * abs(leaky.weights[1])

    test = folds.by_neuron(links["pre_neuron_id"], label, 5, seed=0) == 0
    honest = prior.fit(links, ~test)
    assert (honest.log_odds[test, 0] == 0).all(), "of a neuron that was not in training nothing is known"
    assert roc_auc_score(label[test], honest.log_odds[test, 0]) == 0.5
    assert balanced_accuracy_score(label[test], honest.p_excitatory[test] >= 0.5) < 0.75


def test_what_a_prior_is_worth_on_scored_rows():
    rng = np.random.default_rng(0)
    neuron = np.repeat(np.arange(300), 5)
    post = rng.normal(size=neuron.size)
    label = rng.random(neuron.size) < 1 / (1 + np.exp(-1.5 * post))
    found = prior.refit(np.column_stack([np.zeros_like(post), post]), label, neuron, 0.95).set_index("side")
    assert found.loc["pre", ["weight", "low", "high"]].astype(float).abs().max() < 1e-9, "a constant tells nothing"
    assert found.loc["post", "low"] < 1.5 < found.loc["post", "high"]
    assert found.loc["post", "low"] > 1


def test_the_random_split_has_its_size_and_its_seed():
    test = prior.random_split(1000, 0.2, seed=3)
    assert test.sum() == 200
    assert (test == prior.random_split(1000, 0.2, seed=3)).all()
    assert (test != prior.random_split(1000, 0.2, seed=4)).any()
