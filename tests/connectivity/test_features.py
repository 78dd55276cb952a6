"""Features: against counts by hand and by brute force, and the alarms for labels that leak."""

import functools

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import toy
from sklearn.metrics import roc_auc_score

from pipeline.connectivity import features, folds, models

N_FOLDS = 5


def test_shares_counted_by_hand():
    """Post 9 has inputs E (part a), I (a), I (b), I (c, two synapses); post 8 has one input."""
    links = pd.DataFrame(
        [(1, 9, 1, "a"), (2, 9, 0, "a"), (3, 9, 0, "b"), (4, 9, 0, "c"), (4, 9, 0, "c"), (4, 8, 0, "c")],
        columns=["pre_neuron_id", "post_neuron_id", "label", "part"],
    )
    share = features.inhibitory_share(links, links["part"])
    # part a sees 3 and 4; b sees 1, 2 and 4; c sees 1, 2 and 3; no one else meets post 8
    np.testing.assert_allclose(share, [3 / 4, 3 / 4, 3 / 5, 3 / 5, 3 / 5, 1 / 2])
    hidden = features.inhibitory_share(links, links["part"], hidden="c")
    np.testing.assert_allclose(hidden, [2 / 3, 2 / 3, 2 / 4, 3 / 5, 3 / 5, 1 / 2])
    np.testing.assert_allclose(features.leave_one_out_share(links), [5 / 6, 4 / 6, 4 / 6, 4 / 6, 4 / 6, 1 / 2])


def test_shares_against_a_brute_force_count():
    links = toy.links(n_neurons=40, per_neuron=6)
    part = folds.by_neuron(links["pre_neuron_id"], links["label"], 4, seed=1)
    found = features.inhibitory_share(links, part, hidden=2)
    for row in range(0, len(links), 7):
        others = links[(links["post_neuron_id"] == links["post_neuron_id"][row]) & (part != part[row]) & (part != 2)]
        others = others.drop_duplicates("pre_neuron_id")
        assert found[row] == ((others["label"] == 0).sum() + 1) / (len(others) + 2)


def test_no_row_sees_a_label_of_its_own_part_or_of_the_hidden_one():
    links = toy.links()
    part = folds.by_neuron(links["pre_neuron_id"], links["label"], N_FOLDS, seed=0)
    before = features.table(links, part, hidden=3)
    for changed in range(N_FOLDS):
        other = links.assign(label=links["label"].where(part != changed, 1 - links["label"]))
        moved = (features.table(other, part, hidden=3) != before).any(axis=1).to_numpy()
        assert not moved[part == changed].any()
        assert moved.any() == (changed != 3)


def _auc_of_shuffled_labels(seed, share):
    """AUROC of a boosted model on the share alone, where labels are dealt to the neurons at random."""
    links = toy.links(n_neurons=240, per_neuron=12)
    rng = np.random.default_rng(seed)
    neurons = links["pre_neuron_id"].unique()
    links["label"] = links["pre_neuron_id"].map(pd.Series(rng.permutation(np.arange(240) % 3 > 0), neurons)).astype(int)
    fold = folds.by_neuron(links["pre_neuron_id"], links["label"], N_FOLDS, seed)
    post, _ = pd.factorize(links["post_neuron_id"])
    tables = {k: pd.DataFrame({"share": share(links, fold, k), "post": post}) for k in range(N_FOLDS)}
    few_trees = functools.partial(models.boosting, 40)
    return roc_auc_score(links["label"], models.out_of_fold(links["label"], fold, tables, few_trees))


def test_shuffled_labels_are_worth_nothing_and_the_alarm_rings_for_the_leak():
    honest = [_auc_of_shuffled_labels(seed, features.inhibitory_share) for seed in range(4)]
    leaky = [_auc_of_shuffled_labels(seed, lambda links, *_: features.leave_one_out_share(links)) for seed in range(2)]
    assert abs(np.mean(honest) - 0.5) < 0.02
    assert min(leaky) > 0.55


def test_multiplicity_is_the_number_of_parallel_edges():
    links = toy.links(n_neurons=30, per_neuron=5)
    synapses = links.loc[links.index.repeat(links["n_synapses"])].drop(columns="n_synapses").reset_index(drop=True)
    graph = nx.MultiDiGraph(list(zip(synapses["pre_neuron_id"], synapses["post_neuron_id"], strict=True)))
    edges = zip(synapses["pre_neuron_id"], synapses["post_neuron_id"], strict=True)
    expected = np.log([graph.number_of_edges(*edge) for edge in edges])
    part = synapses["pre_neuron_id"] % 2
    np.testing.assert_allclose(features.table(synapses, part)["log_multiplicity"], expected)
    of_pairs = features.table(links, links["pre_neuron_id"] % 2)["log_multiplicity"]
    np.testing.assert_allclose(of_pairs, np.log(links["n_synapses"]))


def test_geometry_and_classes_by_hand():
    neurons = pd.DataFrame(
        {
            "neuron_id": [1, 2, 3, 4],
            "cell_class": ["excitatory", "inhibitory", None, "nonneuron"],
            "soma_x_nm": [0.0, 3000.0, 0.0, np.nan],
            "soma_y_nm": [10000.0, 22000.0, 0.0, np.nan],
            "soma_z_nm": [0.0, 4000.0, 0.0, np.nan],
        }
    )
    pairs = [(1, 2), (1, 3), (1, 4), (1, 77), (2, 1), (2, 2)]  # neuron 77 is in no table, and 2 synapses on itself
    links = pd.DataFrame(pairs, columns=["pre_neuron_id", "post_neuron_id"]).assign(label=[1, 1, 1, 1, 0, 0])
    found = features.table(features.with_neurons(links, neurons), links["pre_neuron_id"])
    geometry = ["soma_distance_um", "soma_lateral_um", "soma_vertical_um", "soma_below_um", "post_depth_um"]
    np.testing.assert_allclose(found.loc[0, geometry].astype(float), [13, 5, 12, 12, 22])
    np.testing.assert_allclose(found.loc[4, geometry].astype(float), [13, 5, 12, -12, 10])
    assert found.loc[[2, 3], geometry].isna().all(axis=None)
    assert found["post_inhibitory"].tolist() == [1, 0, 0, 0, 0, 0], "the class of an autapse's post neuron is its label"
    assert found["post_unknown"].tolist() == [0, 1, 0, 1, 0, 1]
    assert found["post_nonneuron"].tolist() == [0, 0, 1, 0, 0, 0]


def test_post_neurons_without_an_id_are_unknown_and_not_one_neuron():
    links = pd.DataFrame(
        [(1, 9, 1, "a"), (2, None, 0, "a"), (3, None, 0, "b"), (4, 9, 0, "b")],
        columns=["pre_neuron_id", "post_neuron_id", "label", "part"],
    ).astype({"post_neuron_id": "Int64"})
    neurons = pd.DataFrame({"neuron_id": [9], "cell_class": ["inhibitory"]}).assign(
        **{f"soma_{axis}_nm": 1000.0 for axis in "xyz"}
    )
    found = features.table(features.with_neurons(links, neurons), links["part"])
    np.testing.assert_allclose(found["post_inhibitory_share"], [2 / 3, np.nan, np.nan, 1 / 3])
    np.testing.assert_allclose(found["log_multiplicity"], [0, np.nan, np.nan, 0])
    assert found["post_unknown"].tolist() == [0, 1, 1, 0]


def test_what_an_axon_does_elsewhere_leaves_the_synapse_itself_out():
    links = pd.DataFrame(
        {
            "pre_neuron_id": [1, 1, 1, 2],
            "post_neuron_id": [5, 6, 7, 5],
            "label": [1, 1, 1, 0],
            "size": pd.array([9, 99, None, 4], dtype="Int64"),
            "on_spine": pd.array([True, False, None, True], dtype="boolean"),
            "center_y_nm": [1000.0, 2000.0, 3000.0, 4000.0],
        }
    )
    found = features.table(links, links["pre_neuron_id"])
    np.testing.assert_allclose(found["axon_log_size"], np.log([100, 10, np.sqrt(1000), np.nan]))
    np.testing.assert_allclose(found["axon_on_spine"], [0, 1, 0.5, np.nan])
    np.testing.assert_allclose(found["log_size"], np.log([10, 100, np.nan, 5]))
    np.testing.assert_allclose(found["depth_um"], [1, 2, 3, 4])


def test_features_are_chosen_by_what_one_must_know():
    links = toy.links(n_neurons=30)
    links["size"], links["center_y_nm"] = 5, 1.0
    found = features.table(links, links["pre_neuron_id"])
    assert features.names(found, ("synapse",)) == ["log_size", "depth_um"]
    assert features.names(found, ("post",)) == ["post_inhibitory_share"]
    assert features.names(found, ("axon",)) == ["log_multiplicity", "axon_log_size"]


def test_a_neuron_in_two_parts_or_an_unknown_hidden_part_is_refused():
    links = toy.links(n_neurons=30)
    with pytest.raises(ValueError, match="lie in several parts"):
        features.inhibitory_share(links, np.arange(len(links)) % 2)
    with pytest.raises(ValueError, match="no part 'test' to hide"):
        features.inhibitory_share(links, links["pre_neuron_id"] % 3, hidden="test")
