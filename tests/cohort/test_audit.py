"""The audit finds the leaks that are planted, and counts overlaps as a brute-force comparison does."""

import numpy as np
import pandas as pd
import pytest

from pipeline.cohort import CohortError
from pipeline.cohort.audit import audit
from pipeline.cohort.labels import CONFLICT_COLUMNS

CUBE_NM = (1024.0, 1024.0, 1280.0)
NO_CONFLICTS = pd.DataFrame(columns=CONFLICT_COLUMNS)


def cohort(n=300, side_nm=12_000, seed=0):
    """A clean cohort of 30 neurons, 10 a split."""
    rng = np.random.default_rng(seed)
    neuron = rng.integers(0, 30, n)
    return pd.DataFrame(
        {
            "synapse_id": np.arange(n),
            "pre_neuron_id": neuron,
            "post_neuron_id": 1000 + np.arange(n),
            **{f"center_{axis}_nm": rng.uniform(0, side_nm, n) for axis in "xyz"},
            "label": neuron % 2,
            "split": np.array(["train", "val", "test"])[neuron // 10],
            "fold": neuron % 5,
        }
    )


def test_overlaps_equal_a_comparison_of_all_pairs():
    rows = cohort()
    report = audit(rows, CUBE_NM, NO_CONFLICTS)
    for pair, found in report["overlapping_cubes"].items():
        a, b = (
            rows.loc[rows["split"] == name, ["center_x_nm", "center_y_nm", "center_z_nm"]] for name in pair.split("-")
        )
        overlap = (np.abs(a.to_numpy()[:, None] - b.to_numpy()[None]) < CUBE_NM).all(axis=2)
        assert found == {"pairs": overlap.sum(), "synapses": [overlap.any(axis=1).sum(), overlap.any(axis=0).sum()]}
        assert found["pairs"] > 0


@pytest.mark.parametrize(("shift", "pairs"), [(1023.9, 1), (1024.0, 0)])
def test_cubes_that_only_touch_do_not_overlap(shift, pairs):
    rows = cohort(2).assign(split=["train", "test"], pre_neuron_id=[1, 2], label=[1, 0])
    centers = ["center_x_nm", "center_y_nm", "center_z_nm"]
    rows.loc[0, centers] = [5.1e5, 7.7e5, 8e5]
    rows.loc[1, centers] = [5.1e5 + shift, 7.7e5 + 1000, 8e5 - 1200]
    assert audit(rows, CUBE_NM, NO_CONFLICTS)["overlapping_cubes"]["train-test"]["pairs"] == pairs


def test_a_neuron_in_two_splits_is_refused():
    rows = cohort()
    rows.loc[rows["pre_neuron_id"].eq(3).idxmax(), "split"] = "test"
    with pytest.raises(CohortError, match=r"1 presynaptic neurons are in several splits, such as \[3\]"):
        audit(rows, CUBE_NM, NO_CONFLICTS)


def test_repeated_ids_and_double_labels_are_refused():
    rows = cohort()
    with pytest.raises(CohortError, match=r"1 synapse ids occur more than once, such as \[17\]"):
        audit(pd.concat([rows, rows.iloc[[17]]]), CUBE_NM, NO_CONFLICTS)
    rows.loc[rows["pre_neuron_id"].eq(4).idxmax(), "label"] = 1
    with pytest.raises(CohortError, match=r"1 neurons have both labels, such as \[4\]"):
        audit(rows, CUBE_NM, NO_CONFLICTS)


def test_shared_postsynaptic_neurons_are_counted():
    rows = cohort()
    assert all(
        found["neurons"] == 0 for found in audit(rows, CUBE_NM, NO_CONFLICTS)["shared_postsynaptic_neurons"].values()
    )
    train, test = (rows.index[rows["split"] == name] for name in ("train", "test"))
    rows.loc[train[:3].union(test[:2]), "post_neuron_id"] = 77
    rows.loc[train[5:7].union(test[5:7]), "post_neuron_id"] = 0  # no segment: nothing is shared
    report = audit(rows, CUBE_NM, NO_CONFLICTS)["shared_postsynaptic_neurons"]
    assert report["train-test"] == {"neurons": 1, "synapses": [3, 2]}
    assert report["train-val"] == {"neurons": 0, "synapses": [0, 0]}


def test_counts_of_splits_and_conflicts_are_those_of_the_tables():
    rows = cohort()
    conflicts = pd.DataFrame({"reason": ["AIBS and Baylor disagree"] * 3 + ["several nuclei in one segment"]})
    report = audit(rows, CUBE_NM, conflicts)
    val = rows[(rows["split"] == "val") & (rows["label"] == 1)]
    assert report["splits"]["val"]["excitatory"] == {"neurons": val["pre_neuron_id"].nunique(), "synapses": len(val)}
    assert sum(part["synapses"] for fold in report["folds"].values() for part in fold.values()) == len(rows)
    assert report["label_conflicts"] == {"AIBS and Baylor disagree": 3, "several nuclei in one segment": 1}
    assert set(report["shared_presynaptic_neurons"].values()) == {0}


def test_unlabelled_synapses_are_counted_apart():
    rows = cohort().assign(split="test")
    rows["label"] = rows["label"].astype("Int64").mask(rows["pre_neuron_id"] < 5)
    report = audit(rows, CUBE_NM, NO_CONFLICTS)
    assert report["splits"]["test"]["unlabelled"]["neurons"] == 5
    assert report["overlapping_cubes"] == {}
