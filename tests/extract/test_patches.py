"""Extraction on small volumes against direct reads, and its answers to bad input."""

import errno
import functools
import http.server
import threading

import numpy as np
import pandas as pd
import pytest
import zarr
from cloudvolume import CloudVolume
from extract_volumes import OFFSET, SIZE, synapse_table, texture, write_volume
from imageryclient import ImageryClient

from pipeline import artefacts, compute, config, locks, shards
from pipeline.columns import CENTER_NM as CENTER
from pipeline.extract import patches
from pipeline.extract.patches import extract, store
from pipeline.extract.volume import ExtractionError, Volume
from pipeline.learn import data


def images(folder):
    """{synapse_id: (patch, cube)} of a patches folder."""
    group, index = zarr.open_group(folder / "images.zarr", mode="r"), pd.read_parquet(folder / "index.parquet")
    stored = [group[name][:][index["row"]] for name in ("patch", "cube")]
    return dict(zip(index["synapse_id"], zip(*stored, strict=True), strict=True))


def interior(settings, n=25):
    """Synapses whose boxes lie inside the volume."""
    half = np.array([settings.patch_px, settings.patch_px, settings.cube_zyx[0]]) // 2
    low, high = np.array(OFFSET) + half, np.array(OFFSET) + SIZE - half
    return synapse_table(np.random.default_rng(3).integers(low, high, size=(n, 3)))


def chunk_file(em_path, name):
    return artefacts.Path(em_path.removeprefix("precomputed://file://")) / "8_8_40" / name


def test_pixels_are_those_of_cloudvolume_and_imageryclient(tmp_path, em_path, settings, client):
    synapses = interior(settings)
    extract(synapses, em_path, settings, tmp_path / "patches", client)
    volume = CloudVolume(em_path, progress=False)
    imagery = ImageryClient(image_source=em_path, segmentation=False, resolution=(4, 4, 40))
    got = images(tmp_path / "patches")
    assert sorted(got) == synapses["synapse_id"].tolist()
    z, y, x = settings.cube_zyx
    for row in synapses.itertuples():
        point = np.array([row.center_x_nm, row.center_y_nm, row.center_z_nm]) / [4, 4, 40]
        patch, cube = got[row.synapse_id]
        px = settings.patch_px
        direct = volume.download_point(point, size=(px, px, 1), coord_resolution=(4, 4, 40))[:, :, 0, 0]
        assert (patch == direct.T).all()
        direct = volume.download_point(point, size=(x, y, z), coord_resolution=(4, 4, 40))[..., 0]
        assert (cube == direct.transpose(2, 1, 0)).all()
        cutout = np.squeeze(imagery.image_cutout(point, bbox_size=(2 * x, 2 * y, z)))
        assert (cube == cutout.transpose(2, 1, 0)).all()
    quality = pd.read_parquet(tmp_path / "patches" / "quality.parquet")
    assert quality["center_offset_vx"].max() == pytest.approx(0.5)  # a point is its voxel's corner
    assert (quality[["patch_padded", "cube_padded"]] == 0).all(axis=None)
    assert store(tmp_path / "patches").damage().empty


def test_over_http_as_from_disk(tmp_path, em_path, settings, synapses, client):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        url = f"precomputed://http://127.0.0.1:{server.server_port}/em"
        extract(synapses, url, settings, tmp_path / "http", client)
        server.shutdown()
    extract(synapses, em_path, settings, tmp_path / "disk", client)
    http_manifest, manifest = (artefacts.read_json(tmp_path / p / "manifest.json") for p in ("http", "disk"))
    assert http_manifest["sha256"] == manifest["sha256"]


def test_edge_is_reflected_as_numpy_does_and_flagged(tmp_path, em_path, settings, synapses, client):
    extract(synapses, em_path, settings, tmp_path / "patches", client)
    whole = CloudVolume(em_path, progress=False)[:][..., 0].transpose(2, 1, 0)
    margin = np.array([8, 48, 48])
    padded = np.pad(whole, [(m, m) for m in margin], mode="reflect")
    inside = np.pad(np.ones(whole.shape), [(m, m) for m in margin])
    got = images(tmp_path / "patches")
    quality = pd.read_parquet(tmp_path / "patches" / "quality.parquet").set_index("synapse_id")
    for synapse_id, *center_nm in synapses.itertuples(index=False):
        center = (np.array(center_nm) / [8, 8, 40] - OFFSET).astype(int)[::-1] + margin
        shapes = {"patch": np.array([1, settings.patch_px, settings.patch_px]), "cube": np.array(settings.cube_zyx)}
        for (name, shape), pixels in zip(shapes.items(), got[synapse_id], strict=True):
            box = tuple(slice(c - n // 2, c - n // 2 + n) for c, n in zip(center, shape, strict=True))
            assert (pixels == np.squeeze(padded[box])).all()
            assert quality.loc[synapse_id, f"{name}_padded"] == pytest.approx(1 - inside[box].mean())


def test_drop_leaves_out_exactly_the_boxes_beyond_the_volume(tmp_path, em_path, settings, synapses, client):
    extract(synapses, em_path, settings, tmp_path / "reflect", client)
    extract(synapses, em_path, settings.model_copy(update={"edge": "drop"}), tmp_path / "drop", client)
    quality = pd.read_parquet(tmp_path / "reflect" / "quality.parquet")
    beyond = quality["synapse_id"][(quality["patch_padded"] > 0) | (quality["cube_padded"] > 0)]
    dropped = pd.read_csv(tmp_path / "drop" / "dropped.csv")
    assert 0 < len(beyond) < len(synapses)
    assert set(dropped["synapse_id"]) == set(beyond)
    kept, everything = images(tmp_path / "drop"), images(tmp_path / "reflect")
    assert set(kept) == set(synapses["synapse_id"]) - set(beyond)
    assert all((kept[i][1] == everything[i][1]).all() for i in kept)


def test_coarser_scale_is_used_when_it_matches_the_model(tmp_path, em_path):
    volume = CloudVolume(em_path, progress=False)
    volume.add_scale((2, 2, 1))
    volume.commit_info()
    assert Volume(em_path, (8, 8, 40)).mip == 0
    assert Volume(em_path, (16, 16, 40)).mip == 1
    assert Volume(em_path, (12, 12, 40)).mip == 0  # finer than the model's voxels: filtered down
    assert Volume(em_path, (4, 4, 40)).mip == 0  # nothing finer there is


def test_workers_and_row_order_change_nothing(tmp_path, em_path, settings, synapses, client, monkeypatch):
    monkeypatch.setattr(shards, "MAX_ROWS", 64)
    extract(synapses, em_path, settings, tmp_path / "one", client)
    with compute.workers(config.Compute(workers=2)) as two:
        extract(synapses.sample(frac=1, random_state=1), em_path, settings, tmp_path / "two", two)
    assert artefacts.sha256(tmp_path / "one") == artefacts.sha256(tmp_path / "two")


def test_centres_outside_the_volume(tmp_path, em_path, settings, synapses, client):
    synapses.loc[3, CENTER] = [120.0, 220.0, 60.0]  # voxels given for nanometres
    synapses.loc[5, "center_x_nm"] = np.nan
    with pytest.raises(ExtractionError) as error:
        extract(synapses, em_path, settings, tmp_path / "patches", client)
    text = str(error.value)
    assert "2 of 40 synapses lie outside" in text
    assert "synapse 1003: center [120.0, 220.0, 60.0] nm" in text
    assert "synapse 1005" in text
    assert "[800.0, 1600.0, 2000.0] to [2336.0, 2880.0, 3920.0] nm" in text
    assert "that is [100, 200, 50] to [292, 360, 98] in its voxels of 8 x 8 x 40 nm" in text
    assert "fit in no other units either" in text
    assert not (tmp_path / "patches").exists()


@pytest.mark.parametrize(
    ("written", "advice"),
    [
        (lambda vx: vx * [8, 8, 40], r"were nanometres \(give voxels\)"),
        (lambda vx: vx - [100, 200, 50], r"from the volume's first voxel \(add its offset \[100, 200, 50\]\)"),
        (lambda vx: vx[:, ::-1], "if X and Z were exchanged"),
        (lambda vx: vx * [2, 2, 1], "were voxels of 4 x 4 x 40 nm, as CAVE's tables"),
    ],
)
def test_positions_in_other_units_are_recognised(tmp_path, em_path, settings, synapses, client, written, advice):
    """What a user writes into `synapses.csv` as voxels, of positions that lie in the volume."""
    vx = np.array([[110, 215, 60], [280, 350, 90]])
    table = synapses.head(2).copy()
    table[CENTER] = written(vx) * [8.0, 8.0, 40.0]
    with pytest.raises(ExtractionError, match=advice):
        extract(table, em_path, settings, tmp_path / "patches", client)


@pytest.mark.parametrize("damage", ["missing", "undecodable"])
def test_damaged_chunk_is_one_error_naming_every_synapse(
    tmp_path, em_path, settings, synapses, client, damage, monkeypatch
):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    name = "100-164_200-264_50-66"
    chunk = chunk_file(em_path, name)
    content = chunk.read_bytes()
    if damage == "missing":
        chunk.unlink()
    else:
        chunk.write_bytes(content[: len(content) // 2])
    out = tmp_path / "patches"
    with pytest.raises(ExtractionError) as error:
        extract(synapses, em_path, settings, out, client)
    text = str(error.value)
    assert f"{damage} chunk 8_8_40/{name}" in text
    assert "faults: list" in text
    assert not out.exists()

    extract(synapses, em_path, settings.model_copy(update={"faults": "list"}), out, client)
    faults, kept = pd.read_csv(out / "faults.csv"), images(out)
    assert all(f"synapse {i}: {damage}" in text for i in faults["synapse_id"])
    assert set(kept) == set(synapses["synapse_id"]) - set(faults["synapse_id"])
    assert artefacts.read_json(out / "manifest.json")["n_faults"] == len(faults) > 0
    assert store(out).damage().empty
    assert store(out).n_left_out == len(faults)

    with pytest.raises(ExtractionError) as error:  # what was listed before is an error where the settings say so now
        extract(synapses, em_path, settings, out, client)
    assert str(error.value) == text

    chunk.write_bytes(content)  # mended: the missing ones come, the others stay as they were
    extract(synapses, em_path, settings, out, client)
    assert not (out / "faults.csv").exists()
    mended = images(out)
    assert set(mended) == set(synapses["synapse_id"])
    assert all((mended[i][0] == kept[i][0]).all() and (mended[i][1] == kept[i][1]).all() for i in kept)


def test_mended_chunk_needs_only_its_own_blocks_again(
    tmp_path, em_path, settings, synapses, client, monkeypatch, rounds
):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    chunk = chunk_file(em_path, "100-164_200-264_50-66")
    content = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(ExtractionError):
        extract(synapses, em_path, settings, tmp_path / "patches", client)
    chunk.write_bytes(content)
    extract(synapses, em_path, settings, tmp_path / "patches", client)
    assert rounds[0] == list(range(10))
    assert 0 < len(rounds[1]) < 10


def test_blank_patch_is_an_error(tmp_path, settings, synapses, client):
    pixels = texture(SIZE)
    pixels[:, :, 20] = 0  # a section lost in cutting: blank for synapses on it, counted for their neighbours
    path = write_volume(tmp_path / "em", pixels, (8, 8, 40), OFFSET, encoding="raw")
    synapses.loc[:1, "center_z_nm"] = [(50 + 20) * 40.0, (50 + 21) * 40.0]
    synapses = synapses.iloc[:2]
    with pytest.raises(ExtractionError, match="1 of 2 synapses.*\n  synapse 1000: blank patch: every voxel is 0"):
        extract(synapses, path, settings, tmp_path / "patches", client)
    extract(synapses, path, settings.model_copy(update={"faults": "list"}), tmp_path / "patches", client)
    quality = pd.read_parquet(tmp_path / "patches" / "quality.parquet")
    assert quality["synapse_id"].tolist() == [1001]
    assert quality["cube_blank_sections"].tolist() == [1]


def test_tables_and_volumes_that_cannot_be_used(tmp_path, em_path, settings, synapses, client):
    with pytest.raises(ExtractionError, match=r"lacks the column\(s\) \['center_z_nm'\]"):
        extract(synapses.drop(columns="center_z_nm"), em_path, settings, tmp_path / "patches", client)
    with pytest.raises(ExtractionError, match=r"unique; repeated: \[1000\]"):
        extract(synapses.assign(synapse_id=1000), em_path, settings, tmp_path / "patches", client)
    with pytest.raises(ExtractionError, match="no precomputed volume at .*nowhere"):
        extract(synapses, f"precomputed://file://{tmp_path}/nowhere", settings, tmp_path / "patches", client)
    tiny = settings.model_copy(update={"edge": "drop", "patch_px": 400})
    with pytest.raises(ExtractionError, match="edge: drop leaves no synapse"):
        extract(synapses, em_path, tiny, tmp_path / "patches", client)


def test_unwritable_build_folder(tmp_path, em_path, settings, synapses, client):
    (tmp_path / "build").write_text("a file where a folder should be")
    with pytest.raises(OSError, match=r"cannot write .*build/\.patches-work"):
        extract(synapses, em_path, settings, tmp_path / "build" / "patches", client)


def test_disk_full_keeps_what_is_done(tmp_path, em_path, settings, synapses, client, monkeypatch):
    import zarr.storage._local as local

    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    put, written = local._put, []

    def full(path, value, exclusive=False):
        written.append(path)
        if len(written) > 12:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return put(path, value, exclusive)

    out = tmp_path / "patches"
    with monkeypatch.context() as patch:
        patch.setattr(local, "_put", full)
        with pytest.raises(OSError, match="cannot write .*No space left on device; finished blocks are kept"):
            extract(synapses, em_path, settings, out, client)
    assert not out.exists()
    extract(synapses, em_path, settings, out, client)
    extract(synapses, em_path, settings, tmp_path / "uninterrupted", client)
    assert artefacts.sha256(out) == artefacts.sha256(tmp_path / "uninterrupted")


def test_another_plan_starts_over(tmp_path, em_path, settings, synapses, client, monkeypatch):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    chunk = chunk_file(em_path, "100-164_200-264_50-66")
    content = chunk.read_bytes()
    chunk.unlink()
    with pytest.raises(ExtractionError):  # leaves finished blocks behind
        extract(synapses, em_path, settings, tmp_path / "patches", client)
    chunk.write_bytes(content)
    other = synapses.iloc[:30]
    extract(other, em_path, settings, tmp_path / "patches", client)
    extract(other, em_path, settings, tmp_path / "fresh", client)
    assert artefacts.sha256(tmp_path / "patches") == artefacts.sha256(tmp_path / "fresh")


def test_rows_with_a_fault_stay_where_they_are(tmp_path, em_path, settings, synapses, client):
    """The other rows are those of a whole extraction, in the same shards: nothing is written twice."""
    extract(synapses, em_path, settings, tmp_path / "whole", client)
    chunk_file(em_path, "100-164_200-264_50-66").unlink()
    extract(synapses, em_path, settings.model_copy(update={"faults": "list"}), tmp_path / "faulty", client)
    whole, faulty = (pd.read_parquet(tmp_path / name / "index.parquet") for name in ("whole", "faulty"))
    assert 0 < len(faulty) < len(whole)
    assert whole["row"].tolist() == list(range(len(whole)))
    pd.testing.assert_frame_equal(faulty.reset_index(drop=True), whole.iloc[faulty["row"]].reset_index(drop=True))
    ids = faulty["synapse_id"].to_numpy()[::-1]
    for array in ("patch", "cube"):
        a, b = (data.Images({"em": tmp_path / name}, array, ids) for name in ("whole", "faulty"))
        np.testing.assert_array_equal(a.read(np.arange(len(ids))), b.read(np.arange(len(ids))))


def test_listed_faults_are_kept_until_the_store_is_reopened(
    tmp_path, em_path, settings, synapses, client, monkeypatch, rounds
):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    listing, out = settings.model_copy(update={"faults": "list"}), tmp_path / "patches"
    chunk = chunk_file(em_path, "100-164_200-264_50-66")
    content = chunk.read_bytes()
    chunk.unlink()
    extract(synapses, em_path, listing, out, client)
    n_faults = len(pd.read_csv(out / "faults.csv"))
    chunk.write_bytes(content)
    rounds.clear()
    extract(synapses, em_path, listing, out, client)
    assert rounds == []
    assert len(pd.read_csv(out / "faults.csv")) == n_faults > 0
    store(out).reopen()  # as `verify --repair` does
    extract(synapses, em_path, listing, out, client)
    assert 0 < len(rounds[0]) < 10
    extract(synapses, em_path, listing, tmp_path / "fresh", client)
    assert artefacts.sha256(out) == artefacts.sha256(tmp_path / "fresh")


# --- What an extraction is --------------------------------------------------------------------------------------------


def test_the_same_plan_is_cut_once(tmp_path, em_path, settings, synapses, client, rounds):
    out = tmp_path / "patches"
    extract(synapses, em_path, settings, out, client)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    extract(synapses.sample(frac=1, random_state=1).assign(label=1), em_path, settings, out, client)
    assert rounds == [[0]]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert not (tmp_path / ".patches-work").exists()


def _another_format(monkeypatch, settings, synapses, em_path):
    monkeypatch.setattr(patches, "FORMAT", patches.FORMAT + 1)
    return settings, synapses


def _another_geometry(monkeypatch, settings, synapses, em_path):
    return settings.model_copy(update={"cube_zyx": (8, 24, 26)}), synapses


def _other_synapses(monkeypatch, settings, synapses, em_path):
    return settings, synapses.assign(center_x_nm=synapses["center_x_nm"].clip(upper=2200.0))


def _another_volume(monkeypatch, settings, synapses, em_path):
    volume = CloudVolume(em_path, progress=False)
    volume.info["scales"][0]["jpeg_quality"] = 90
    volume.commit_info()
    return settings, synapses


@pytest.mark.parametrize("change", [_another_format, _another_geometry, _other_synapses, _another_volume])
def test_another_plan_is_cut_anew(tmp_path, em_path, settings, synapses, client, rounds, monkeypatch, change):
    out = tmp_path / "patches"
    extract(synapses, em_path, settings, out, client)
    first = artefacts.read_json(out / "manifest.json")["plan_sha256"]
    settings, synapses = change(monkeypatch, settings, synapses, em_path)
    extract(synapses, em_path, settings, out, client)
    assert rounds == [[0], [0]]
    assert artefacts.read_json(out / "manifest.json")["plan_sha256"] != first
    extract(synapses, em_path, settings, tmp_path / "fresh", client)
    assert artefacts.sha256(out) == artefacts.sha256(tmp_path / "fresh")


#: Digests of the arrays below by format. Where pixels change on purpose, raise FORMAT and add the new ones.
DIGESTS = {
    1: {
        "patch": "010e4f8a610b9aee80af03ee9f176e9f0f3c5134e8c8d5ee38f68a870299b13f",
        "cube": "ab24c98c59aa0ff9133e6ca4d8308266711160b8928c02ab0cbc45036c73c61a",
    }
}


def test_pixels_are_those_of_the_format(tmp_path, settings, client):
    """Code is no part of the plan: without a new FORMAT, folders of old pixels would pass for those of new code."""
    pixels = np.random.default_rng(0).integers(1, 256, SIZE, np.uint8)
    em_path = write_volume(tmp_path / "em", pixels, (8, 8, 40), OFFSET, encoding="raw")
    center_vx = np.array(OFFSET) + [[0, 80, 24], [96, 80, 24], [191, 159, 47], [50, 21, 5]]
    coarse = settings.model_copy(update={"voxel_nm": (16.0, 16.0, 40.0)})
    found = []
    for name, grid in (("fine", settings), ("coarse", coarse)):
        extract(synapse_table(center_vx), em_path, grid, tmp_path / name, client)
        found.append(artefacts.read_json(tmp_path / name / "manifest.json")["sha256"])
    digests = {name: artefacts.key_hash({"of": [one[name] for one in found]}) for name in ("patch", "cube")}
    assert DIGESTS[patches.FORMAT] == digests, "pixels changed: raise patches.FORMAT and add these digests"


def test_a_second_run_is_told_of_the_first(tmp_path, em_path, settings, synapses, client):
    with locks.locked(tmp_path / ".patches-work"), pytest.raises(locks.LockError, match="another run works in"):
        extract(synapses, em_path, settings, tmp_path / "patches", client)
    extract(synapses, em_path, settings, tmp_path / "patches", client)
    assert {path.name for path in tmp_path.iterdir()} == {"em", "patches"}
