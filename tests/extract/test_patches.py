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
from extract_volumes import OFFSET, SIZE, differing, synapse_table, texture, write_volume
from imageryclient import ImageryClient

from pipeline import artefacts, compute, config, shards
from pipeline.columns import CENTER_NM as CENTER
from pipeline.extract.patches import extract
from pipeline.extract.volume import ExtractionError, Volume


def images(folder):
    """{synapse_id: (patch, cube)} of a patches folder."""
    group, index = zarr.open_group(folder / "images.zarr", mode="r"), pd.read_parquet(folder / "index.parquet")
    return dict(zip(index["synapse_id"], zip(group["patch"][:], group["cube"][:], strict=True), strict=True))


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
    assert not differing(tmp_path / "patches")


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
    assert "Wrong units?" in text
    assert not (tmp_path / "patches").exists()


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
    assert not differing(out)

    chunk.write_bytes(content)  # mended: the missing ones come, the others stay as they were
    extract(synapses, em_path, settings, out, client)
    mended = images(out)
    assert set(mended) == set(synapses["synapse_id"])
    assert all((mended[i][0] == kept[i][0]).all() and (mended[i][1] == kept[i][1]).all() for i in kept)


def test_mended_chunk_needs_only_its_own_blocks_again(tmp_path, em_path, settings, synapses, client, monkeypatch):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    rounds, run = [], compute.run

    def recording(client, function, items, what):
        rounds.append([number for number, _ in items])
        yield from run(client, function, items, what)

    monkeypatch.setattr(compute, "run", recording)
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


def test_digests_find_one_changed_voxel(tmp_path, em_path, settings, synapses, client):
    extract(synapses, em_path, settings, tmp_path / "patches", client)
    cube = zarr.open_group(tmp_path / "patches" / "images.zarr")["cube"]
    cube[7, 3, 2, 1] = cube[7, 3, 2, 1] ^ 1
    synapse_id = pd.read_parquet(tmp_path / "patches" / "index.parquet")["synapse_id"][7]
    assert differing(tmp_path / "patches") == [("cube", synapse_id)]
