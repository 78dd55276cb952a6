"""Folds: by neuron, with both classes, and with about equal numbers of rows of each class."""

import numpy as np
import pandas as pd
import pytest

from pipeline.connectivity import ConnectivityError, folds


def _rows(seed=0, n_excitatory=200, n_inhibitory=40):
    rng = np.random.default_rng(seed)
    size = np.concatenate([rng.geometric(0.1, n_excitatory), rng.geometric(0.02, n_inhibitory)])
    label = np.repeat(np.repeat([1, 0], [n_excitatory, n_inhibitory]), size)
    return np.repeat(np.arange(len(size)), size), label


def test_each_neuron_is_in_one_fold_and_each_fold_has_its_share_of_rows_of_each_class():
    neuron, label = _rows()
    fold = folds.by_neuron(neuron, label, 5, seed=0)
    assert (pd.Series(fold).groupby(neuron).nunique() == 1).all()
    rows = pd.crosstab(fold, label)
    assert (abs(rows / rows.mean() - 1) < 0.02).all(axis=None)
    neurons = pd.crosstab(
        *pd.DataFrame({"fold": fold, "label": label, "id": neuron}).drop_duplicates().to_numpy().T[:2]
    )
    assert (abs(neurons / neurons.mean() - 1) < 0.3).all(axis=None)


def test_the_seed_decides():
    neuron, label = _rows()
    first, again, other = (folds.by_neuron(neuron, label, 5, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_too_few_neurons_of_a_class_are_an_error():
    neuron, label = _rows(n_inhibitory=4)
    with pytest.raises(ConnectivityError, match="no 5 folds by neuron: 4 inhibitory presynaptic neurons"):
        folds.by_neuron(neuron, label, 5, seed=0)
