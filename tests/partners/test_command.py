"""`python -m pipeline partners` on folders of a lab's own: right pairs where there are any, and a reason where not."""

import contextlib
import csv
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import toy_store as toy
from partner_volumes import OFFSET, RESOLUTION, write_volume

from pipeline import __main__, compute
from pipeline.artefacts import REPOSITORY
from pipeline.learn import checkpoint
from pipeline.partners import model
from pipeline.stages import StageError, folders

COLUMNS = {
    "synapse_id": "int64",
    "pre_segment_id": "uint64",
    "post_segment_id": "uint64",
    "confidence": "float64",
    "margin": "float64",
    "outcome": "object",
}
FIRST = 2**59  # ids of synapses; neighbours there are one and the same float
PRE, POST = np.array([2**63 + 1, 2**63 + 3], np.uint64)  # of segments, likewise
NONE = np.uint64(0)


def write_csv(path, points, **columns):
    """`points` is {synapse_id: ZYX index}; further columns hold the same text in every row."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["note", "synapse_id", "x_vx", "y_vx", "z_vx", *columns])
        for synapse_id, (z, y, x) in points.items():
            place = np.add((x, y, z), OFFSET)
            writer.writerow(['say "hm", twice', synapse_id, *place, *columns.values()])
    return path


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    """Workers take seconds to start; only the test that starts a process of its own has them."""
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())


@pytest.fixture(scope="module")
def avan(toy_run):
    """Folder of an AVAN that was trained for seconds."""
    return toy_run[1]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Folders of networks that guess, by name."""
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    for name in ("avan", "mask_pruner", "detect_mask"):
        (folder / name).mkdir()
        card = model.card(name, 4, toy.VOXEL_NM, (6, 24, 24), 80.0)
        checkpoint.save(folder / name / "model.safetensors", model.build(name, 4), card)
    return folder


@pytest.fixture(scope="module")
def tissues(tmp_path_factory):
    """(folder of volumes, truth by synapse_id): sixteen toy tissues side by side, each with a cleft in its middle."""
    folder, rng = tmp_path_factory.mktemp("lab"), np.random.default_rng(11)
    depth, height, width = toy.SHAPE_ZYX
    em, clefts, segments = (np.zeros((depth, 4 * height, 4 * width), t) for t in (np.uint8, np.uint64, np.uint64))
    truth = []
    for n in range(16):
        row, column = divmod(n, 4)
        box = np.s_[:, row * height : (row + 1) * height, column * width : (column + 1) * width]
        ids = np.append(NONE, PRE + np.array([0, 2, 4], np.uint64) + np.uint64(10 * n))  # pre, post, bystander
        em[box], cleft, labels = toy.tissue(rng)
        clefts[box], segments[box] = cleft * np.uint64(FIRST + n), ids[labels]
        middle = np.argwhere(cleft)[0] + [0, row * height, column * width]
        truth.append({"synapse_id": FIRST + n, "pre": int(ids[1]), "post": int(ids[2]), "at": tuple(middle)})
    write_volume(folder / "em", em, "image")
    write_volume(folder / "segmentation", segments)
    write_volume(folder / "clefts", clefts)
    return folder, pd.DataFrame(truth, dtype=object).set_index("synapse_id")


#: What is seen where in `faults`, along X: a cleft in the middle of each column of 32 voxels.
PLACES = {name: FIRST + n for n, name in enumerate(("edge_pair", "pair", "void", "alone", "absent", "outside"))}


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """Folder of volumes with clefts that cannot have a pair, and the points of all synapses."""
    folder = tmp_path_factory.mktemp("faults")
    shape = (10, 64, 128)
    z, y, x = np.indices(shape)
    segments = np.select([y < 31, y > 33], [PRE, POST], NONE)
    column = x // 32
    segments[column == 2] = 0
    segments[(column == 3) & (y > 33)] = 0
    clefts = np.zeros(shape, np.uint64)
    for name, center in (("edge_pair", 2), ("pair", 48), ("void", 80), ("alone", 112)):
        clefts[(abs(x - center) < 4) & (abs(y - 32) < 2) & (abs(z - 5) < 2)] = PLACES[name]
    em = np.random.default_rng(0).integers(80, 180, shape).astype(np.uint8)
    write_volume(folder / "em", em, "image")
    write_volume(folder / "segmentation", segments)
    write_volume(folder / "clefts", clefts)
    places = {"edge_pair": 2, "pair": 48, "void": 80, "alone": 112, "absent": 48, "outside": 4000}
    return folder, {PLACES[name]: (5, 32, x) for name, x in places.items()}


def link(source, folder, *names):
    folder.mkdir()
    for name in names:
        (folder / name).symlink_to(source / name)
    return folder


def partners(volumes, out, run, synapses=None):
    """The exit status of the command."""
    arguments = ["partners", "--volumes", volumes, "--out", out, "--run", run]
    return __main__.main([str(part) for part in [*arguments, *(["--synapses", synapses] if synapses else [])]])


def found(volumes, out, run, synapses=None):
    """The command's table by synapse."""
    assert partners(volumes, out, run, synapses) == 0
    return pd.read_parquet(out).set_index("synapse_id")


def names(table):
    return {name: table["outcome"][synapse_id] for name, synapse_id in PLACES.items() if synapse_id in table.index}


def test_a_trained_network_finds_the_pairs_of_a_folder(tissues, avan, tmp_path):
    """As a lab runs it, Dask workers and all; ids that no float tells apart come through Parquet exactly."""
    folder, truth = tissues
    out = tmp_path / "results" / "found.parquet"
    command = [sys.executable, "-m", "pipeline", "partners", "--volumes", folder, "--out", out, "--run", avan]
    done = subprocess.run([str(part) for part in command], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{out}: 16 clefts: 16 assigned" in done.stdout
    table = pd.read_parquet(out)
    assert table.dtypes.astype(str).to_dict() == COLUMNS
    assert list(table) == list(COLUMNS)
    assert table["synapse_id"].tolist() == truth.index.tolist()
    pairs = list(zip(table["pre_segment_id"].tolist(), table["post_segment_id"].tolist(), strict=True))
    true = list(zip(truth["pre"], truth["post"], strict=True))
    assert sum(pair == wanted for pair, wanted in zip(pairs, true, strict=True)) >= 14
    for (pre, post), n in zip(pairs, range(16), strict=True):
        own = {int(PRE) + 10 * n + k for k in (0, 2, 4)}
        assert {pre, post} <= own, "rounded ids would be those of no segment there"
    assert table["confidence"].between(0, 1).all()
    assert table["margin"].between(0, 1).all()
    assert [path.name for path in out.parent.iterdir()] == ["found.parquet"]


def test_a_csv_is_answered_row_by_row_whatever_else_it_holds(tissues, avan, tmp_path):
    """Its own columns `pre_segment_id`, `outcome`, `region`, however wrong, are not looked at."""
    folder, truth = tissues
    everything = found(folder, tmp_path / "all.parquet", avan)
    some = truth["at"].sample(9, random_state=1)  # in no order
    odd = {"pre_segment_id": "7.5", "post_segment_id": "", "cell_type": "neither", "region": "train", "outcome": "ä;b"}
    table = found(folder, tmp_path / "some.parquet", avan, write_csv(tmp_path / "s.csv", some.to_dict(), **odd))
    assert table.index.tolist() == sorted(some.index)
    pd.testing.assert_frame_equal(table, everything.loc[table.index])


def test_points_alone_are_joined_at_their_contact(tissues, avan, tmp_path):
    """Without clefts/, the partners are those that meet at the point."""
    folder, truth = tissues
    bare = link(folder, tmp_path / "bare", "em", "segmentation")
    points = write_csv(tmp_path / "points.csv", truth["at"].to_dict())
    table = found(bare, tmp_path / "out.parquet", avan, points)
    assert table.index.tolist() == truth.index.tolist()
    assert table["outcome"].isin(["assigned", "assigned_at_edge"]).all()
    right = [
        (row.pre_segment_id, row.post_segment_id) == (truth["pre"][n], truth["post"][n]) for n, row in table.iterrows()
    ]
    assert np.mean(right) > 0.7


@pytest.mark.parametrize("network", ["avan", "mask_pruner"])
def test_clefts_without_a_pair_say_why(faults, untrained, network, tmp_path):
    folder, points = faults
    table = found(folder, tmp_path / "out.parquet", untrained / network, write_csv(tmp_path / "s.csv", points))
    assert names(table) == {
        "edge_pair": "assigned_at_edge",
        "pair": "assigned",
        "void": "no_segment",
        "alone": "one_segment",
        "absent": "empty_mask",
        "outside": "frame_mismatch",
    }
    paired = table["outcome"].str.startswith("assigned")
    for row in table[paired].itertuples():
        assert {row.pre_segment_id, row.post_segment_id} == {PRE, POST}
    assert (table.loc[~paired, ["pre_segment_id", "post_segment_id"]] == 0).all(axis=None)
    assert table.loc[~paired, ["confidence", "margin"]].isna().all(axis=None)
    assert table.loc[paired, ["confidence", "margin"]].notna().all(axis=None)


def test_points_without_a_contact_say_why(faults, untrained, tmp_path):
    folder, points = faults
    bare = link(folder, tmp_path / "bare", "em", "segmentation")
    points = {PLACES[name]: points[PLACES[name]] for name in ("pair", "void", "alone", "outside")}
    table = found(bare, tmp_path / "out.parquet", untrained / "avan", write_csv(tmp_path / "s.csv", points))
    assert names(table) == {
        "pair": "assigned", "void": "no_segment", "alone": "one_segment", "outside": "frame_mismatch",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("resolution", "offset"), [((12, 12, 40), OFFSET), (RESOLUTION, (0, 0, 0)), ((16, 16, 30), OFFSET)]
)
def test_a_segmentation_on_another_grid_gives_no_pairs(faults, untrained, resolution, offset, tmp_path):
    folder, points = faults
    mixed = link(folder, tmp_path / "mixed", "em", "clefts")
    labels = np.random.default_rng(1).integers(1, 5, (10, 64, 128)).astype(np.uint64)
    write_volume(mixed / "segmentation", labels, "segmentation", resolution, offset)
    table = found(mixed, tmp_path / "out.parquet", untrained / "avan", write_csv(tmp_path / "s.csv", points))
    assert (table["outcome"] == "frame_mismatch").all()
    assert (table[["pre_segment_id", "post_segment_id"]] == 0).all(axis=None)


def test_a_segmentation_of_coarser_voxels_is_read_by_place(faults, untrained, tmp_path):
    folder, points = faults
    mixed = link(folder, tmp_path / "mixed", "em", "clefts")
    y = np.indices((10, 32, 64))[1]
    labels = np.select([y < 15, y > 16], [PRE, POST], NONE)
    write_volume(mixed / "segmentation", labels, "segmentation", (32, 32, 40), (10, 20, 7))
    point = {PLACES["pair"]: points[PLACES["pair"]]}
    table = found(mixed, tmp_path / "out.parquet", untrained / "avan", write_csv(tmp_path / "s.csv", point))
    assert set(table.iloc[0][["pre_segment_id", "post_segment_id"]]) == {PRE, POST}


def refused(capsys, out, *arguments):
    """The text of the command's error; nothing was written, and what was there is there still."""
    out.parent.mkdir(exist_ok=True)
    out.write_text("of yesterday")
    assert partners(arguments[0], out, *arguments[1:]) == 1
    assert out.read_text() == "of yesterday"
    assert list(out.parent.iterdir()) == [out]
    return capsys.readouterr().err


def test_missing_volumes_are_named(faults, untrained, tmp_path, capsys):
    folder, points = faults
    run, out = untrained / "avan", tmp_path / "out" / "found.parquet"
    for lacking, given in (("em", "segmentation"), ("segmentation", "em")):
        part = link(folder, tmp_path / f"without_{lacking}", given, "clefts")
        text = refused(capsys, out, part, run)
        assert f"error: {part} has no precomputed volume {lacking}/" in text
    bare = link(folder, tmp_path / "bare", "em", "segmentation")
    text = refused(capsys, out, bare, run)
    assert f"{bare} has no clefts/: name the synapses by --synapses FILE.csv" in text
    (bare / "clefts").mkdir()
    (bare / "clefts" / "section_001.tif").touch()
    text = refused(capsys, out, bare, run, write_csv(tmp_path / "s.csv", points))
    assert f"no precomputed volume at {bare / 'clefts'}: its `info` cannot be read" in text
    empty = link(folder, tmp_path / "empty", "em", "segmentation")
    write_volume(empty / "clefts", np.zeros((10, 64, 128), np.uint32))
    assert f"{empty / 'clefts'} labels no clefts" in refused(capsys, out, empty, run)


def test_rows_that_cannot_be_read_are_named(faults, untrained, tmp_path, capsys):
    folder, points = faults
    run, out = untrained / "avan", tmp_path / "out" / "found.parquet"
    synapses = write_csv(tmp_path / "s.csv", points)
    lines = synapses.read_text().splitlines()
    for text, message in (
        ("\n".join([*lines, lines[1]]), f"s.csv, row 8, column synapse_id: '{FIRST}' occurs more than once"),
        ("\n".join([*lines[:3], "x,12,,5,6"]), "s.csv, row 4, column x_vx: '' is not an integer"),
        ("\n".join([*lines[:2], "x,0,50,60,10"]), "s.csv: synapse_id 0 is not positive"),
        ("x,y\n1,2\n", "s.csv lacks the columns ['synapse_id', 'x_vx', 'y_vx', 'z_vx']"),
    ):
        synapses.write_text(text)
        assert message in refused(capsys, out, folder, run, synapses)
    assert "none.csv does not exist" in refused(capsys, out, folder, run, tmp_path / "none.csv")


def test_runs_without_a_network_of_partners_are_refused(faults, untrained, tmp_path, capsys):
    folder, _ = faults
    out = tmp_path / "out" / "found.parquet"
    text = refused(capsys, out, folder, untrained / "detect_mask")
    assert f"{untrained / 'detect_mask'} holds detect_mask, which assigns no partners" in text
    assert f"{tmp_path / 'none' / 'model.safetensors'} does not exist" in refused(
        capsys, out, folder, tmp_path / "none"
    )
    classifier = REPOSITORY / "pretrained" / "unet3d"
    assert "holds a network for classification, not for partner assignment" in refused(capsys, out, folder, classifier)
    (tmp_path / "model.safetensors").write_text("not a model, but long enough to look like one")
    assert "is not a safetensors file" in refused(capsys, out, folder, tmp_path)


def test_a_lost_chunk_leaves_nothing_behind(faults, untrained, tmp_path, capsys):
    """The failure comes in the middle of the work, with samples already on disk."""
    folder, points = faults
    broken = link(folder, tmp_path / "broken", "em", "clefts")
    write_volume(broken / "segmentation", np.ones((10, 64, 128), np.uint64))
    for chunk in (broken / "segmentation" / "16_16_40").iterdir():
        chunk.unlink()
    text = refused(capsys, tmp_path / "out" / "found.parquet", broken, untrained / "avan")
    assert "missing chunk 16_16_40/" in text
    assert f"synapse {FIRST}" in text


KNOWN = "synapse_id,x_vx,y_vx,z_vx, pre_segment_id,post_segment_id,note\n"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("7,10,20,30,,5,x", "synapse 7, column pre_segment_id: '' is no segment's id"),
        ("7,10,20,30,0,5,x", "synapse 7, column pre_segment_id: '0'"),
        ("7,10,20,30,-4,5,x", "synapse 7, column pre_segment_id: '-4'"),
        ("7,10,20,30,4,9007199254740993.0,x", "synapse 7, column post_segment_id: '9007199254740993.0'"),
        ("7,10,20,30,4,18446744073709551616,x", "synapse 7, column post_segment_id: '18446744073709551616'"),
    ],
)
def test_true_partners_must_be_exact_and_known(faults, row, message, tmp_path):
    lab = link(faults[0], tmp_path / "lab", "em", "segmentation")
    (lab / "synapses.csv").write_text(KNOWN + f"3,50,60,-4,{2**64 - 1},{2**53 + 1},x\n")
    known = folders.known_partners(lab)
    assert known["pre_segment_id"].tolist() == [2**64 - 1]
    assert known["post_segment_id"].tolist() == [2**53 + 1]
    assert known["z_vx"].tolist() == [-4]
    assert set(known.filter(like="segment_id").dtypes) == {np.dtype("uint64")}
    with (lab / "synapses.csv").open("a") as file:
        file.write(",,,,,,\n" + row + "\n")
    with pytest.raises(StageError, match=message):
        folders.known_partners(lab)
    (lab / "synapses.csv").write_text("synapse_id,x_vx,y_vx,z_vx\n1,2,3,4\n")
    with pytest.raises(StageError, match="has no column pre_segment_id"):
        folders.known_partners(lab)
