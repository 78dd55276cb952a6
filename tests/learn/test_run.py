"""Whole runs: repeatable, resumable through SIGKILL, not repeated for nothing, and applied to new synapses."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline import config
from pipeline.artefacts import REPOSITORY
from pipeline.learn import checkpoint, data, predict, run
from pipeline.learn.augment import symmetry
from pipeline.learn.threshold import best_threshold

SETTINGS = config.Model(
    name="unet", network="unet3d", crop=(6, 24, 24), batch_size=16, epochs=6, recipe={"threads": 1, "warmup_epochs": 1}
)
CHILD = """
import sys
from pathlib import Path
from pipeline import config
from pipeline.learn import run
patches, synapses, settings, folder = sys.argv[1:]
model = config.Model.model_validate_json(settings)
run.train(patches, synapses, model, Path(folder) / "run", Path(folder) / "p.parquet", 5)
"""


@pytest.fixture(scope="module")
def trained(cohort, tmp_path_factory):
    """Folder of an uninterrupted run: `run/`, `p.parquet`."""
    folder = tmp_path_factory.mktemp("trained")
    run.train(*cohort, SETTINGS, folder / "run", folder / "p.parquet", 5)
    return folder


def test_predictions_follow_the_contract_and_hold_out_neurons(trained, cohort):
    found = pd.read_parquet(trained / "p.parquet")
    synapses = pd.read_parquet(cohort[1])
    pd.testing.assert_frame_equal(found.drop(columns="p_excitatory"), synapses)
    assert found["p_excitatory"].between(0, 1).all()
    test = found[found["split"] == "test"]
    assert roc_auc_score(test["label"], test["p_excitatory"]) > 0.9


def test_tau_comes_from_validation_alone(trained):
    found = pd.read_parquet(trained / "p.parquet")
    val = found[found["split"] == "val"]
    tau = best_threshold(val["label"], val["p_excitatory"])
    assert json.loads((trained / "run" / "result.json").read_text())["tau"] == tau
    assert checkpoint.load(trained / "run" / "model.safetensors")[1].tau == tau


def test_killed_and_restarted_ends_with_the_same_bytes(trained, cohort, tmp_path):
    """SIGKILL at two random moments of training, then a restart to the end, in other processes."""
    chance = random.Random()
    command = [sys.executable, "-c", CHILD, *map(str, cohort), SETTINGS.model_dump_json(), str(tmp_path)]
    log = tmp_path / "run" / "log.csv"
    kills = 0
    for epochs_before in (1, 3):
        child = subprocess.Popen(command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"})
        while child.poll() is None and (not log.is_file() or len(log.read_text().splitlines()) - 1 < epochs_before):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        kills += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert kills, "the run was over before it could be killed"
    subprocess.run(command, cwd=REPOSITORY, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    for name in ("p.parquet", "run/model.safetensors"):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes(), name
    losses = [pd.read_csv(folder / "run" / "log.csv").drop(columns="seconds") for folder in (tmp_path, trained)]
    pd.testing.assert_frame_equal(*losses)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "log.csv",
        "model.safetensors",
        "result.json",
    ]


def test_finished_run_is_left_alone_and_lost_predictions_come_back(trained, cohort, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(run.loop, "fit", lambda *_: pytest.fail("trained again"))
    before = (trained / "p.parquet").read_bytes()
    run.train(*cohort, SETTINGS, trained / "run", trained / "p.parquet", 5)
    assert "unet: already trained" in caplog.text
    (trained / "p.parquet").unlink()
    run.train(*cohort, SETTINGS, trained / "run", trained / "p.parquet", 5)
    assert (trained / "p.parquet").read_bytes() == before


def test_run_of_other_settings_starts_over(cohort, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    paths = tmp_path / "run", tmp_path / "p.parquet"
    control = SETTINGS.model_copy(update={"trained": False})
    run.train(*cohort, control, *paths, 5)
    first = (tmp_path / "p.parquet").read_bytes()
    run.train(*cohort, control, *paths, 6)
    assert "holds a run of other seed; starting over" in caplog.text
    second = (tmp_path / "p.parquet").read_bytes()
    assert second != first
    (tmp_path / "p.parquet").unlink()
    run.train(*cohort, control, *paths, 6)
    assert (tmp_path / "p.parquet").read_bytes() == second


def test_control_is_a_regression_on_random_features_and_not_the_trained_network(trained, cohort, tmp_path):
    control = SETTINGS.model_copy(update={"trained": False})
    run.train(*cohort, control, tmp_path / "run", tmp_path / "p.parquet", 5)
    found = pd.read_parquet(tmp_path / "p.parquet")
    network, card = checkpoint.load(tmp_path / "run" / "model.safetensors")
    images = data.Images(cohort[0], "cube", found["synapse_id"])
    features = np.concatenate(list(predict.features(network, images, np.arange(len(images)), card.shape_zyx)))
    train = (found["split"] == "train").to_numpy()
    strength = json.loads((tmp_path / "run" / "result.json").read_text())["regression_c"]
    oracle = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    ).fit(features[train], found["label"][train])
    np.testing.assert_allclose(found["p_excitatory"], oracle.predict_proba(features)[:, 1], atol=1e-5)
    other = pd.read_parquet(trained / "p.parquet")["p_excitatory"]
    assert np.abs(found["p_excitatory"] - other).max() > 0.1


def test_prediction_is_the_same_for_all_symmetries_of_the_images(trained, cohort):
    network, card = checkpoint.load(trained / "run" / "model.safetensors")
    images = data.Images(cohort[0], "cube", pd.read_parquet(cohort[1])["synapse_id"])
    stored = images.read(np.arange(16))
    rows = np.arange(16)

    class Turned:
        kind = "cube"

        def __init__(self, number):
            self.number = number

        def read(self, rows):
            return symmetry(stored, self.number)[rows]

    def p_excitatory(number, symmetries):
        batches = predict.features(network, Turned(number), rows, card.shape_zyx, symmetries)
        return predict.probability(predict.logits(network, batches))

    p = [p_excitatory(number, 8) for number in range(8)]
    np.testing.assert_allclose(p, np.broadcast_to(p[0], (8, 16)), atol=2e-3)  # bfloat16 where the CPU has it
    single = [p_excitatory(number, 1) for number in range(8)]
    assert np.ptp(single, axis=0).max() > 5e-3  # and without averaging it would not be


def test_new_synapses_without_labels_get_the_same_probabilities(trained, cohort, tmp_path):
    synapses = pd.read_parquet(cohort[1])
    run.predict_run(trained / "run", cohort[0], synapses[["synapse_id"]], tmp_path / "new.parquet")
    found = pd.read_parquet(tmp_path / "new.parquet")
    assert list(found) == ["synapse_id", "p_excitatory"]
    expected = pd.read_parquet(trained / "p.parquet")
    np.testing.assert_array_equal(found["p_excitatory"], expected["p_excitatory"])


def test_prediction_streams(trained, cohort, tmp_path, monkeypatch):
    """Images are never held whole once they outgrow the cache, and the result is the same."""
    monkeypatch.setattr(data, "CACHE_BYTES", 0)
    asked = []
    read = data.Images._read
    monkeypatch.setattr(data.Images, "_read", lambda self, rows: asked.append(len(rows)) or read(self, rows))
    run.predict_run(trained / "run", cohort[0], pd.read_parquet(cohort[1]), tmp_path / "new.parquet")
    assert max(asked) == predict.BATCH
    assert (tmp_path / "new.parquet").read_bytes() == (trained / "p.parquet").read_bytes()


def test_repeatable_after_other_random_numbers_were_drawn(trained, cohort, tmp_path):
    torch.rand(7)
    np.random.default_rng().random(3)
    run.train(*cohort, SETTINGS, tmp_path / "run", tmp_path / "p.parquet", 5)
    assert (tmp_path / "p.parquet").read_bytes() == (trained / "p.parquet").read_bytes()
