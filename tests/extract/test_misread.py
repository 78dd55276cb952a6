"""Cubes cut with the units mistake: which sections they show, where the others come from, and what stays as it was."""

import contextlib

import numpy as np
import pandas as pd
import pytest
import zarr
from cloudvolume import CloudVolume
from extract_volumes import OFFSET, synapse_table, texture, write_volume

from pipeline import __main__, artefacts, blocks, compute, config
from pipeline.extract import misread, patches
from pipeline.learn import run as training
from pipeline.space import VoxelFrame

SIZE = (96, 96, 200)  # XYZ voxels: two steps of 40 sections on either side of the middle


@pytest.fixture
def em_path(tmp_path):
    return write_volume(tmp_path / "em", texture(SIZE), (8, 8, 40), OFFSET, encoding="raw")


@pytest.fixture
def synapses():
    """One in the middle section, one near the top."""
    return synapse_table(np.array(OFFSET) + [[48, 48, 100], [40, 50, 10]])


def _cubes(folder):
    index = pd.read_parquet(folder / "index.parquet")["synapse_id"]
    return dict(zip(index, zarr.open_group(folder / "images.zarr", mode="r")["cube"][:], strict=True))


def _extract(synapses, em_path, settings, out, client, seed=0):
    misread.extract(synapses, em_path, settings, out, client, seed)
    return _cubes(out)


def test_slices_are_every_fortieth_section_and_else_other_places_of_the_volume(
    tmp_path, em_path, synapses, settings, client
):
    cubes = _extract(synapses, em_path, settings, tmp_path / "misread", client)
    whole = CloudVolume(em_path, progress=False)[:][..., 0].transpose(2, 1, 0)  # the oracle, [Z, Y, X]
    depth, height, width = settings.cube_zyx
    for synapse_id, (x, y, z), at_steps in ((1000, (48, 48, 100), (-2, -1, 0, 1, 2)), (1001, (40, 50, 10), range(4))):
        cube = cubes[synapse_id]
        rows, columns = slice(y - height // 2, y + height // 2), slice(x - width // 2, x + width // 2)
        for step in at_steps:
            assert (cube[depth // 2 + step] == whole[z + 40 * step, rows, columns]).all()
        for other in set(range(depth)) - {depth // 2 + step for step in at_steps}:
            assert cube[other].std() > 5, "tissue, and no filling"
            assert not (cube[other] == whole[:, rows, columns]).all(axis=(1, 2)).any(), "from elsewhere in the section"


def test_the_prior_works_cube_spans_51_um():
    settings = config.Extract(cube_zyx=(32, 128, 128))
    deep = [[0, 0, 0], [10_000, 10_000, 13_000]]
    places, inside = misread.slice_centers([40_000.0, 40_000.0, 240_000.0], settings, VoxelFrame((8, 8, 40)), deep, 0)
    assert inside.all()
    assert np.diff(places[:, 2]).tolist() == [1600.0] * 31
    assert places[-1, 2] + 1600 - places[0, 2] == pytest.approx(51_000, rel=0.01)
    assert (places[16] == [40_000, 40_000, 240_000]).all()
    assert (places[:, :2] == 40_000).all()


def test_all_but_the_cubes_is_as_in_a_right_extraction(tmp_path, em_path, synapses, settings, client):
    _extract(synapses, em_path, settings, tmp_path / "misread", client)
    patches.extract(synapses, em_path, settings, tmp_path / "right", client)
    assert patches.store(tmp_path / "misread").damage().empty
    quality = {name: pd.read_parquet(tmp_path / name / "quality.parquet") for name in ("right", "misread")}
    assert (quality["right"].dtypes == quality["misread"].dtypes).all()
    same = ["synapse_id", "patch_sha256", "patch_mean", "patch_padded", "center_offset_vx"]
    pd.testing.assert_frame_equal(quality["right"][same], quality["misread"][same])
    assert (quality["right"]["cube_sha256"] != quality["misread"]["cube_sha256"]).all()


def test_places_depend_on_the_seed_and_not_on_other_synapses(tmp_path, em_path, synapses, settings, client):
    both = _extract(synapses, em_path, settings, tmp_path / "both", client)
    alone = _extract(synapses[1:], em_path, settings, tmp_path / "alone", client)
    other = _extract(synapses, em_path, settings, tmp_path / "other", client, seed=1)
    assert (both[1001] == alone[1001]).all()
    differ = (both[1001] != other[1001]).any(axis=(1, 2))
    assert differ.tolist() == [True] * 4 + [False] * 4  # above the volume, and in it


def test_what_another_seed_began_is_not_gone_on_with(tmp_path, em_path, synapses, settings, client, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(blocks.Work, "publish", killed)
        misread.extract(synapses, em_path, settings, tmp_path / "patches", client, seed=0)
    resumed = _extract(synapses, em_path, settings, tmp_path / "patches", client, seed=1)
    fresh = _extract(synapses, em_path, settings, tmp_path / "fresh", client, seed=1)
    assert all((resumed[synapse_id] == fresh[synapse_id]).all() for synapse_id in fresh)


def cohort(n_neurons, synapses_each, seed=0):
    """Neurons of which a tenth is inhibitory, in three splits, and their synapses by id."""
    rng = np.random.default_rng(seed)
    neurons = pd.DataFrame({"pre_neuron_id": 100 + np.arange(n_neurons)})
    neurons["label"] = (np.arange(n_neurons) % 10 > 0).astype(int)
    neurons["split"] = np.array(["train", "train", "val", "test"])[np.arange(n_neurons) // 10 % 4]
    rows = neurons.loc[np.repeat(neurons.index, synapses_each)].reset_index(drop=True)
    return rows.assign(synapse_id=np.sort(rng.choice(10**9, len(rows), replace=False)))


def test_a_small_cohort_is_used_whole():
    rows = cohort(50, 40)
    assert len(rows) == misread.MOST
    pd.testing.assert_frame_equal(misread.sample(rows, seed=0), rows)


@pytest.mark.parametrize(("n_neurons", "synapses_each"), [(80, 200), (4000, 20)])
def test_of_a_large_cohort_every_class_and_split_has_its_share_from_as_many_neurons_as_can_be(n_neurons, synapses_each):
    rows = cohort(n_neurons, synapses_each)
    found = misread.sample(rows, seed=1)
    assert len(found) == pytest.approx(misread.MOST, abs=5)
    assert found["synapse_id"].is_monotonic_increasing
    whole, part = (table.groupby(["split", "label"]) for table in (rows, found))
    np.testing.assert_allclose(part.size() / len(found), whole.size() / len(rows), atol=0.002)
    neurons = part["pre_neuron_id"].nunique()
    assert (neurons == np.minimum(part.size(), whole["pre_neuron_id"].nunique())).all()
    each = found.groupby("pre_neuron_id").size()
    assert each.max() - each.min() <= 1
    shuffled = misread.sample(rows.sample(frac=1, random_state=2), seed=1)
    assert sorted(shuffled["synapse_id"]) == found["synapse_id"].tolist()
    assert set(misread.sample(rows, seed=2)["synapse_id"]) != set(found["synapse_id"])


@pytest.mark.parametrize("n_neurons", [40, 80])
def test_the_right_network_sees_no_more_synapses_than_the_misread_one(
    tmp_path, monkeypatch, edition_environment, n_neurons
):
    """Of a large cohort both are trained on the sample; of a small one the edition's own network is the right one."""
    trained = []

    def train(stores, synapses, model, run_dir, predictions, seed):
        trained.append((stores["em"], run_dir.name, len(rows := pd.read_parquet(synapses))))
        artefacts.write_parquet(predictions, rows.assign(p_excitatory=0.5))

    def extract(synapses, em_path, settings, out, client, seed):
        artefacts.write_json(out / "manifest.json", {"n": len(synapses)})

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(misread, "extract", extract)
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())
    edition = tmp_path / "mine.yaml"
    edition.write_text("source: {kind: cave}\nmodels: [{name: cube, network: unet3d}]\n")
    build = artefacts.Build("mine", tmp_path / "build")
    rows = cohort(n_neurons, 50)
    artefacts.write_parquet(build.synapses, rows)
    artefacts.write_json(build.cohort / "volume.json", {"em_path": "precomputed://file:///nowhere"})
    artefacts.write_json(build.patches / "manifest.json", {})
    command = ["units", "--config", str(edition), "--build", str(tmp_path / "build")]
    assert __main__.main(command) == 0
    wrong = (build.units / "patches", "cube", min(len(rows), misread.MOST))
    right = (build.patches, "cube-right", misread.MOST)
    assert trained == ([wrong] if n_neurons == 40 else [right, wrong])
    assert (build.units / "right.parquet").exists() == (n_neurons > 40)
    assert artefacts.read_json(build.units / "model.json") == {"model": "cube"}
