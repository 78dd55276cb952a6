"""Folds by presynaptic neuron: every neuron is scored once, by a model that saw none of its connections."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold

from pipeline.columns import CLASS_OF_LABEL
from pipeline.connectivity import ConnectivityError


def by_neuron(neuron: ArrayLike, label: ArrayLike, n_folds: int, seed: int) -> np.ndarray:
    """Fold 0 ... n_folds - 1 of each row `[N]`; all rows of a neuron share one, and every fold has both classes.

    `neuron` [N] are ids, `label` [N] the classes (1 excitatory, 0 inhibitory). The folds hold about the same number of
    rows of each class (those of `cohort.splits` the same number of neurons): scores of models of different folds are
    compared with each other, and a model that saw fewer inhibitory rows calls fewer inhibitory, so that unequal folds
    would pull a pooled AUROC below its value.
    """
    neuron, label = np.asarray(neuron), np.asarray(label)
    n_neurons = {name: np.unique(neuron[label == value]).size for value, name in CLASS_OF_LABEL.items()}
    for name, n in n_neurons.items():
        if n < n_folds:
            raise ConnectivityError(
                f"no {n_folds} folds by neuron: {n} {name} presynaptic neurons; every fold needs at least one "
                "of each class"
            )
    fold = np.empty(len(neuron), dtype=np.int64)
    deal = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(deal.split(neuron, label, neuron)):
        fold[rows] = number
    for value, name in CLASS_OF_LABEL.items():
        if missing := sorted(set(range(n_folds)) - set(fold[label == value].tolist())):
            raise ConnectivityError(f"folds {missing} got no {name} neuron: {n_neurons[name]} are too few")
    return fold
