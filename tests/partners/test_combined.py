"""The combined system where detection and assignment are known: every synapse's fate is the one it was built for."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from partner_volumes import write_volume

from pipeline import combined, compute, config
from pipeline.learn import checkpoint
from pipeline.partners import detections, evaluate, model, predict, rules

VOXEL_NM = (16.0, 16.0, 40.0)
SHAPE = (12, 64, 8 * 48)  # per half: 8 columns of 48 voxels along X, each with two cells, one above the other
SETTINGS = config.Partners(voxel_nm=VOXEL_NM, patch_zyx=(6, 24, 24), margin_vx=0, val_fraction=0.5)
BRIGHT = 255  # marks in the EM what the detector finds
BIG = np.uint64(2**63)

#: By column: what the EM shows of a cleft, and what the truth says of it.
FATES = ("correct", "missed", "correct", "reversed", "merging", "merged", "wrong_partner", "false")

METHODS = ("avan", "pruner", "true")


def tissue(fates, shift):
    """(em, segmentation, clefts `[Z, Y, X]`, truth) of columns; `shift` keeps the ids of two halves apart."""
    shape = (*SHAPE[:2], 48 * len(fates))
    z, y, x = np.indices(shape)
    column = x // 48
    segments = BIG + np.uint64(shift) + (2 * column + 1 + (y >= 32)).astype(np.uint64)
    segments[abs(y - 31.5) < 2] = 0
    em = np.where(y < 32, 90, 160).astype(np.uint8)  # the dark cell above is presynaptic
    clefts = np.zeros(shape, np.uint64)
    truth = []
    for n, fate in enumerate(fates):
        size = 9 if fate == "merging" else 5  # the larger of two merged clefts has the pair
        here = (abs(x - 48 * n - 24) < size) & (abs(y - 31.5) < 2) & (abs(z - 6) < 3)
        pre, post = (BIG + np.uint64(shift + 2 * n + side) for side in (1, 2))
        if fate == "reversed":
            above = (column == n) & (em == 90)
            em[(column == n) & (em == 160)], em[above] = 90, 160
        if fate == "wrong_partner":
            post += np.uint64(1000)
        if fate != "false":
            clefts[here] = shift + n + 1
            truth.append({"synapse_id": shift + n + 1, "pre_segment_id": pre, "post_segment_id": post})
        if fate != "missed":
            em[here] = BRIGHT
        if fate == "merged":
            em[(abs(x - 48 * n) < 24) & (y == 31) & (z == 6)] = BRIGHT  # a thread to the cleft before
    return em, segments, clefts, pd.DataFrame(truth)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """(volumes, truth, model files): validation on the second half of its tissue, whose first half has nothing."""
    folder = tmp_path_factory.mktemp("combined")
    volumes, truth = {}, {}
    test = tissue(FATES, 100)
    empty = tissue(["missed"] * len(FATES), 500)
    val = [np.concatenate(parts, axis=2) for parts in zip(empty[:3], tissue(FATES[::-1], 300)[:3], strict=True)]
    val.append(pd.concat([empty[3], tissue(FATES[::-1], 300)[3]], ignore_index=True))
    for name, (em, segments, clefts, table) in {"val": val, "test": test}.items():
        write_volume(folder / name / "em", em, "image")
        write_volume(folder / name / "segmentation", segments)
        write_volume(folder / name / "clefts", clefts)
        kinds = ("em", "segmentation", "clefts")
        volumes[name] = {kind: f"precomputed://file://{folder / name / kind}" for kind in kinds}
        truth[name] = table
    files = {}
    torch.manual_seed(0)
    for network in ("avan", "proximity_pruner", "detect_mask", "detect_stdt", "detect_proximity"):
        files[network] = folder / f"{network}.safetensors"
        card = model.card(network, 4, VOXEL_NM, (6, 24, 24), 80.0)
        checkpoint.save(files[network], model.build(network, 4), card)
    return volumes, truth, files


@pytest.fixture
def known(monkeypatch):
    """Detectors that see the bright voxels, and AVAN as the rule that the darker side is presynaptic."""

    def scores(file, tile):
        return np.where(tile == BRIGHT, 0.4, -1.0)  # reaches the lower threshold alone

    def decisions(network, card, samples, rows):
        rule = "darker_is_pre" if card.network == "avan" else "random_direction"
        return evaluate._by_rule(rules.RULES[rule], card, samples, rows, 0)

    monkeypatch.setattr(detections, "THRESHOLDS", dict.fromkeys(detections.REPRESENTATIONS, (0.3, 0.5)))
    monkeypatch.setattr(combined, "_tile_scores", scores)
    monkeypatch.setattr(predict, "decisions", decisions)


def test_every_fate_is_counted_in_both_regions(system, known, tmp_path):
    volumes, truth, files = system
    table, rows, path = combined.System(files, SETTINGS, tmp_path, None).measure(volumes, truth)
    assert set(table["representation"]) == set(detections.REPRESENTATIONS)
    chosen = table[table["chosen"]]
    assert chosen["region"].tolist() == ["val", "test"] * 3
    for row in chosen.itertuples():
        counts = {name.removeprefix("n_"): value for name, value in row._asdict().items() if name.startswith("n_")}
        assert counts == {
            "true": 7, "predicted": 6, "correct": 3, "wrong_partner": 1, "reversed": 1, "unassigned": 0,
            "merged": 1, "missed": 1, "split": 0, "false": 1,
        }  # fmt: skip
        assert (row.matched_true, row.matched_predicted) == (6, 5)
        assert row.edge_precision == pytest.approx(3 / 6)
        assert row.edge_recall == pytest.approx(3 / 7)
        assert row.edge_f1 == pytest.approx(2 * 3 / (6 + 7))
    lost = table[(table["representation"] == "mask") & (table["threshold"] > 0.4)]
    assert len(lost) > 0
    assert (lost["n_predicted"] == 0).all()
    assert (lost["n_missed"] == 7).all()
    assert (lost["edge_f1"] == 0).all()

    assert len(rows) == 6
    rows = rows.set_index("true_synapse_id")
    for n, fate in enumerate(FATES):
        if fate in ("correct", "merging", "reversed"):
            true = [int(BIG) + 100 + 2 * n + side for side in (1, 2)]
            avan, pruner, given = ([rows.at[101 + n, f"{who}_{side}"] for side in ("pre", "post")] for who in METHODS)
            assert given == true
            assert avan == (true[::-1] if fate == "reversed" else true)
            assert set(pruner) == set(true)
    assert rows.loc[0, ["true_pre", "true_post"]].tolist() == [0, 0]
    assert {str(rows[f"{who}_{side}"].dtype) for who in METHODS for side in ("pre", "post")} == {"uint64"}
    labels = zarr.open_array(path, mode="r")[:]
    sizes = rows.set_index("cleft_id")["size_vx"]
    assert {n: (labels == n).sum() for n in sizes.index} == sizes.to_dict()


def test_tasks_run_in_any_working_directory(system, tmp_path, monkeypatch):
    volumes, truth, files = system

    def elsewhere(client, function, items, what):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        for item in items:
            with contextlib.chdir(tmp_path / "elsewhere"):
                result = function(item)
            yield result

    monkeypatch.setattr(compute, "run", elsewhere)
    monkeypatch.chdir(files["avan"].parent)
    relative = {name: file.relative_to(file.parent) for name, file in files.items()}
    work = Path(os.path.relpath(tmp_path / "work"))
    region = combined.Region("test", volumes["test"], truth["test"], SETTINGS)
    _, path = combined.System(relative, SETTINGS, work, None)._clefts(region, "mask", -1.0)
    assert path.is_dir()
    assert not list((tmp_path / "elsewhere").iterdir())
    assert (zarr.open_array(path, mode="r")[:] == 1).all(), "every score is above -1, so that all is one component"


def test_scores_of_other_networks_are_not_taken_up(system, known, tmp_path, monkeypatch):
    """A killed run leaves its scores behind; they are used by the same system alone."""
    volumes, truth, files = system
    first, *_ = combined.System(files, SETTINGS, tmp_path / "work", None).measure(volumes, truth)
    calls = []
    monkeypatch.setattr(combined, "_tile_scores", lambda file, tile: calls.append(file) or np.full(tile.shape, -1.0))
    again, *_ = combined.System(files, SETTINGS, tmp_path / "work", None).measure(volumes, truth)
    assert not calls
    pd.testing.assert_frame_equal(again, first)
    other = files | {"detect_mask": tmp_path / "retrained.safetensors"}
    card = model.card("detect_mask", 4, VOXEL_NM, (6, 24, 24), 80.0)
    checkpoint.save(other["detect_mask"], model.build("detect_mask", 4), card)
    changed, *_ = combined.System(other, SETTINGS, tmp_path / "work", None).measure(volumes, truth)
    assert calls
    assert (changed["edge_f1"] == 0).all()
