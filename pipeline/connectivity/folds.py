"""Folds by presynaptic neuron: every neuron is scored once, by a model that saw none of its connections."""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold


class FoldError(ValueError):
    """No folds by neuron exist; the text says which class has how many neurons, and what is needed."""


def by_neuron(neuron, label, n_folds, seed):
    """Fold 0 ... n_folds - 1 of each row `[N]`; all rows of a neuron share one, and every fold has both classes.

    `neuron` [N] are ids, `label` [N] the classes (1 excitatory, 0 inhibitory). The folds hold about the same number of
    rows of each class: scores of models of different folds are compared with each other, and a model that saw fewer
    inhibitory rows calls fewer inhibitory, so that unequal folds would pull a pooled AUROC below its value.
    """
    neuron, label = np.asarray(neuron), np.asarray(label)
    neurons = {name: np.unique(neuron[label == value]) for value, name in ((1, "excitatory"), (0, "inhibitory"))}
    for name, ids in neurons.items():
        if len(ids) < n_folds:
            raise FoldError(
                f"no {n_folds} folds by neuron: {len(ids)} {name} presynaptic neurons; every fold needs at least one "
                "of each class"
            )
    mixed = np.intersect1d(*neurons.values())
    if mixed.size:
        raise FoldError(f"{mixed.size} neurons have rows of both classes, such as {mixed[:5].tolist()}")
    fold = np.empty(len(neuron), dtype=np.int64)
    deal = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    for number, (_, rows) in enumerate(deal.split(neuron, label, neuron)):
        fold[rows] = number
    for value, name in ((1, "excitatory"), (0, "inhibitory")):
        if missing := sorted(set(range(n_folds)) - set(fold[label == value].tolist())):
            raise FoldError(f"folds {missing} got no {name} neuron: {len(neurons[name])} are too few; use fewer folds")
    return fold
