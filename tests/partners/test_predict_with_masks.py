"""`python -m pipeline predict` with a model that reads AVAN's mask: the same numbers as by hand, on a small volume."""

import contextlib
import csv

import numpy as np
import pandas as pd
import pytest
import torch
from partner_volumes import OFFSET, RESOLUTION, write_volume

from pipeline import __main__, compute
from pipeline.learn import checkpoint
from pipeline.models import registry
from pipeline.partners import model

VOXEL_NM = tuple(float(nm) for nm in RESOLUTION)
CUBE, PATCH = (4, 16, 16), (6, 24, 24)
CENTRES = {11: (8, 30, 30), 12: (9, 34, 66)}  # ZYX, of the clefts; the annotated points are beside them
BESIDE = (1, 2, -3)


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """(folder, EM, clefts): volumes, a synapses.csv, and `model/` and `avan/` with random weights."""
    folder, rng = tmp_path_factory.mktemp("masks"), np.random.default_rng(5)
    em = rng.integers(0, 255, (18, 64, 96)).astype(np.uint8)
    clefts, segments = np.zeros(em.shape, np.uint64), np.full(em.shape, 7, np.uint64)
    segments[:, 32:] = 8
    for number, (z, y, x) in CENTRES.items():
        clefts[z - 1 : z + 2, y - 2 : y + 3, x - 4 : x + 5] = number  # odd sizes: the centre is a voxel
    for name, array, kind in (("em", em, "image"), ("clefts", clefts, "segmentation"), ("segmentation", segments, "")):
        write_volume(folder / name, array, kind or "segmentation")
    with (folder / "synapses.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["synapse_id", "x_vx", "y_vx", "z_vx"])
        for number, centre in CENTRES.items():
            z, y, x = np.add(centre, BESIDE)
            rows.writerow([number, *np.add((x, y, z), OFFSET)])
    torch.manual_seed(0)
    card = checkpoint.Card(
        task="classification",
        network="unet3d",
        build={"channels": 2},
        channels=("em", "presynaptic"),
        voxel_nm=VOXEL_NM,
        shape_zyx=CUBE,
        decision={"tau": 0.5, "temperature": 2.0},
    )
    checkpoint.save(folder / "model" / "model.safetensors", registry.build("unet3d", channels=2), card)
    for name in ("avan", "mask_pruner"):
        card = model.card(name, 4, VOXEL_NM, PATCH, 80.0)
        checkpoint.save(folder / name / "model.safetensors", model.build(name, 4), card)
    return folder, em, clefts


def run(volumes, folder, out, avan="avan"):
    arguments = ["predict", "--run", folder / "model", "--volumes", volumes, "--synapses", folder / "synapses.csv"]
    return __main__.main([str(part) for part in [*arguments, "--out", out, "--partners-run", folder / avan]])


def around(array, centre, size):
    """The box of `size` whose voxel `size // 2` is at `centre`."""
    return array[tuple(slice(c - n // 2, c - n // 2 + n) for c, n in zip(centre, size, strict=True))]


def normalised(em):
    grey = em.astype(np.float64) / 255
    return torch.tensor((grey - grey.mean()) / (grey.std() + 0.01), dtype=torch.float32)


def by_hand(folder, em, clefts, number):
    """P(excitatory) of a synapse, from the volumes and the two networks alone."""
    avan, classifier = model.load(folder / "avan" / "model.safetensors")[0], registry.build("unet3d", channels=2)
    classifier.load_state_dict(checkpoint.safetensors.torch.load_file(folder / "model" / "model.safetensors"))
    centre = CENTRES[number]
    own = torch.tensor(around(clefts == number, centre, PATCH), dtype=torch.float32)
    point = np.add(centre, BESIDE)
    with torch.no_grad():
        mask = np.zeros(em.shape, np.uint8)
        output = torch.sigmoid(avan(torch.stack([normalised(around(em, centre, PATCH)), own])[None]))[0, 0].numpy()
        around(mask, centre, PATCH)[:] = np.rint(255 * output)
        both = torch.stack([normalised(around(em, point, CUBE)), torch.tensor(around(mask, point, CUBE)).float() / 255])
        turned = [torch.rot90(part, n, (-2, -1)) for part in (both, both.flip(-1)) for n in range(4)]
        logits = classifier.eval()(torch.stack(turned))
    return float(torch.sigmoid((logits[:, 1] - logits[:, 0]).mean() / 2.0))


def test_predictions_are_those_of_the_networks_applied_by_hand(lab, tmp_path):
    folder, em, clefts = lab
    assert run(folder, folder, tmp_path / "p.parquet") == 0
    found = pd.read_parquet(tmp_path / "p.parquet").set_index("synapse_id")["p_excitatory"]
    expected = {number: by_hand(folder, em, clefts, number) for number in CENTRES}
    assert found.to_dict() == pytest.approx(expected, abs=2e-3)  # bfloat16 where the CPU has it
    assert abs(found[11] - found[12]) > 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["p.parquet"]


def test_without_clefts_the_contact_zones_stand_for_them(lab, tmp_path):
    folder, *_ = lab
    volumes = tmp_path / "volumes"
    volumes.mkdir()
    for name in ("em", "segmentation"):
        (volumes / name).symlink_to(folder / name)
    assert run(volumes, folder, tmp_path / "p.parquet") == 0
    assert pd.read_parquet(tmp_path / "p.parquet")["p_excitatory"].between(0, 1).all()


def test_what_is_missing_for_the_mask_is_named(lab, tmp_path, capsys, caplog):
    folder, *_ = lab
    assert run(folder, folder, tmp_path / "p.parquet", avan="mask_pruner") == 1
    assert "holds mask_pruner, which makes no presynaptic mask: name an AVAN" in capsys.readouterr().err + caplog.text
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "em").symlink_to(folder / "em")
    assert run(bare, folder, tmp_path / "p.parquet") == 1
    assert "has no precomputed volume segmentation/" in capsys.readouterr().err + caplog.text
