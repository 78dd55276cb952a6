"""Annotation tables against the truth they were made from: faithful where they should be, flawed as much as stated."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.simulate import tables

ROOT = 864_691_135_000_000_001
NUCLEI = "nucleus_detection_v0"
METAMODEL = "aibs_metamodel_celltypes_v661"
COLUMN = "allen_v1_column_types_slanted_ref"
BAYLOR = "baylor_log_reg_cell_type_coarse_v1"
PROOFREADING = "proofreading_status_and_strategy"
SYNAPSES = "synapses_pni_2"
REFERENCES = (METAMODEL, COLUMN, BAYLOR)
N_EXCITATORY, N_INHIBITORY, N_DENDRITES, N_FRAGMENTS = 80, 40, 60, 10


def make_truth(folder, n_synapses=1500):
    """Presynaptic neurons of both classes, neurons with dendrites only, and fragments without a nucleus."""
    rng = np.random.default_rng(3)
    n = N_EXCITATORY + N_INHIBITORY + N_DENDRITES + N_FRAGMENTS
    neurons = pd.DataFrame({"neuron_id": ROOT + 2 * rng.permutation(10 * n)[:n]})
    neurons["nucleus_id"] = np.where(np.arange(n) < n - N_FRAGMENTS, 300_000 + np.arange(n), 0)
    neurons["presynaptic"] = np.arange(n) < N_EXCITATORY + N_INHIBITORY
    neurons["label"] = 1
    neurons.loc[N_EXCITATORY : N_EXCITATORY + N_INHIBITORY + 20, "label"] = 0
    for axis in "xyz":
        neurons[f"soma_{axis}_nm"] = np.where(neurons.nucleus_id > 0, rng.uniform(-20_000, 40_000, n), np.nan)
    synapses = pd.DataFrame({"synapse_id": 2**53 + 1 + 2 * np.arange(n_synapses)})
    synapses["pre_neuron_id"] = rng.choice(neurons.neuron_id[neurons.presynaptic], n_synapses)
    synapses["post_neuron_id"] = rng.choice(neurons.neuron_id[~neurons.presynaptic], n_synapses)
    synapses["size"] = rng.integers(100, 900, n_synapses).astype(np.uint32)
    for point in ("pre", "center", "post"):
        for axis in "xyz":
            synapses[f"{point}_{axis}_nm"] = rng.uniform(2_000, 14_000, n_synapses)
    folder.mkdir(parents=True)
    neurons.to_parquet(folder / "neurons.parquet")
    synapses.to_parquet(folder / "synapses.parquet")
    return neurons, synapses


@pytest.fixture(scope="module")
def truth_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tables") / "truth"


@pytest.fixture(scope="module")
def truth(truth_dir):
    return make_truth(truth_dir)


@pytest.fixture(scope="module")
def written(truth, truth_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "tables"
    tables.write(truth_dir, out, seed=11)
    return {path.stem: pd.read_parquet(path) for path in out.glob("*.parquet")}, json.loads(
        (out / "metadata.json").read_text()
    )


@pytest.fixture(scope="module")
def frames(written):
    return written[0]


@pytest.fixture(scope="module")
def labelled(truth, frames):
    """One row per true neuron: label, and the class each table gives it (missing where it gives none)."""
    neurons, _ = truth
    nucleus_of = frames[NUCLEI].set_index("id").pt_root_id
    frame = neurons.set_index("neuron_id")
    for name, column in (
        (METAMODEL, "classification_system"),
        (COLUMN, "classification_system"),
        (BAYLOR, "cell_type"),
    ):
        rows = frames[name].assign(root=frames[name].target_id.map(nucleus_of)).dropna(subset=column)
        rows = rows[rows.root.isin(frame.index)]
        excitatory = rows[column].str.contains("excitatory")
        frame[name] = excitatory.set_axis(rows.root).astype(float)
    return frame


def test_synapses_are_the_true_ones_in_voxels_of_4x4x40_nm(truth, frames):
    _, synapses = truth
    got = frames[SYNAPSES].set_index("id").loc[synapses.synapse_id]
    assert len(got) == len(frames[SYNAPSES])
    for prefix, point in (("pre_pt", "pre"), ("ctr_pt", "center"), ("post_pt", "post")):
        for axis, voxel_nm in (("x", 4), ("y", 4), ("z", 40)):
            position = got[f"{prefix}_position_{axis}"]
            assert position.dtype == np.int64
            offset = synapses[f"{point}_{axis}_nm"].to_numpy() - position.to_numpy() * voxel_nm
            assert (offset >= 0).all()
            assert (offset < voxel_nm).all()
    np.testing.assert_array_equal(got["size"], synapses["size"])
    assert got.pre_pt_root_id.dtype == got.post_pt_root_id.dtype == np.int64


def test_a_position_known_from_microns(truth_dir, truth, tmp_path):
    """962560, 831488, 854400 nm is voxel (240640, 207872, 21360) of 4x4x40 nm."""
    neurons, synapses = truth
    folder = tmp_path / "truth"
    folder.mkdir()
    synapses = synapses.copy()
    synapses.loc[5, ["center_x_nm", "center_y_nm", "center_z_nm"]] = 962_560.0, 831_488.0, 854_400.0
    neurons.to_parquet(folder / "neurons.parquet")
    synapses.to_parquet(folder / "synapses.parquet")
    tables.write(folder, tmp_path / "out", seed=0)
    row = pd.read_parquet(tmp_path / "out" / f"{SYNAPSES}.parquet").set_index("id").loc[synapses.synapse_id[5]]
    assert [row[f"ctr_pt_position_{axis}"] for axis in "xyz"] == [240_640, 207_872, 21_360]


def test_root_ids_are_wrong_only_on_merged_axons(truth, frames):
    """Most synapses keep their partners; what moved came to an unproofread axon, of the other class."""
    neurons, synapses = truth
    label = neurons.set_index("neuron_id").label
    got = frames[SYNAPSES].set_index("id").loc[synapses.synapse_id]
    moved = got.pre_pt_root_id.to_numpy() != synapses.pre_neuron_id.to_numpy()
    assert 0.005 < moved.mean() < 0.05
    hosts = got.pre_pt_root_id[moved].unique()
    proofread = frames[PROOFREADING].loc[frames[PROOFREADING].status_axon == "t", "pt_root_id"]
    assert not set(hosts) & set(proofread)
    true_labels = label[synapses.pre_neuron_id[moved]].to_numpy()
    assert (label[got.pre_pt_root_id[moved]].to_numpy() != true_labels).all()
    for host in hosts:  # a merged axon has its own synapses as well
        assert (synapses.pre_neuron_id[got.pre_pt_root_id.to_numpy() == host] == host).any()
    other = got.post_pt_root_id.to_numpy() != synapses.post_neuron_id.to_numpy()
    autapses = (got.pre_pt_root_id == got.post_pt_root_id).to_numpy()
    np.testing.assert_array_equal(other, autapses)
    assert autapses.sum() == 2


def test_every_reference_points_at_a_nucleus(frames, written):
    for name in REFERENCES:
        assert frames[name].target_id.isin(frames[NUCLEI].id).all()
        assert not frames[name].target_id.duplicated().any()
        assert written[1][name] == {"reference_table": NUCLEI, "voxel_resolution": [4, 4, 40]}
    for name in (SYNAPSES, NUCLEI, PROOFREADING):
        assert written[1][name] == {"reference_table": None, "voxel_resolution": [4, 4, 40]}
    assert set(written[1]) == set(frames)


def test_columns_and_values_are_minnie65s(frames):
    point = [f"pt_{part}" for part in ("position_x", "position_y", "position_z", "supervoxel_id", "root_id")]
    assert set(point) < set(frames[NUCLEI])
    assert {"valid_id", "status_axon", "status_dendrite", "strategy_axon", *point} < set(frames[PROOFREADING])
    expected = {"excitatory_neuron", "inhibitory_neuron", "nonneuron"}
    assert set(frames[METAMODEL].classification_system.dropna()) == expected
    expected = {"aibs_coarse_excitatory", "aibs_coarse_inhibitory", "aibs_coarse_nonneuronal"}
    assert set(frames[COLUMN].classification_system) == expected
    assert set(frames[BAYLOR].cell_type) == {"excitatory", "inhibitory"}
    assert set(frames[PROOFREADING].status_axon) == {"t", "f"}


def test_labels_are_true_but_for_a_few_conflicts(labelled):
    pre = labelled[labelled.presynaptic]
    both = pre.dropna(subset=[METAMODEL, BAYLOR])
    conflict = both[METAMODEL] != both[BAYLOR]
    assert 0.02 < conflict.mean() < 0.06
    # AIBS's fault is calling inhibitory cells excitatory; Baylor errs the other way; the rest is the truth.
    assert (both[conflict & (both.label == 0)][METAMODEL] == 1).all()
    assert (both[conflict & (both.label == 1)][BAYLOR] == 0).all()
    assert set(both.label[conflict]) == {0, 1}
    assert (both[~conflict][METAMODEL] == both[~conflict].label).all()
    assert (pre[COLUMN].dropna() == pre.label[pre[COLUMN].notna()]).all()


def test_coverage_is_partial(labelled, frames):
    assert 0.1 < labelled[COLUMN].notna().mean() < 0.5
    pre = labelled[labelled.presynaptic]
    nowhere = pre[list(REFERENCES)].isna().all(axis=1)
    orphans = ~pre.index.isin(frames[NUCLEI].pt_root_id)
    assert orphans.sum() == 3  # 2% of 80 and of 40
    assert orphans[nowhere].sum() == 3
    assert (nowhere & ~orphans).sum() >= 3  # has a soma, but in no table of cell types
    assert frames[METAMODEL].classification_system.isna().any()
    assert (frames[NUCLEI].pt_root_id == 0).any()
    assert not frames[PROOFREADING].pt_root_id.isin(labelled.index[labelled.nucleus_id == 0]).any()


def test_a_tenth_of_the_axons_is_not_proofread(labelled, frames):
    status = frames[PROOFREADING].set_index("pt_root_id").status_axon
    pre = labelled[labelled.presynaptic & labelled.index.isin(frames[NUCLEI].pt_root_id)]
    unproofread = pre[pre.index.map(status) != "t"]
    assert len(unproofread) == 12
    assert (unproofread.label == 0).sum() == 4
    assert set(unproofread.index.map(status).fillna("none")) == {"f", "none"}  # listed for the dendrite, or not at all
    assert (status[status.index.isin(labelled.index[~labelled.presynaptic])] == "f").all()


def test_enough_neurons_stay_usable(labelled, frames):
    """The demo needs 80 presynaptic neurons, 25 of them inhibitory; the default simulation has 90 and 45."""
    status = frames[PROOFREADING].set_index("pt_root_id").status_axon
    aibs = labelled[COLUMN].fillna(labelled[METAMODEL])
    agreed = aibs.isna() | labelled[BAYLOR].isna() | (aibs == labelled[BAYLOR])
    label = aibs.fillna(labelled[BAYLOR])
    usable = labelled[(labelled.index.map(status) == "t") & agreed & label.notna()]
    assert len(usable) >= 0.8 * (N_EXCITATORY + N_INHIBITORY)
    assert (usable.label == 0).sum() >= 0.75 * N_INHIBITORY
    assert (label[usable.index] == usable.label).mean() > 0.98


def test_bytes_depend_on_the_seed_alone(truth, truth_dir, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        tables.write(truth_dir, tmp_path / name, seed)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert any((tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes() for name in files)
