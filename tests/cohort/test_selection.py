"""Filters on neurons and synapses."""

import numpy as np
import pandas as pd
import pytest

from pipeline.cohort import CohortError, selection


def synapses(n, n_neurons, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "synapse_id": rng.permutation(n) + 1,
            "pre_neuron_id": rng.integers(1, n_neurons + 1, n),
            "post_neuron_id": rng.integers(100, 200, n),
            **{f"center_{axis}_nm": rng.random(n) for axis in "xyz"},
            "size": rng.integers(1, 99, n),
        }
    )


def test_only_proofread_axons_stay():
    neurons = pd.DataFrame({"pre_neuron_id": [1, 2, 3, 4], "label": [1, 0, 1, 0]})
    status = pd.DataFrame({"pt_root_id": [1, 2, 4, 4], "status_axon": ["t", "f", "t", "t"]})
    assert list(selection.proofread(neurons, status)["pre_neuron_id"]) == [1, 4]
    with pytest.raises(CohortError, match=r"lacks \['status_axon'\]"):
        selection.proofread(neurons, status[["pt_root_id"]])


def test_repeated_rows_and_repeated_places_count_once():
    rows = synapses(50, 5)
    twin = rows.iloc[[7]].assign(synapse_id=1000)
    pd.testing.assert_frame_equal(
        selection.unique(pd.concat([twin, rows, rows.iloc[:9]])), rows.sort_values("synapse_id", ignore_index=True)
    )


def test_an_id_of_two_different_synapses_is_refused():
    rows = synapses(20, 5)
    clash = rows[rows["synapse_id"] == 3].assign(size=1000)
    with pytest.raises(CohortError, match=r"1 synapse ids stand for several synapses, such as \[3\]"):
        selection.unique(pd.concat([rows, clash]))


def test_autapses_are_left_out():
    rows = synapses(20, 5)
    rows.loc[4, "post_neuron_id"] = rows.loc[4, "pre_neuron_id"]
    assert set(rows["synapse_id"]) - set(selection.without_autapses(rows)["synapse_id"]) == {rows.loc[4, "synapse_id"]}


def test_cap_per_neuron_is_exact_random_and_independent_of_order():
    rows = synapses(2000, 20)
    rows.loc[rows["pre_neuron_id"] == 7, "pre_neuron_id"] = 8
    rows.loc[rows.index[:5], "pre_neuron_id"] = 7  # a neuron below the cap keeps all it has
    capped = selection.at_most_per_neuron(rows, 30, seed=1)
    before = rows["pre_neuron_id"].value_counts()
    assert capped["pre_neuron_id"].value_counts().to_dict() == before.clip(upper=30).to_dict()
    pd.testing.assert_frame_equal(capped, selection.at_most_per_neuron(rows.sample(frac=1), 30, seed=1))
    other = selection.at_most_per_neuron(rows, 30, seed=2)
    assert set(capped["synapse_id"]) != set(other["synapse_id"])


def test_cap_takes_every_synapse_of_a_neuron_with_the_same_chance():
    rows = synapses(40, 1)
    taken = pd.concat(selection.at_most_per_neuron(rows, 10, seed) for seed in range(800))
    share = taken["synapse_id"].value_counts() / 800
    assert len(share) == 40
    assert share.between(0.18, 0.32).all()  # 0.25, four and a half standard errors


def test_neurons_are_capped_per_class():
    neurons = pd.DataFrame({"pre_neuron_id": range(30), "label": [1] * 20 + [0] * 10})
    capped = selection.at_most_per_class(neurons, 12, seed=0)
    assert capped["label"].value_counts().to_dict() == {1: 12, 0: 10}
