"""Train, validation and test by presynaptic neuron, and folds that test every neuron once.

All synapses of a neuron go to the same part, since they share its staining, its vesicles and its label. Every part
gets its share of the neurons of each class (exactly, up to rounding) and about that share of their synapses.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from pipeline.cohort import CohortError
from pipeline.columns import CLASS_OF_LABEL

#: Neurons of each class that a split needs: an interval that resamples neurons takes at least two in the test part.
MINIMUM = {"train": 2, "val": 1, "test": 2}

#: A part whose synapses deviate from its share by less than this fraction is left as drawn, so that it stays random.
TOLERANCE = 0.05


def by_neuron(synapses: pd.DataFrame, val_fraction: float, test_fraction: float, seed: int) -> pd.Series:
    """Split of each synapse, train/val/test on the index of `synapses` (`pre_neuron_id`, `label`).

    Raises CohortError where a label is missing or a class has too few neurons.
    """
    fractions = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}

    def quotas(n: int, name: str) -> list[int]:
        sizes = {part: max(MINIMUM[part], round(n * fractions[part])) for part in ("val", "test")}
        sizes = {"train": n - sum(sizes.values()), **sizes}
        if sizes["train"] < MINIMUM["train"]:
            raise CohortError(
                f"no split by neuron: {n} {name} neurons; each class needs at least {sum(MINIMUM.values())} "
                f"({', '.join(f'{part} {least}' for part, least in MINIMUM.items())}), and more where the validation "
                f"and test fractions ({val_fraction}, {test_fraction}) leave too few to train on. Relax the filters "
                "of the cohort, use a larger volume, or `split: all_test`"
            )
        return list(sizes.values())

    return _deal(synapses, quotas, seed).map(dict(enumerate(MINIMUM)))


def folds(synapses: pd.DataFrame, n_folds: int, seed: int) -> pd.Series:
    """Fold 0 ... n_folds - 1 of each synapse, so that every neuron is tested once, with its class's share per fold.

    Errors as for `by_neuron`.
    """

    def quotas(n: int, name: str) -> list[int]:
        if n < n_folds:
            raise CohortError(
                f"no {n_folds} folds by neuron: {n} {name} neurons; every fold needs at least one of each class. "
                f"Set `n_folds` to at most {n}, or relax the filters of the cohort"
            )
        sizes = [n // n_folds + (fold < n % n_folds) for fold in range(n_folds)]
        return sizes if name == "excitatory" else sizes[::-1]  # the odd neurons of both classes in different folds

    return _deal(synapses, quotas, seed)


def _deal(synapses: pd.DataFrame, quotas: Callable[[int, str], list[int]], seed: int) -> pd.Series:
    """Deal the neurons of each class into parts of `quotas(n, class name)` neurons; the part of each synapse."""
    if unlabelled := int(synapses["label"].isna().sum()):
        raise CohortError(f"{unlabelled} synapses have no label; only labelled neurons can be balanced by class")
    neurons = synapses.groupby("pre_neuron_id")["label"].agg(["first", "size"])
    streams = np.random.SeedSequence(seed).spawn(2)
    parts = []
    for (label, name), stream in zip(CLASS_OF_LABEL.items(), streams, strict=True):
        size = neurons.loc[neurons["first"] == label, "size"]
        part = _balanced_draw(size.to_numpy(), np.array(quotas(len(size), name)), np.random.default_rng(stream))
        parts.append(pd.Series(part, index=size.index))
    return synapses["pre_neuron_id"].map(pd.concat(parts)).astype("int64")


def _balanced_draw(size: np.ndarray, quota: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Part of each of n neurons with `size` synapses [n]: `quota` [P] neurons a part, with even shares of synapses.

    A random draw; then the part with the most synapses for its due and the part with the least swap the two neurons
    that level them best, until all are within TOLERANCE of their due or no such swap is left.
    """
    part = rng.permutation(np.repeat(np.arange(quota.size), quota))
    due = quota / quota.sum() * size.sum()
    while True:
        got = np.bincount(part, weights=size, minlength=quota.size)
        if np.abs(got / due - 1).max() <= TOLERANCE:
            return part
        most, least = np.argmax(got / due), np.argmin(got / due)
        surplus = (got[most] * due[least] - got[least] * due[most]) / (due[most] + due[least])
        givers, takers = np.flatnonzero(part == most), np.flatnonzero(part == least)
        error = np.abs(size[givers][:, None] - size[takers] - surplus)
        giver, taker = np.unravel_index(error.argmin(), error.shape)
        if error[giver, taker] > 0.99 * surplus:  # a swap that hardly helps: rounding could repeat it for ever
            return part
        part[givers[giver]], part[takers[taker]] = least, most
