"""Splits by neuron: properties that must hold for any cohort."""

import numpy as np
import pandas as pd
import pytest

from pipeline.cohort import CohortError, splits


def cohort(seed, n_excitatory=None, n_inhibitory=None):
    """A random cohort: class ratio, size and the heavy-tailed synapse counts of its neurons all vary."""
    rng = np.random.default_rng(seed)
    n_excitatory = n_excitatory or int(rng.integers(5, 150))
    n_inhibitory = n_inhibitory or int(rng.integers(5, 60))
    label = np.repeat([1, 0], [n_excitatory, n_inhibitory])
    neuron = rng.permutation(label.size) + 864691135000000000
    n_synapses = np.maximum(1, rng.lognormal(2.5, 0.8, label.size)).astype(int)
    synapses = pd.DataFrame({"pre_neuron_id": np.repeat(neuron, n_synapses), "label": np.repeat(label, n_synapses)})
    synapses["synapse_id"] = rng.permutation(len(synapses))
    return synapses.sample(frac=1, random_state=seed)


def neurons_per_part(synapses, part):
    return synapses.assign(part=part).groupby(["label", "part"])["pre_neuron_id"].nunique()


@pytest.mark.parametrize("seed", range(25))
def test_split_shares_no_neuron_and_keeps_the_fractions_of_each_class(seed):
    synapses = cohort(seed)
    split = splits.by_neuron(synapses, 0.15, 0.25, seed)
    assert (split.groupby(synapses["pre_neuron_id"]).nunique() == 1).all()
    counts = neurons_per_part(synapses, split)
    for label, total in synapses.groupby("label")["pre_neuron_id"].nunique().items():
        assert counts[label].sum() == total
        assert counts[label]["val"] == max(1, round(0.15 * total))
        assert counts[label]["test"] == max(2, round(0.25 * total))


@pytest.mark.parametrize("seed", range(25))
def test_folds_test_every_neuron_once_and_share_out_each_class(seed):
    synapses = cohort(seed)
    fold = splits.folds(synapses, 5, seed)
    assert (fold.groupby(synapses["pre_neuron_id"]).nunique() == 1).all()
    counts = neurons_per_part(synapses, fold).unstack()
    assert list(counts.columns) == [0, 1, 2, 3, 4]
    assert (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    totals = counts.sum()
    assert totals.max() - totals.min() <= 1  # the odd neurons of the two classes do not pile up


def test_synapses_are_shared_out_as_the_neurons_are():
    deviations = []
    for seed in range(25):
        synapses = cohort(seed, n_excitatory=80, n_inhibitory=40)
        for part in (splits.by_neuron(synapses, 0.15, 0.25, seed), splits.folds(synapses, 5, seed)):
            for label in (1, 0):
                rows = synapses[synapses["label"] == label]
                size = rows["pre_neuron_id"].value_counts()
                share = neurons_per_part(synapses, part)[label] / len(size)
                got = part[rows.index].value_counts(normalize=True)
                deviation = (got / share - 1).abs().max()
                heaviest = size.max() / len(rows) / share.min()  # one neuron may hold more than its part's due
                assert deviation < 0.05 + heaviest
                deviations.append(deviation)
    assert np.mean(np.array(deviations) <= 0.05) > 0.9


@pytest.mark.timeout(20)
def test_a_neuron_with_most_of_all_synapses_still_leaves_a_split():
    synapses = cohort(4, 30, 20)
    giant = synapses["pre_neuron_id"].iloc[0]
    synapses = pd.concat([synapses, *[synapses[synapses["pre_neuron_id"] == giant]] * 500], ignore_index=True)
    assert neurons_per_part(synapses, splits.by_neuron(synapses, 0.15, 0.25, 0)).sum() == 50
    for seed in range(200):  # equal sizes: many swaps change nothing
        small = pd.DataFrame({"pre_neuron_id": np.arange(24) // 2, "label": np.arange(24) // 12})
        small = pd.concat([small, small[small["pre_neuron_id"] % 3 == 0]], ignore_index=True)
        assert splits.folds(small, 4, seed).nunique() == 4


def test_order_of_rows_changes_nothing_and_the_seed_does():
    synapses = cohort(3)
    shuffled = synapses.sample(frac=1, random_state=9)
    for deal in (lambda f, s: splits.by_neuron(f, 0.15, 0.25, s), lambda f, s: splits.folds(f, 5, s)):
        first = deal(synapses, 1)
        assert first.equals(deal(synapses, 1))
        assert first.sort_index().equals(deal(shuffled, 1).sort_index())
        assert not first.equals(deal(synapses, 2))


def test_over_seeds_every_neuron_gets_into_the_test_part():
    synapses = cohort(0, n_excitatory=12, n_inhibitory=8)
    tested = set()
    for seed in range(40):
        tested |= set(synapses.loc[splits.by_neuron(synapses, 0.15, 0.25, seed) == "test", "pre_neuron_id"])
    assert len(tested) == 20


@pytest.mark.parametrize(
    ("n_excitatory", "n_inhibitory", "fractions", "message"),
    [
        (40, 4, (0.15, 0.25), r"4 inhibitory neurons; each class needs at least 5 \(train 2, val 1, test 2\)"),
        (3, 40, (0.15, 0.25), "3 excitatory neurons"),
        (40, 20, (0.25, 0.7), r"20 inhibitory neurons; .*fractions \(0.25, 0.7\) leave too few"),
    ],
)
def test_an_impossible_split_says_what_is_missing(n_excitatory, n_inhibitory, fractions, message):
    with pytest.raises(CohortError, match=message):
        splits.by_neuron(cohort(0, n_excitatory, n_inhibitory), *fractions, seed=0)


def test_the_smallest_possible_split_is_found():
    synapses = cohort(0, 5, 5)
    counts = neurons_per_part(synapses, splits.by_neuron(synapses, 0.15, 0.25, 0)).unstack()
    assert (counts[["train", "val", "test"]] == [2, 1, 2]).all(axis=None)


def test_a_class_that_is_absent_is_named():
    synapses = cohort(1)
    with pytest.raises(CohortError, match="0 inhibitory neurons"):
        splits.by_neuron(synapses[synapses["label"] == 1], 0.15, 0.25, 0)


def test_impossible_folds_say_what_is_missing():
    with pytest.raises(CohortError, match="no 7 folds by neuron: 6 inhibitory neurons.*Set `n_folds` to at most 6"):
        splits.folds(cohort(0, 20, 6), 7, 0)


def test_neurons_without_a_label_cannot_be_split():
    synapses = cohort(2)
    synapses["label"] = synapses["label"].astype("Int64").mask(synapses["synapse_id"] == 4)
    with pytest.raises(CohortError, match="1 synapses have no label"):
        splits.by_neuron(synapses, 0.15, 0.25, 0)
