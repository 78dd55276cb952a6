"""`make paper` on a tiny edition, in a build folder of its own and, where the system allows, without any network."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import caveclient
import cloudvolume
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.metrics import roc_auc_score

from pipeline import config
from pipeline.artefacts import Build
from pipeline.cave import sandbox

pytestmark = pytest.mark.timeout(900)

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = "tests/tiny.yaml"


def _without_network():
    """A command prefix that leaves a process nothing but loopback, or nothing where namespaces are forbidden."""
    prefix = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not (shutil.which("unshare") and shutil.which("ip")):
        return []
    return [] if subprocess.run([*prefix, "true"], capture_output=True).returncode else prefix


def _make(root, *arguments, check=True):
    """Run the repository's Makefile on the tiny edition, building under `root`; returns the finished process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "SYNAPSE_EI"))}
    command = [*_without_network(), "make", "paper", f"CONFIG={TINY}", f"BUILD={root}", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=clean, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def _recipes(done):
    """The stages that a run of Make started, with their script or model."""
    lines = [line.split(" -m pipeline ")[1].split() for line in done.stdout.splitlines() if " -m pipeline " in line]
    return {line[0] if line[0] not in ("draw", "analyse") else Path(line[5]).name for line in lines}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if not (REPOSITORY / ".venv" / ".installed").is_file():
        pytest.skip("no .venv of the Makefile: run `make test`")
    root = tmp_path_factory.mktemp("build")
    _make(root)
    return Build("tiny", root)


def test_the_page_is_made_and_says_that_it_is_simulated(built):
    page = (built.site / "index.html").read_text()
    assert "Simulated data" in page
    values = json.loads((built.analysis / "values.json").read_text())
    assert values["performance.best_roc_auc"]["text"].replace("&nbsp;", " ") in page.replace("\u00a0", " ")


def test_provenance_names_every_step_and_its_files_hash_as_they_are(built):
    from pipeline.artefacts import sha256

    records = json.loads(built.provenance.read_text())
    expected = {"simulate", "cohort", "extract", "train-small", "train-control", "analysis-performance", "page"}
    assert expected <= set(records)
    assert {f"figures-{path.stem}" for path in built.figures.glob("*.png")} <= set(records)
    assert records["cohort"]["materialization_version"] == 1300
    for record in records.values():
        for name, digest in record["outputs"].items():
            assert sha256(built.root / name) == digest, name


def test_labels_and_partners_of_the_cohort_are_those_of_the_tissue(built):
    truth = pd.read_parquet(built.source / "truth" / "synapses.parquet").set_index("synapse_id")
    cohort = pd.read_parquet(built.synapses).set_index("synapse_id")
    truth = truth.loc[cohort.index]
    assert (truth["pre_neuron_id"] == cohort["pre_neuron_id"]).all()
    assert (truth["post_neuron_id"] == cohort["post_neuron_id"]).all()
    assert (truth["label"] == cohort["label"]).all()
    neurons = cohort.groupby("pre_neuron_id")
    assert (neurons["split"].nunique() == 1).all()


def test_every_model_predicts_every_synapse_once(built):
    cohort = pd.read_parquet(built.synapses)
    for model in config.load(TINY).models:
        predictions = pd.read_parquet(built.predictions(model.name))
        assert sorted(predictions["synapse_id"]) == sorted(cohort["synapse_id"])
        assert predictions["p_excitatory"].between(0, 1).all()


def test_every_method_answers_for_every_cleft_of_a_tissue_of_its_own(built):
    truth = pd.read_parquet(built.partners / "source" / "truth" / "synapses.parquet").set_index("synapse_id")
    table = pd.read_parquet(built.partners / "assignments.parquet")
    methods = config.load(TINY).partners.networks[:3] + ("largest_overlap", "darker_is_pre", "random_direction")
    assert set(table["method"]) == set(methods)
    for _, rows in table.groupby("method"):
        known = truth.loc[rows["synapse_id"]]
        assert rows["synapse_id"].is_unique
        assert (rows["true_pre_segment_id"].to_numpy() == known["pre_neuron_id"].to_numpy(np.uint64)).all()
        assert (rows["true_post_segment_id"].to_numpy() == known["post_neuron_id"].to_numpy(np.uint64)).all()
        answered = rows[rows["outcome"].isin(["assigned", "assigned_at_edge"])]
        assert (answered["pre_segment_id"] != answered["post_segment_id"]).all()
    assert set(pd.read_parquet(built.partners / "detections.parquet")["representation"]) == {
        "mask",
        "stdt",
        "proximity",
    }
    train = pd.read_parquet(built.source / "truth" / "synapses.parquet")
    assert not set(train["pre_neuron_id"]) & set(truth["pre_neuron_id"])


def test_extracted_pixels_are_those_of_cloud_volume_at_the_annotated_point(built):
    """50 random synapses: from CAVE's own 4x4x40 nm points to pixels with nothing of ours in between."""
    settings = config.load(TINY)
    rng = np.random.default_rng(0)
    index = pd.read_parquet(built.patches / "index.parquet")["synapse_id"]
    images = zarr.open_group(built.patches / "images.zarr", mode="r")
    quality = pd.read_parquet(built.patches / "quality.parquet")
    whole = quality.index[(quality["cube_padded"] == 0) & (quality["patch_padded"] == 0)]
    rows = rng.choice(whole, 50, replace=len(whole) < 50)
    with sandbox.serve(built.source, settings.source) as address:
        client = caveclient.CAVEclient(
            settings.source.datastack, server_address=address, auth_token=sandbox.TOKEN, write_server_cache=False
        )
        client.version = settings.source.materialization_version
        table = client.materialize.query_table(settings.source.tables.synapses, split_positions=True)
        volume = cloudvolume.CloudVolume(client.info.image_source(), progress=False)
    points = table.set_index("id")[[f"ctr_pt_position_{axis}" for axis in "xyz"]].loc[index]
    px = settings.extract.patch_px
    z, y, x = settings.extract.cube_zyx
    for row in rows:
        point = points.iloc[row].tolist()
        patch = volume.download_point(point, size=(px, px, 1), mip=0, coord_resolution=(4, 4, 40))
        np.testing.assert_array_equal(images["patch"][row], patch[:, :, 0, 0].T)
        cube = volume.download_point(point, size=(x, y, z), mip=0, coord_resolution=(4, 4, 40))
        np.testing.assert_array_equal(images["cube"][row], cube[..., 0].T)


def test_an_unchanged_tree_rebuilds_nothing(built):
    assert _recipes(_make(built.root.parent)) == set()


def test_a_changed_figure_script_rebuilds_its_figure_and_the_page(built):
    done = _make(built.root.parent, "-W", "figures/neurons.py")
    assert _recipes(done) == {"neurons.py", "page"}


def test_a_failed_step_fails_the_build_and_leaves_the_old_page(built):
    page = built.site / "index.html"
    before = page.read_bytes()
    predictions = built.predictions("small")
    whole = predictions.read_bytes()
    try:
        frame = pd.read_parquet(predictions)
        frame.loc[0, "p_excitatory"] = float("nan")
        frame.to_parquet(predictions, index=False)
        done = _make(built.root.parent, check=False)
        assert done.returncode != 0
        assert "p_excitatory must lie in [0, 1]" in done.stderr
        assert not (built.analysis / "performance.json").exists()
        assert page.read_bytes() == before
    finally:
        predictions.write_bytes(whole)
    _make(built.root.parent)
    assert page.is_file()


def test_predict_on_a_folder_agrees_with_the_build(built, tmp_path):
    """The command for one's own data, on the simulated volumes as a folder: the same pixels, the same numbers."""
    cohort = pd.read_parquet(built.synapses).head(20)
    rows = cohort[["synapse_id"]].copy()
    for axis, size in zip("xyz", (8, 8, 40), strict=True):
        rows[f"{axis}_vx"] = np.floor(cohort[f"center_{axis}_nm"] / size).astype(int)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    command = [REPOSITORY / ".venv/bin/python", "-m", "pipeline", "predict", "--run", built.run("small")]
    command += ["--volumes", built.source, "--synapses", tmp_path / "mine.csv", "--out", tmp_path / "mine.parquet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours = pd.read_parquet(tmp_path / "mine.parquet").set_index("synapse_id")["p_excitatory"]
    theirs = pd.read_parquet(built.predictions("small")).set_index("synapse_id")["p_excitatory"]
    np.testing.assert_allclose(ours, theirs.loc[ours.index], atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "mine.parquet"]


def test_a_model_that_fails_does_not_stop_the_others(built, tmp_path):
    """The study goes on, keeps what was trained, and names the failure at the end; each model by two processes."""
    text = (REPOSITORY / TINY).read_text()
    entries = "  - {name: broken, network: unet3d, crop: [64, 64, 64]}\n  - {name: last, network: cnn, epochs: 1}\n"
    text = text.replace("models:\n", f"models:\n{entries}", 1).replace(
        "compute:\n", "compute:\n  training_processes: 2\n"
    )
    (tmp_path / "tiny.yaml").write_text(text)
    command = [REPOSITORY / ".venv/bin/python", "-m", "pipeline", "train", "--config", tmp_path / "tiny.yaml"]
    weights = (built.run("small") / "model.safetensors").stat().st_mtime_ns
    done = subprocess.run([*command, "--build", built.root.parent], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not fit into the stored cubes (8, 48, 48)" in done.stderr
    assert "1 of 5 models failed: broken; see above" in done.stderr
    state = {
        cells[1]: cells[2] for line in done.stdout.splitlines() if len(cells := line.replace(" ", "").split("|")) > 2
    }
    assert state["broken"] == "failed"
    assert state["last"] == "trained"
    assert state["small"] == "trained"
    assert len(pd.read_parquet(built.predictions("last"))) == len(pd.read_parquet(built.synapses))
    assert (built.run("small") / "model.safetensors").stat().st_mtime_ns == weights


@pytest.mark.parametrize("name", ["unet3d", "cnn"])
def test_published_models_tell_the_classes_of_tissue_that_they_never_saw(built, tmp_path, name):
    truth = pd.read_parquet(built.source / "truth" / "synapses.parquet")
    rows = truth[["synapse_id"]].assign(cell_type=truth["label"].map({1: "excitatory", 0: "inhibitory"}))
    for axis, size in zip("xyz", (8, 8, 40), strict=True):
        rows[f"{axis}_vx"] = np.floor(truth[f"center_{axis}_nm"] / size).astype(int)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    command = [REPOSITORY / ".venv/bin/python", "-m", "pipeline", "predict", "--run", REPOSITORY / "pretrained" / name]
    command += ["--volumes", built.source, "--synapses", tmp_path / "mine.csv", "--out", tmp_path / "mine.parquet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "mine.parquet")
    assert sorted(found["synapse_id"]) == sorted(truth["synapse_id"])
    assert roc_auc_score(found["label"].astype(int), found["p_excitatory"]) > 0.8


def test_the_published_avan_joins_clefts_of_tissue_that_it_never_saw(built, tmp_path):
    """From the folder alone: the clefts are those of `clefts/`, and no truth is read."""
    source = built.partners / "source"
    command = [REPOSITORY / ".venv/bin/python", "-m", "pipeline", "partners", "--volumes", source]
    done = subprocess.run([*command, "--out", tmp_path / "p.parquet"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "p.parquet").set_index("synapse_id")
    truth = pd.read_parquet(source / "truth" / "synapses.parquet").set_index("synapse_id").loc[found.index]
    assert len(found) == len(pd.read_parquet(source / "truth" / "synapses.parquet"))
    sides = {"pre_segment_id": "pre_neuron_id", "post_segment_id": "post_neuron_id"}
    right = np.all([found[ours].astype("int64") == truth[theirs] for ours, theirs in sides.items()], axis=0)
    assert right.mean() >= 0.85
