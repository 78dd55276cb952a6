"""Scores of real synapses, against scikit-learn and a count of pairs."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.stats import real


def synapses(seed=11):
    """40 excitatory synapses of 20 axons, 6 inhibitory ones of 3, all on shafts; and one of unknown class."""
    rng = np.random.default_rng(seed)
    label = np.repeat([1, 0], [40, 6])
    rows = pd.DataFrame({"synapse_id": rng.permutation(46) + 500})
    rows["pre_neuron_id"] = np.concatenate([np.arange(40) // 2, 100 + np.arange(6) // 2])
    rows["label"] = pd.array(label, dtype="Int64")
    rows["on_spine"] = pd.array((label == 1) & (np.arange(46) % 4 > 0), dtype="boolean")
    rows["network"] = 1 / (1 + np.exp(-(label + rng.normal(size=46))))
    rows["grey_post"] = 130 - 15 * label + rng.normal(scale=12, size=46)
    rows["texture_pre"] = 300 - 40 * label + rng.normal(scale=60, size=46)
    rows.loc[3, "grey_post"] = np.nan  # its postsynaptic segment is not within reach
    unknown = rows.iloc[[0]].assign(synapse_id=1, label=pd.array([pd.NA], dtype="Int64"), network=0.0)
    return pd.concat([rows, unknown], ignore_index=True)


def test_aucs_are_those_of_scikit_learn_on_all_and_on_shafts():
    rows = synapses()
    found = {row["subset"]: row for row in real.aucs(rows, "network", 0.95)}
    known = rows[rows["label"].notna()]
    for subset, part in (("all", known), ("shaft", known[~known["on_spine"].astype(bool)])):
        assert found[subset]["value"] == pytest.approx(roc_auc_score(part["label"].astype(int), part["network"]))
        assert found[subset]["low"] <= found[subset]["value"] <= found[subset]["high"]
        assert found[subset]["high"] - found[subset]["low"] > 0.2, "three inhibitory axons leave much open"
        assert found[subset]["n"] == len(part)


def test_floors_call_the_dark_and_the_smooth_excitatory():
    rows = synapses()
    rows = rows.merge(real.floors(rows[["synapse_id", "grey_post", "texture_pre"]]), on="synapse_id")
    for name, column in (("dark_post", "grey_post"), ("smooth_pre", "texture_pre")):
        known = rows[rows["label"].notna() & rows[column].notna()]
        pairs = itertools.product(*(-known.loc[known["label"] == label, column] for label in (1, 0)))
        expected = np.mean([(e > i) + 0.5 * (e == i) for e, i in pairs])
        (found,) = (row for row in real.aucs(rows, name, 0.95) if row["subset"] == "all")
        assert found["value"] == pytest.approx(expected)
        assert found["n"] == len(known)
    assert rows["dark_and_smooth"].isna().sum() == 1


def test_a_spine_says_nothing_on_shafts_and_one_neuron_of_a_class_nothing_at_all():
    rows = synapses()
    rows["spine"] = rows["on_spine"].astype("Float64")
    assert [row["subset"] for row in real.aucs(rows, "spine", 0.95)] == ["all"]
    lonely = rows[rows["label"].eq(1) | (rows["pre_neuron_id"] == 100)]
    assert real.aucs(lonely, "network", 0.95) == []


def test_the_sample_counts_synapses_and_neurons_of_each_class():
    everything, shaft = real.sample(synapses())
    assert everything == {
        "subset": "all",
        "n_excitatory": 40,
        "n_excitatory_neurons": 20,
        "n_inhibitory": 6,
        "n_inhibitory_neurons": 3,
    }
    assert (shaft["n_excitatory"], shaft["n_inhibitory"]) == (10, 6)
    rows = synapses()
    rows.loc[0, "on_spine"] = pd.NA
    assert [row["subset"] for row in real.sample(rows)] == ["all"], "where spines are not all known, nor are shafts"
