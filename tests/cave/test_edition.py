"""Stages of an edition that reads a real service, here the sandbox: what they ask for, and the check before them."""

import contextlib
import json
import shutil
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
import requests
import yaml
from cloudvolume import CloudVolume

from pipeline import __main__, compute, config
from pipeline.cave import sandbox
from pipeline.cave.failures import Failure

NUCLEI = "nucleus_detection_v0"
SYNAPSES = "synapses_pni_2"
RECORDED = Path(__file__).with_name("requests.json")


@pytest.fixture(scope="module")
def source(source_of, tables):
    """The tables with every synapse in a small volume, and that volume."""
    rng = np.random.default_rng(3)
    synapses = tables[SYNAPSES].copy()
    for axis, (low, high) in {"x": (100, 300), "y": (100, 300), "z": (8, 24)}.items():
        synapses[f"ctr_pt_position_{axis}"] = rng.integers(low, high, len(synapses))
    folder = source_of({**tables, SYNAPSES: synapses})
    size = (200, 200, 32)
    info = CloudVolume.create_new_info(1, "image", "uint8", "raw", [8, 8, 40], [0, 0, 0], size, chunk_size=(64, 64, 16))
    volume = CloudVolume(f"precomputed://file://{folder}/em", info=info, progress=False)
    volume.commit_info()
    volume[:] = rng.integers(0, 255, size, dtype=np.uint8)
    return folder


@pytest.fixture
def run(source, tmp_path, monkeypatch, edition_environment):
    """A function that runs a stage of an edition of kind `cave`; returns the exit status.

    Its server is the sandbox, with the datastack, tables and version of minnie65.
    """
    monkeypatch.setenv("CAVE_TOKEN", sandbox.TOKEN)

    port = 0  # of the first sandbox, and of those that follow

    def run(stage, failures=(), **changes):
        nonlocal port
        values = {"source": {"kind": "cave", **changes}, "extract": {"patch_px": 32, "cube_zyx": [8, 32, 32]}}
        values["models"] = [{"name": "unet3d", "network": "unet3d"}]
        with sandbox.serve(source, config.load("minnie65").source, port, failures) as address:
            port = int(address.rpartition(":")[2])
            values["source"]["server_address"] = address
            (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
            arguments = ["--config", tmp_path / "mine.yaml", "--build", tmp_path / "build"]
            return __main__.main([*stage.split(), *map(str, arguments)])

    return run


def without_ids(body):
    """The body of a query in which ids stand as their number's kind alone."""
    filters = body.get("filter_in_dict", {})
    named = {table: dict.fromkeys(columns, "<ids>") for table, columns in filters.items()}
    return body | ({"filter_in_dict": named} if filters else {})


@pytest.fixture
def sent(monkeypatch):
    """`[{method, path, query, body}]` of the requests that are sent, each once, in order."""
    found, send = [], requests.Session.send

    def recording(session, request, **options):
        url = urlsplit(request.url)
        entry = {"method": request.method, "path": url.path, "query": dict(parse_qsl(url.query))}
        if request.body:
            entry["body"] = without_ids(json.loads(request.body))
        if entry not in found:
            found.append(entry)
        return send(session, request, **options)

    monkeypatch.setattr(requests.Session, "send", recording)
    return found


def test_an_edition_sends_the_recorded_requests_and_no_others(run, sent):
    """`requests.json` is what the server of minnie65 is asked for; a new request belongs there, after a look at it."""
    recorded = json.loads(RECORDED.read_text())
    assert run("cohort") == 0
    assert sent == recorded
    sent.clear()
    assert run("check") == 0
    assert not [entry for entry in sent if entry not in recorded]


def test_the_cohort_of_a_service_is_complete(run, tables, tmp_path):
    assert run("cohort") == 0
    cohort = pd.read_parquet(tmp_path / "build" / "mine" / "cohort" / "synapses.parquet")
    stored = tables[SYNAPSES].set_index("id").loc[cohort["synapse_id"]]
    assert (stored["pre_pt_root_id"].to_numpy() == cohort["pre_neuron_id"]).all()
    assert cohort["pre_neuron_id"].nunique() == 20


def test_a_simulated_edition_uses_the_synapses_whose_images_lie_within_its_tissue(
    source, tables, tmp_path, monkeypatch, edition_environment
):
    """Mirrored tissue in an image would teach networks what real tissue does not have."""
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())
    build = tmp_path / "build" / "mine"
    shutil.copytree(source, build / "source")
    (build / "source" / "manifest.json").write_text("{}")
    (tmp_path / "mine.yaml").write_text(
        "source: {kind: simulated}\nextract: {patch_px: 128, cube_zyx: [20, 32, 32]}\nmodels: []\n"
    )
    for stage in ("cohort", "extract"):
        assert __main__.main([stage, "--config", f"{tmp_path / 'mine.yaml'}", "--build", f"{tmp_path / 'build'}"]) == 0
    quality = pd.read_parquet(build / "patches" / "quality.parquet")
    assert (quality[["patch_padded", "cube_padded"]] == 0).all(axis=None)

    stored = pd.read_parquet(build / "source" / "tables" / f"{SYNAPSES}.parquet").set_index("id")
    x, y, z = (stored[f"ctr_pt_position_{axis}"] // share for axis, share in (("x", 2), ("y", 2), ("z", 1)))
    whole = x.between(64, 136) & y.between(64, 136) & z.between(10, 22)  # of 200 x 200 x 32 voxels
    labelled = tables[NUCLEI].pt_root_id[:20]  # the others are in no table of cell types
    eligible = stored["pre_pt_root_id"].isin(labelled) & (stored.pre_pt_root_id != stored.post_pt_root_id)
    assert set(quality["synapse_id"]) == set(stored.index[whole & eligible])
    *_, before, after = json.loads((build / "cohort" / "flow.json").read_text())
    assert after["step"] == "images within the volume"
    assert (before["synapses"], after["synapses"]) == (eligible.sum(), (whole & eligible).sum())


def test_the_check_says_what_is_there_and_what_it_will_take(run, capsys):
    assert run("check") == 0
    said = capsys.readouterr().out
    assert "minnie65_public, version 1300 of 2024-01-01, served until 2121-01-01" in said
    assert f"table {SYNAPSES}" in said
    assert "voxels of 4 x 4 x 40 nm" in said
    assert "20 neurons, 13 excitatory, 7 inhibitory" in said
    assert "8 x 8 x 40 nm (XYZ), from 0 x 0 x 0 to 1600 x 1600 x 1280 nm" in said
    # 20 neurons with 20 synapses each, but for autapses; 32 x 32 and 8 x 32 x 32 bytes each
    (estimated,) = [line for line in said.splitlines() if line.startswith("images, estimated")]
    assert 380 <= int(estimated.split()[2]) <= 400
    assert "GPU" in said


def test_the_check_loses_nothing_that_it_read(run, sent):
    assert run("check") == 0
    asked = [entry for entry in sent if entry["method"] == "POST"]
    sent.clear()
    assert run("check") == 0
    assert len(asked) == 5
    assert not [entry for entry in sent if entry["method"] == "POST"]


def test_without_a_token_the_check_says_so_and_nothing_else(run, capfd, monkeypatch):
    monkeypatch.delenv("CAVE_TOKEN")
    assert run("check") == 1
    out, err = capfd.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert err.startswith("error: no CAVE token; get one at")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"materialization_version": 1299}, "version 1299 .* has expired"),
        ({"datastack": "minnie65"}, "unknown datastack 'minnie65'"),
        ({"tables": {"baylor": "baylor_log_reg"}}, "no table 'baylor_log_reg'"),
        ({"max_neurons_per_class": 3}, "no split by neuron: 3 excitatory neurons"),
    ],
)
def test_what_cannot_work_is_known_before_anything_starts(run, capsys, changes, message):
    assert run("check", **changes) == 1
    assert pd.Series([capsys.readouterr().err]).str.contains(message).all()


def test_rejected_tokens_and_missing_rights_end_the_check(run, capsys):
    for failure, message in (
        ("401", "rejected the CAVE token"),
        ("403", "no permission"),
        ("terms", "accept the terms"),
    ):
        assert run("check", [Failure("/datastack/full", failure)]) == 1
        assert message in capsys.readouterr().err


def test_before_a_long_stage_it_takes_seconds_and_asks_the_service_nothing(run, sent, capsys, monkeypatch):
    assert run("cohort") == 0
    sent.clear()
    monkeypatch.delenv("CAVE_TOKEN")
    for stage, what in (("extract", "images, sampled"), ("units", "images, sampled"), ("train", "GPU")):
        assert run(f"check --before {stage}") == 0
        said = capsys.readouterr().out
        assert what in said
        assert "GB free" in said
    assert not sent


def test_before_a_long_stage_the_disk_must_hold_what_is_not_there_yet(run, capsys, monkeypatch, tmp_path):
    assert run("cohort") == 0
    needed = 9216 * len(pd.read_parquet(tmp_path / "build" / "mine" / "cohort" / "synapses.parquet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(0, 0, needed))
    assert run("check --before extract") == 1  # images of the units fault need as much again
    out, err = capsys.readouterr()
    assert err.startswith(f"error: another {2 * needed / 1e6:.2f}MB will not fit into the {needed / 1e6:.2f}MB that")
    left = tmp_path / "build" / "mine" / ".patches-work" / "content" / "images.zarr" / "cube" / "c.0.0.0.0"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(needed))
    assert run("check --before extract") == 0
    assert run("check --before train") == 1
    assert "error: another 500MB will not fit" in capsys.readouterr().err


def test_before_images_are_cut_the_volume_must_answer(run, source, capsys):
    assert run("cohort") == 0
    info = source / "em" / "info"
    described = info.read_text()
    info.unlink()
    try:
        assert run("check --before extract") == 1
    finally:
        info.write_text(described)
    assert "error: no precomputed volume at" in capsys.readouterr().err
