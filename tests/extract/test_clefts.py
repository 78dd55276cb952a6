"""Samples of clefts against plain slices of the arrays that the volumes were made of; their faults, regions and ids."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr
from cloudvolume import CloudVolume
from extract_volumes import texture, write_volume
from scipy import ndimage

from pipeline import config, stores
from pipeline.artefacts import sha256
from pipeline.columns import CENTER_NM as CENTER
from pipeline.extract import clefts, listing
from pipeline.extract.boxes import Grid, bounds_on, resampled
from pipeline.extract.volume import ExtractionError, Volume
from pipeline.space import VoxelFrame

SIZE, OFFSET, RESOLUTION = np.array((128, 72, 24)), np.array((40, 30, 7)), np.array((8, 8, 40))  # XYZ
PRE, POST = 2**60 + 1, 2**60 + 3  # not told apart by a float
SETTINGS = config.Partners(voxel_nm=(8, 8, 40), patch_zyx=(6, 16, 16), margin_vx=2, background=0)
SHAPE = (6, 20, 20)


def write_labels(folder, labels_xyz, resolution=RESOLUTION, offset=OFFSET):
    path = f"precomputed://file://{folder}"
    info = CloudVolume.create_new_info(
        1,
        "segmentation",
        str(labels_xyz.dtype),
        "compressed_segmentation",
        [int(nm) for nm in resolution],
        [int(vx) for vx in offset],
        labels_xyz.shape,
        chunk_size=(32, 32, 8),
    )
    volume = CloudVolume(path, info=info, progress=False)
    volume.commit_info()
    volume[:] = labels_xyz
    return path


@pytest.fixture(scope="session")
def tissue(tmp_path_factory):
    """Two cells, `PRE` below `POST` along Y, with eight clefts on their border: arrays [X, Y, Z], paths, synapses."""
    folder = tmp_path_factory.mktemp("tissue")
    em = texture(SIZE)
    x, y, z = np.indices(SIZE)
    segmentation = np.where(y < 34, PRE, np.where(y >= 37, POST, 0)).astype(np.uint64)
    marks = np.zeros(SIZE, np.uint32)
    middles = [(mx, mz) for mx in (0, 25, 50, 85, 94, 118) for mz in (5, 17)][:-1]
    for number, (mx, mz) in enumerate(middles):
        marks[(np.abs(x - mx) < 4) & (np.abs(z - mz) < 3) & (y >= 34) & (y < 37)] = 501 + number
    synapses = pd.DataFrame(
        (np.array([(mx, 35, mz) for mx, mz in middles]) + OFFSET) * RESOLUTION.astype(float), columns=CENTER
    )
    synapses.insert(0, "synapse_id", 501 + np.arange(len(middles)))
    synapses["pre_segment_id"], synapses["post_segment_id"] = np.uint64(PRE), np.uint64(POST)
    paths = {
        "em": write_volume(folder / "em", em, RESOLUTION.tolist(), OFFSET.tolist(), (32, 32, 8), "raw"),
        "segmentation": write_labels(folder / "segmentation", segmentation),
        "clefts": write_labels(folder / "clefts", marks),
    }
    return {"em": em, "segmentation": segmentation, "clefts": marks}, paths, synapses


class Store:
    def __init__(self, folder):
        self.arrays = zarr.open_group(folder / "samples.zarr", mode="r")
        self.index = pd.read_parquet(folder / "index.parquet")
        self.segments = pd.read_parquet(folder / "segments.parquet")
        self.manifest = json.loads((folder / "manifest.json").read_text())

    def ids(self, row):
        """The row's segments with their ids in the volume."""
        mine = self.segments[self.segments["row"] == row]
        table = np.concatenate([[np.uint64(0)], mine["segment_id"].to_numpy()])
        assert mine["local"].tolist() == list(range(1, len(table)))
        return table[self.arrays["segments"][row]]


def cut(synapses, paths, out, settings=SETTINGS, **more):
    return Store(clefts.cut(synapses, paths, settings, out, **more))


def box(array_xyz, middle_xyz, step, mode):
    """The [Z, Y, X] voxels of a sample about a voxel of an array, `step` voxels apart, padded as NumPy does."""
    reach = 40
    padded = np.pad(array_xyz, reach, mode=mode)
    grid = [m + reach + (np.arange(n) - n // 2) * s for m, n, s in zip(middle_xyz, SHAPE[::-1], step, strict=True)]
    return padded[np.ix_(*grid)].transpose(2, 1, 0)


@pytest.mark.parametrize("step", [(1, 1, 1), (2, 2, 1)])
def test_samples_are_slices_of_the_volumes(tissue, tmp_path, step):
    arrays, paths, synapses = tissue
    settings = SETTINGS.model_copy(update={"voxel_nm": tuple(float(nm) for nm in RESOLUTION * step)})
    store = cut(synapses.assign(region="test"), paths, tmp_path / "store", settings)
    assert sorted(store.index["synapse_id"]) == synapses["synapse_id"].tolist()
    for row in store.index.itertuples():
        own = np.argwhere(arrays["clefts"] == row.synapse_id)
        middle = own[np.linalg.norm((own - own.mean(axis=0)) * RESOLUTION, axis=1).argmin()]
        assert [getattr(row, name) for name in CENTER] == ((middle + OFFSET) * RESOLUTION).tolist()
        marks = box(arrays["clefts"], middle, step, "constant")
        expected = np.where(marks == row.synapse_id, 1, np.where(marks > 0, 2, 0))
        np.testing.assert_array_equal(store.arrays["cleft"][row.row], expected)
        assert (expected == 1).any()
        np.testing.assert_array_equal(store.ids(row.row), box(arrays["segmentation"], middle, step, "constant"))
        if step == (1, 1, 1):
            np.testing.assert_array_equal(store.arrays["em"][row.row], box(arrays["em"], middle, step, "reflect"))
        outside = box(np.ones(SIZE), middle, step, "constant") == 0
        assert row.padded == pytest.approx(outside.mean())
        low, high = own.min(axis=0), own.max(axis=0)
        assert row.at_edge == ((low == 0) | (high == SIZE - 1)).any()
        assert (row.pre_segment_id, row.post_segment_id) == (PRE, POST)
    assert store.index["at_edge"].any()
    assert (store.arrays["cleft"][:] == 2).any()


def test_clefts_may_come_as_zarr_and_workers_and_points_change_nothing(tissue, tmp_path, client):
    arrays, paths, synapses = tissue
    synapses = synapses.assign(region="test")
    store = cut(synapses, paths, tmp_path / "a")
    where = {"resolution_nm": RESOLUTION.astype(float).tolist(), "offset_vx": OFFSET.tolist()}
    zarr.create_array(tmp_path / "clefts.zarr", data=arrays["clefts"].transpose(2, 1, 0), attributes=where)
    cut(synapses, paths | {"clefts": tmp_path / "clefts.zarr"}, tmp_path / "b", client=client)
    beside = synapses.assign(center_x_nm=synapses["center_x_nm"] + 3 * 8)  # still on the cleft
    moved = cut(beside, paths, tmp_path / "c")
    for name in ("samples.zarr", "index.parquet", "segments.parquet"):
        assert sha256(tmp_path / "a" / name) == sha256(tmp_path / "b" / name)
    assert moved.index.equals(store.index)


KILLED = """
import os, signal, sys
import pandas as pd
sys.path.insert(0, sys.argv[1])
import test_clefts as t
cut, calls = t.clefts.cut_sample, []
def dying(*arguments):
    calls.append(0)
    if len(calls) == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return cut(*arguments)
t.clefts.cut_sample, t.clefts.BLOCK_ROWS = dying, 2
paths = {name: f"{sys.argv[2]}/{name}" for name in ("em", "segmentation", "clefts")}
t.clefts.cut(pd.read_parquet(sys.argv[3]), paths, t.SETTINGS, sys.argv[4])
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tissue, tmp_path, monkeypatch):
    _, paths, synapses = tissue
    synapses.to_parquet(tmp_path / "synapses.parquet")
    here, volumes = Path(__file__).parent, paths["em"].removesuffix("/em")
    command = [sys.executable, "-c", KILLED, here, volumes, tmp_path / "synapses.parquet", tmp_path / "killed"]
    assert subprocess.run([str(part) for part in command], cwd=here.parents[1]).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    (journal,) = tmp_path.glob(".killed-work/samples.*.jsonl")
    assert len(journal.read_text().splitlines()) == 3
    calls, cut_sample = [], clefts.cut_sample
    monkeypatch.setattr(clefts, "BLOCK_ROWS", 2)
    monkeypatch.setattr(clefts, "cut_sample", lambda *args: calls.append(args[0]) or cut_sample(*args))
    cut(synapses, paths, tmp_path / "killed")
    assert len(calls) == len(synapses) - 6
    cut(synapses, paths, tmp_path / "fresh")
    assert sha256(tmp_path / "killed") == sha256(tmp_path / "fresh")
    assert not (tmp_path / ".killed-work").exists()


#: Digests of the tissue's samples by format. Where samples change on purpose, raise FORMAT and add the new ones.
DIGESTS = {
    1: {
        "em": "ea73cb4732820e3496954d2de5c621442ca24de0586923166fe291f7a1fd4bfd",
        "cleft": "d3361053fa2544f7c0335009f212135a23cf3c5655e79901e283380a5132c986",
        "segments": "d333f065bff436e7d466aeb303b90736a2061a1ce1262b3ea797bb54a749afb2",
    }
}


def test_samples_are_those_of_the_format(tissue, tmp_path):
    """Code is no part of the plan: without a new FORMAT, stores of old samples would pass for those of new code."""
    _, paths, synapses = tissue
    pixels = np.random.default_rng(0).integers(1, 256, SIZE, np.uint8)
    em = write_volume(tmp_path / "em", pixels, RESOLUTION.tolist(), OFFSET.tolist(), (32, 32, 8), "raw")
    for name, settings in (("fine", SETTINGS), ("coarse", SETTINGS.model_copy(update={"voxel_nm": (16, 16, 40)}))):
        cut(synapses.assign(region="test"), paths | {"em": em}, tmp_path / name, settings)
    both = pd.concat([pd.read_parquet(tmp_path / name / "index.parquet") for name in ("fine", "coarse")])
    digests = stores.digests(tmp_path, both)
    assert DIGESTS[clefts.FORMAT] == digests, "samples changed: raise clefts.FORMAT and add these digests"


def test_training_and_validation_share_no_voxel(tissue, tmp_path):
    arrays, paths, synapses = tissue
    settings = SETTINGS.model_copy(update={"val_fraction": 0.25, "background": 2.0})
    store = cut(synapses, paths, tmp_path / "store", settings, seed=4)
    border = (OFFSET[0] + 96) * 8  # three quarters of 128 voxels
    real = store.index[store.index["synapse_id"] > 0]
    first = store.index["center_x_nm"] - 10 * 8
    last = first + 20 * 8
    train = store.index["region"] == "train"
    assert (last[train] <= border).all()
    assert (first[store.index["region"] == "val"] >= border).all()
    assert (real["region"].value_counts()[["train", "val", "border"]] > 0).all()
    assert (real["region"] == "border").sum() == 2, "those at 94 of 96 voxels"
    background = store.index[store.index["synapse_id"] == 0]
    assert len(background) == 2 * len(synapses)
    assert (background["region"] == "train").all()
    assert not (store.arrays["cleft"][:][background["row"]] == 1).any()
    again = cut(synapses, paths, tmp_path / "again", settings, seed=5)
    assert not again.index.equals(store.index)


def test_without_cleft_volume_the_contact_zone_stands_in(tissue, tmp_path):
    _, paths, synapses = tissue
    store = cut(synapses.assign(region="test"), paths | {"clefts": None}, tmp_path / "store")
    assert (store.index["fault"] == "").all()
    for row in store.index["row"]:
        zone = store.arrays["cleft"][row] == 1
        assert zone[3, 10, 10]
        touched = set(store.ids(row)[ndimage.binary_dilation(zone)])
        assert {PRE, POST} <= touched


def test_what_gives_no_sample_says_why(tissue, tmp_path):
    """An unknown cleft, a point outside, and, where clefts are derived, none or one segment at the point."""
    arrays, paths, synapses = tissue
    odd = synapses.head(3).assign(region="test").reset_index(drop=True)
    odd.loc[1, "synapse_id"] = 77
    odd.loc[2, "center_z_nm"] = 1e6
    store = cut(odd, paths, tmp_path / "a")
    faults = store.index.set_index("synapse_id")["fault"].to_dict()
    assert faults == {501: "", 77: "empty_mask", 503: "frame_mismatch"}
    lone = arrays["segmentation"].copy()
    lone[:85][lone[:85] == POST] = 0  # no second partner in one part of the volume
    lone[:20] = 0
    alone = write_labels(tmp_path / "lone", lone)
    points = synapses.iloc[[0, 4, 10]].assign(region="test")
    store = cut(points, {"em": paths["em"], "segmentation": alone}, tmp_path / "b")
    faults = store.index.set_index("synapse_id")["fault"].to_dict()
    assert faults == {501: "no_segment", 505: "one_segment", 511: ""}
    empty = store.index["fault"] != ""
    assert not store.arrays["em"][:][empty].any()
    assert store.manifest["faults"] == {"no_segment": 1, "one_segment": 1}


@pytest.mark.parametrize(
    ("resolution", "offset", "what"),
    [((12, 12, 40), OFFSET, "no multiple or fraction"), (RESOLUTION, (0, 0, 0), "not within the EM's")],
)
def test_segmentation_on_another_grid_gives_no_samples(tissue, tmp_path, resolution, offset, what):
    arrays, paths, synapses = tissue
    other = write_labels(tmp_path / "other", arrays["segmentation"], resolution, offset)
    store = cut(synapses.assign(region="test"), paths | {"segmentation": other}, tmp_path / "store")
    assert (store.index["fault"] == "frame_mismatch").all()
    assert what in store.manifest["frame_mismatch"]


def test_segmentation_of_coarser_voxels_is_read_by_place(tissue, tmp_path):
    """Half the resolution in the plane, on the same grid: the same samples, but for the membrane's odd voxel."""
    arrays, paths, synapses = tissue
    coarse = write_labels(
        tmp_path / "coarse", arrays["segmentation"][::2, ::2], RESOLUTION * (2, 2, 1), OFFSET // (2, 2, 1)
    )
    store = cut(synapses.assign(region="test"), paths | {"segmentation": coarse}, tmp_path / "store")
    repeated = arrays["segmentation"][::2, ::2].repeat(2, 0).repeat(2, 1)
    for row in store.index.itertuples():
        middle = np.rint([getattr(row, name) for name in CENTER] / RESOLUTION).astype(int) - OFFSET
        np.testing.assert_array_equal(store.ids(row.row), box(repeated, middle, (1, 1, 1), "constant"))


def test_tables_that_cannot_be_exact_are_refused(tissue, tmp_path):
    _, paths, synapses = tissue
    out = tmp_path / "store"
    with pytest.raises(ExtractionError, match=r"pre_segment_id holds float64, which is not exact above 2\^53"):
        cut(synapses.astype({"pre_segment_id": float}), paths, out)
    with pytest.raises(ExtractionError, match="synapse_id 0 .* is out of range"):
        cut(synapses.replace({"synapse_id": {501: 0}}), paths, out)
    with pytest.raises(ExtractionError, match="region is train, val or test, not"):
        cut(synapses.assign(region="left"), paths, out)
    with pytest.raises(ExtractionError, match="no path for"):
        cut(synapses, {"em": paths["em"]}, out)
    with pytest.raises(ExtractionError, match="no Zarr array at"):
        cut(synapses, paths | {"clefts": tmp_path / "none.zarr"}, out)
    assert not out.exists()


def test_missing_chunks_name_the_synapse(tissue, tmp_path):
    arrays, paths, synapses = tissue
    broken = write_labels(tmp_path / "broken", arrays["segmentation"])
    for chunk in (tmp_path / "broken" / "8_8_40").iterdir():
        chunk.unlink()
    with pytest.raises(ExtractionError, match=r"synapse 50\d: missing chunk .*restart"):
        cut(synapses, paths | {"segmentation": broken}, tmp_path / "store")


@pytest.mark.parametrize("block", [(32, 512, 512), (5, 17, 30)])
def test_the_clefts_of_a_volume_are_listed(tissue, block):
    """Centres, sizes and ids from the volume alone are those of the annotation, and SciPy's."""
    arrays, paths, synapses = tissue
    listed = listing.list_clefts(paths["clefts"], block)
    assert listed["synapse_id"].tolist() == synapses["synapse_id"].tolist()
    ids = listed["synapse_id"].to_numpy()
    sizes = ndimage.sum_labels(np.ones(SIZE), arrays["clefts"], ids)
    assert listed["size_vx"].tolist() == sizes.tolist()
    centroid = np.array(ndimage.center_of_mass(np.ones(SIZE), arrays["clefts"], ids)) + OFFSET
    assert (np.abs(listed[CENTER] / RESOLUTION - centroid) <= 0.5).all(axis=None)


def test_model_voxels_hold_the_greys_of_their_places(tmp_path):
    """On a linear ramp a cubic kernel is exact, so that every voxel's grey tells where it lies."""
    x, y, _ = np.indices(SIZE)
    em = write_volume(tmp_path / "em", (x + y).astype(np.uint8), RESOLUTION.tolist(), OFFSET.tolist(), encoding="raw")
    volume, coarse = Volume(em, (16.0, 16.0, 40.0)), VoxelFrame((16.0, 16.0, 40.0))
    assert bounds_on(coarse, volume).tolist() == [[20, 15, 7], [84, 51, 31]]
    pixels = resampled(volume, Grid.of_voxels(np.array((24, 20, 9)), (70, 45, 20), coarse)).pixels
    place = np.arange(24, 70) * 2 + 0.5 - OFFSET[0], np.arange(20, 45) * 2 + 0.5 - OFFSET[1]
    np.testing.assert_array_equal(pixels, np.broadcast_to(place[1][:, None] + place[0], (11, 25, 46)))
    bounds = bounds_on(volume.frame, volume)
    whole = resampled(volume, Grid.of_voxels(*bounds, volume.frame)).pixels
    np.testing.assert_array_equal(whole, volume.read(*bounds)[0])


@pytest.mark.parametrize("voxel_nm", [(12.0, 12.0, 30.0), (16.0, 16.0, 40.0)])
def test_real_contact_zones_touch_both_true_partners(real_data, tmp_path, voxel_nm):
    """A third of Kasthuri AC3's synapses (all 71 were checked once), whose membranes are labelled 0."""
    folder = real_data / "kasthuri_ac3"
    synapses = pd.read_csv(folder / "synapses.csv").iloc[::3]
    synapses[CENTER] = synapses[["x_vx", "y_vx", "z_vx"]] * [6.0, 6.0, 30.0]
    paths = {name: f"precomputed://file://{folder.resolve()}/{name}" for name in ("em", "segmentation")}
    settings = config.Partners(voxel_nm=voxel_nm)
    store = cut(synapses.assign(region="test"), paths, tmp_path / "store", settings)
    assert len(store.index) == len(synapses)
    for row in store.index.itertuples():
        touched = set(store.ids(row.row)[store.arrays["cleft"][row.row] == 1])
        assert {row.pre_segment_id, row.post_segment_id} <= touched, row.synapse_id
