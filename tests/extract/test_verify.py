"""Damage of published stores: each kind is found with its synapses, and mended to the bytes of a clean run."""

import contextlib
import functools
import shutil

import numpy as np
import pandas as pd
import pytest
from extract_volumes import OFFSET, SIZE, synapse_table, texture, write_volume

from pipeline import __main__, artefacts, blocks, compute, config, shards
from pipeline.extract import clefts, patches

ROWS = 4  # of a shard


def _extract(folder, em_path, client, out):
    settings = config.Extract(patch_px=48, cube_zyx=(8, 24, 24))
    patches.extract(synapses(), em_path, settings, out, client)
    return patches.store(out)


def _cut(folder, em_path, client, out):
    """Samples around the contact zone of two blocks."""
    segments = np.ones(SIZE, np.uint32)
    segments[SIZE[0] // 2 :] = 2
    if not (folder / "segmentation").exists():
        write_volume(folder / "segmentation", segments, (8, 8, 40), OFFSET, encoding="raw", kind="segmentation")
    paths = {"em": em_path, "segmentation": f"precomputed://file://{folder / 'segmentation'}"}
    settings = config.Partners(voxel_nm=(8.0, 8.0, 40.0), patch_zyx=(6, 20, 20), margin_vx=0)
    clefts.cut(synapses().assign(region="test"), paths, settings, out, client)
    return clefts.store(out)


def synapses():
    """18 beside the border between the two segments."""
    middle, reach = SIZE[0] // 2, 5
    center_vx = np.random.default_rng(7).integers([middle - reach, 20, 8], [middle + reach, 140, 40], size=(18, 3))
    return synapse_table(center_vx + OFFSET)


@pytest.fixture(params=[_extract, _cut])
def made(request, tmp_path, em_path, client, monkeypatch):
    """(make, clean): what makes a store in `tmp_path / "store"`, made once, and a copy of it."""
    monkeypatch.setattr(shards, "MAX_ROWS", ROWS)
    monkeypatch.setattr(clefts, "BLOCK_ROWS", ROWS)
    make = functools.partial(request.param, tmp_path, em_path, client, tmp_path / "store")
    make()
    return make, shutil.copytree(tmp_path / "store", tmp_path / "clean")


def shard(store, array, number):
    images = shards.Rows(store.images / array)
    return images.file(number)


def _array(store):
    return "em" if (store.images / "em").is_dir() else "cube"


def ids(store, rows):
    return pd.read_parquet(store.folder / "index.parquet").set_index("row")["synapse_id"].loc[list(rows)].tolist()


def flipped(store):
    file = shard(store, _array(store), 1)
    content = bytearray(file.read_bytes())
    content[100] ^= 4
    file.write_bytes(content)
    return [4], r"is damaged in row 4: its checksum differs"


def missing(store):
    shard(store, _array(store), 2).unlink()
    return [8, 9, 10, 11], "is missing"


def truncated(store):
    file = shard(store, _array(store), 4)
    file.write_bytes(file.read_bytes()[:-500])
    return [16, 17], "is cut short"


def duplicate(store):
    shutil.copyfile(shard(store, _array(store), 0), shard(store, _array(store), 3))
    return [12, 13, 14, 15], "holds the image of synapse"


def shifted(store):
    """Each row of a shard in the place of the next, every checksum right."""
    images = store.images / _array(store)
    pixels = shards.Rows(images)[[7, 4, 5, 6]]
    blocks.write(images, (slice(4, 8),), pixels)
    return [4, 5, 6, 7], "holds the image of synapse"


def replaced(store):
    images = store.images / _array(store)
    pixels = shards.Rows(images)[[4, 5, 6, 7]]
    pixels[2] ^= 1
    blocks.write(images, (slice(4, 8),), pixels)
    return [6], "holds another image than was cut"


def test_a_store_of_the_same_plan_is_kept(made, rounds, monkeypatch):
    make, clean = made
    rounds.clear()
    make()
    assert rounds == []
    for module in (patches, clefts):
        monkeypatch.setattr(module, "FORMAT", module.FORMAT + 1)
    make()
    assert rounds == [list(range(5))]
    assert artefacts.sha256(make().images) == artefacts.sha256(next(clean.glob("*.zarr")))


@pytest.mark.parametrize("damage", [flipped, missing, truncated, duplicate, shifted, replaced])
def test_damage_is_found_and_only_its_blocks_are_cut_again(made, rounds, damage):
    make, clean = made
    store = make()
    rounds.clear()
    assert store.damage().empty
    rows, problem = damage(store)
    found = store.damage()
    assert found["row"].tolist() == rows
    assert found["synapse_id"].tolist() == ids(store, rows)
    assert found["problem"].str.contains(problem).all()
    store.reopen(set(found["row"]))
    assert not store.folder.exists()
    make()
    assert rounds == [[rows[0] // ROWS]]
    assert artefacts.sha256(store.folder) == artefacts.sha256(clean)
    assert {path.name for path in clean.parent.glob(".*")} == set()


def test_an_interrupted_repair_is_gone_on_with(made, rounds, monkeypatch):
    make, clean = made
    store = make()
    missing(store)
    store.reopen([8])

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(blocks.Work, "publish", killed)
        make()
    rounds.clear()
    make()
    assert rounds == [[]]
    assert artefacts.sha256(store.folder) == artefacts.sha256(clean)


def _no_manifest(folder):
    (folder / "manifest.json").unlink()


def _changed_table(folder):
    table = pd.read_parquet(folder / "index.parquet")
    artefacts.write_parquet(folder / "index.parquet", pd.concat([table, table[:1]]))


def _no_table(folder):
    (folder / "index.parquet").unlink()


def _no_array(folder):
    next(folder.glob("*.zarr/[ce]*/zarr.json")).unlink()


@pytest.mark.parametrize("damage", [_no_manifest, _changed_table, _no_table, _no_array])
def test_without_a_table_all_is_cut_again(made, damage):
    make, clean = made
    store = make()
    damage(store.folder)
    found = store.damage()
    assert (found["row"] < 0).all()
    store.reopen(set(found["row"]))
    make()
    assert artefacts.sha256(store.folder) == artefacts.sha256(clean)


def test_training_refuses_what_is_damaged(made):
    make, _ = made
    store = make()
    missing(store)
    images = shards.Rows(store.images / _array(store))
    with pytest.raises(shards.ShardError, match=r"is missing; mend it with `python -m pipeline verify --repair`"):
        images[np.arange(18)]


@pytest.fixture
def edition(tmp_path, settings, synapses):
    """Arguments of the command line for an edition of a folder with real EM whose cohort is made."""
    write_volume(tmp_path / "data" / "em", texture(SIZE), (8, 8, 40), OFFSET)
    build = artefacts.Build("mine-data", tmp_path / "build")
    artefacts.write_parquet(build.synapses, synapses)
    artefacts.write_json(build.cohort / "volume.json", {"em_path": f"precomputed://file://{tmp_path}/data/em"})
    text = "source: {kind: folder}\nextract: {patch_px: 48, cube_zyx: [8, 24, 24]}\ncompute: {workers: 1}\n"
    (tmp_path / "mine.yaml").write_text(text)
    options = ["--config", tmp_path / "mine.yaml", "--data", tmp_path / "data", "--build", tmp_path / "build"]
    return build, [str(option) for option in options]


def test_the_commands(edition, client, capfd, monkeypatch):
    """Extraction, an edit of the code, damage, `verify` and `--repair`, as a user calls them."""
    build, options = edition
    monkeypatch.setattr(compute, "workers", lambda _: contextlib.nullcontext(client))
    for name in ("CONFIG", "BUILD", "DATA"):  # which the commands set
        monkeypatch.setenv(f"SYNAPSE_EI_{name}", "")
    call = lambda *stage: __main__.main([*stage, *options])  # noqa: E731
    assert call("verify") == 1
    assert "holds no images yet" in capfd.readouterr().err
    assert call("extract") == 0
    clean = artefacts.sha256(build.patches)
    assert call("verify") == 0
    record = build.record("extract")
    artefacts.write_json(record, artefacts.read_json(record) | {"key_hash": "that of other code"})
    images = [(path, path.stat().st_mtime_ns) for path in build.patches.rglob("*")]
    assert call("extract") == 0
    assert [(path, path.stat().st_mtime_ns) for path in build.patches.rglob("*")] == images
    assert artefacts.read_json(record)["key_hash"] != "that of other code"

    rows = pd.read_parquet(build.patches / "index.parquet")["synapse_id"].tolist()
    (build.patches / "images.zarr" / "cube" / "c.0.0.0.0").unlink()
    capfd.readouterr()
    assert call("verify") == 1
    output = capfd.readouterr()
    assert f"c.0.0.0.0 is missing (synapses {', '.join(map(str, rows))})" in output.out
    assert "--repair" in output.err
    assert call("verify", "--repair") == 0
    assert artefacts.sha256(build.patches) == clean
    assert call("verify") == 0
