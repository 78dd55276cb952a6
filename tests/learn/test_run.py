"""Whole runs: repeatable, resumable through SIGKILL, not repeated for nothing, and applied to new synapses."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from blobs import write_cohort
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline import config
from pipeline.artefacts import REPOSITORY
from pipeline.freshness import closure
from pipeline.learn import classification, data, engine, predict, run
from pipeline.learn.augment import symmetry
from pipeline.learn.threshold import best_threshold
from pipeline.partners import train as training

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
run.train({"em": Path(patches)}, synapses, model, Path(folder) / "run", Path(folder) / "p.parquet", 5)
"""


def paths_of(cohort):
    stores, synapses = cohort
    return [str(stores["em"]), str(synapses)]


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
    assert classification.load(trained / "run" / "model.safetensors")[1].decision["tau"] == tau


def test_killed_and_restarted_ends_with_the_same_bytes(trained, cohort, tmp_path):
    """SIGKILL at two random moments of training, then a restart to the end, in other processes."""
    chance = random.Random()
    command = [sys.executable, "-c", CHILD, *paths_of(cohort), SETTINGS.model_dump_json(), str(tmp_path)]
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
    losses = [
        pd.read_csv(folder / "run" / "log.csv").drop(columns=["seconds", "share_waiting"])
        for folder in (tmp_path, trained)
    ]
    pd.testing.assert_frame_equal(*losses)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "log.csv",
        "model.safetensors",
        "result.json",
    ]


def test_finished_run_is_left_alone_and_lost_predictions_come_back(trained, cohort, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(engine, "fit", lambda *_: pytest.fail("trained again"))
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


def test_neurons_left_out_of_training_are_predicted_but_not_learned_from(cohort, tmp_path):
    control = SETTINGS.model_copy(update={"trained": False})
    half = control.model_copy(update={"train_share": 0.5})
    synapses = pd.read_parquet(cohort[1])
    used = data.share_of_neurons(synapses, 0.5, engine.seed_of(5, half.seed))
    fewer = synapses[used["split"] != data.LEFT_OUT]
    fewer.to_parquet(tmp_path / "fewer.parquet")
    run.train(*cohort, half, tmp_path / "half", tmp_path / "half.parquet", 5)
    run.train(cohort[0], tmp_path / "fewer.parquet", control, tmp_path / "run", tmp_path / "p.parquet", 5)
    result = json.loads((tmp_path / "half" / "result.json").read_text())
    assert result["train_neurons"] == fewer.loc[fewer["split"] == "train", "pre_neuron_id"].nunique()
    found, expected = pd.read_parquet(tmp_path / "half.parquet"), pd.read_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(found.drop(columns="p_excitatory"), synapses)
    both = found.merge(expected, on="synapse_id")
    np.testing.assert_allclose(both["p_excitatory_x"], both["p_excitatory_y"], rtol=1e-5)


def test_control_is_a_regression_on_random_features_and_not_the_trained_network(trained, cohort, tmp_path):
    control = SETTINGS.model_copy(update={"trained": False})
    run.train(*cohort, control, tmp_path / "run", tmp_path / "p.parquet", 5)
    found = pd.read_parquet(tmp_path / "p.parquet")
    network, card = classification.load(tmp_path / "run" / "model.safetensors")
    images = data.Images(cohort[0], "cube", found["synapse_id"])
    features = np.concatenate(list(classification.features(network, images, np.arange(len(images)), card.shape_zyx)))
    train = (found["split"] == "train").to_numpy()
    strength = json.loads((tmp_path / "run" / "result.json").read_text())["regression_c"]
    oracle = make_pipeline(
        StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    ).fit(features[train], found["label"][train])
    expected = expit(oracle.decision_function(features) / card.decision["temperature"])
    np.testing.assert_allclose(found["p_excitatory"], expected, atol=1e-5)
    other = pd.read_parquet(trained / "p.parquet")["p_excitatory"]
    assert np.abs(found["p_excitatory"] - other).max() > 0.1


def test_random_weights_are_not_left_without_batch_statistics(cohort, tmp_path):
    """The first layer's are those of its responses to all training images, as torch computes them at once."""
    control = SETTINGS.model_copy(update={"trained": False, "network": "cnn", "sections": 3, "crop": (32, 32)})
    run.train(*cohort, control, tmp_path / "run", tmp_path / "p.parquet", 5)
    network, card = classification.load(tmp_path / "run" / "model.safetensors")
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "cube", synapses["synapse_id"])
    stored = images.read(np.flatnonzero(synapses["split"] == "train"), card.shape_zyx)
    shown = data.as_input(data.normalise_em(stored.float() / 255), 2)
    first, norm = network.encoder.body[0], network.encoder.body[1]
    with torch.no_grad():
        seen = first(shown)
    torch.testing.assert_close(norm.running_mean, seen.mean(dim=(0, 2, 3)), rtol=0.05, atol=0.02)
    torch.testing.assert_close(norm.running_var, seen.var(dim=(0, 2, 3)), rtol=0.05, atol=0.02)


def test_prediction_is_the_same_for_all_symmetries_of_the_images(trained, cohort):
    network, card = classification.load(trained / "run" / "model.safetensors")
    images = data.Images(cohort[0], "cube", pd.read_parquet(cohort[1])["synapse_id"])
    stored = images.read(np.arange(16))
    rows = np.arange(16)

    class Turned:
        def __init__(self, number):
            self.number = number

        def read(self, rows, shape_zyx):
            return data.centre(symmetry(stored, self.number)[rows], shape_zyx)

    def p_excitatory(number, symmetries):
        batches = classification.features(network, Turned(number), rows, card.shape_zyx, symmetries)
        return expit(classification.logits(network, batches))

    p = [p_excitatory(number, 8) for number in range(8)]
    np.testing.assert_allclose(p, np.broadcast_to(p[0], (8, 16)), atol=2e-3)  # bfloat16 where the CPU has it
    single = [p_excitatory(number, 1) for number in range(8)]
    assert np.ptp(single, axis=0).max() > 5e-3  # and without averaging it would not be


def test_new_synapses_without_labels_get_the_same_probabilities(trained, cohort):
    synapses = pd.read_parquet(cohort[1])
    found = run.predict(trained / "run" / "model.safetensors", cohort[0], synapses[["synapse_id"]])
    assert list(found) == ["synapse_id", "p_excitatory"]
    expected = pd.read_parquet(trained / "p.parquet")
    np.testing.assert_array_equal(found["p_excitatory"], expected["p_excitatory"])


def test_prediction_streams(trained, cohort, monkeypatch):
    """Images are never held whole."""
    asked = []
    read = data.Images.read
    monkeypatch.setattr(data.Images, "read", lambda self, *what: asked.append(len(what[0])) or read(self, *what))
    monkeypatch.setitem(predict.VOXELS, "cpu", 20 * 6 * 24 * 24)
    run.predict(trained / "run" / "model.safetensors", cohort[0], pd.read_parquet(cohort[1]))
    assert max(asked) == 20


def test_repeatable_after_other_random_numbers_were_drawn(trained, cohort, tmp_path):
    torch.rand(7)
    np.random.default_rng().random(3)
    run.train(*cohort, SETTINGS, tmp_path / "run", tmp_path / "p.parquet", 5)
    assert (tmp_path / "p.parquet").read_bytes() == (trained / "p.parquet").read_bytes()


def test_each_neuron_is_tested_once_by_a_network_that_never_saw_it(cohort, tmp_path):
    model = SETTINGS.model_copy(update={"folds": True, "epochs": 1})
    run.train(*cohort, model, tmp_path / "run", tmp_path / "p.parquet", 5)
    found = pd.read_parquet(tmp_path / "p.parquet")
    synapses = pd.read_parquet(cohort[1])
    pd.testing.assert_frame_equal(found.drop(columns="p_excitatory"), synapses.assign(split="test"))
    for fold in range(5):
        folder = tmp_path / "run" / f"fold{fold}"
        seen = json.loads((folder / "result.json").read_text())["synapses"]
        mine = synapses["fold"] == fold
        assert seen["test"] == mine.sum()
        assert seen["val"] == (synapses["fold"] == (fold + 1) % 5).sum()
        # the fold's own model file, at its own threshold, decides as the pooled predictions do at 0.5
        alone = run.predict(folder / "model.safetensors", cohort[0], synapses[mine])["p_excitatory"]
        tau = classification.load(folder / "model.safetensors")[1].decision["tau"]
        pooled = found.loc[mine, "p_excitatory"]
        np.testing.assert_array_equal(pooled >= 0.5, alone >= tau)
        np.testing.assert_array_equal(np.argsort(pooled, kind="stable"), np.argsort(alone, kind="stable"))


def test_interrupted_cross_validation_keeps_its_finished_folds(cohort, tmp_path, monkeypatch):
    model = SETTINGS.model_copy(update={"folds": True, "epochs": 1})
    paths = tmp_path / "run", tmp_path / "p.parquet"
    fit, calls = engine.fit, []

    def break_in_fold_2(*arguments):
        calls.append(arguments[-1].name)
        if calls == ["fold0", "fold1", "fold2"]:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(engine, "fit", break_in_fold_2)
    with pytest.raises(KeyboardInterrupt):
        run.train(*cohort, model, *paths, 5)
    run.train(*cohort, model, *paths, 5)
    assert calls == ["fold0", "fold1", "fold2", "fold2", "fold3", "fold4"]
    monkeypatch.setattr(engine, "fit", fit)
    run.train(*cohort, model, tmp_path / "whole", tmp_path / "whole.parquet", 5)
    assert (tmp_path / "whole.parquet").read_bytes() == paths[1].read_bytes()


def test_several_sections_tell_what_one_does_not(tmp_path):
    """The classes differ in one neighbouring section alone: 2.5D sees it, 2D cannot."""
    patches, path = write_cohort(tmp_path, n_neurons=24, n_each=8)
    synapses = pd.read_parquet(path)
    stored = pd.read_parquet(patches / "index.parquet")["synapse_id"]
    label = synapses.set_index("synapse_id")["label"].loc[stored].to_numpy()
    group = zarr.open_group(patches / "images.zarr")
    cubes = np.random.default_rng(0).integers(90, 160, group["cube"].shape).astype(np.uint8)
    cubes[label == 1, 4, 10:30, 10:30] -= 60
    group["cube"][:] = cubes
    group["patch"][:] = cubes[:, 3]

    def auc(sections):
        changes = {"network": "cnn", "crop": (40, 40), "sections": sections, "epochs": 3}
        model = config.Model.model_validate(SETTINGS.model_dump() | changes)
        run.train({"em": patches}, path, model, tmp_path / f"{sections}", tmp_path / f"{sections}.parquet", 5)
        test = pd.read_parquet(tmp_path / f"{sections}.parquet").query("split == 'test'")
        return roc_auc_score(test["label"], test["p_excitatory"])

    assert auc(3) > 0.95
    assert 0.25 < auc(1) < 0.75


def test_two_processes_take_the_steps_of_one(cohort, tmp_path):
    """The same global batches, no random changes: torchrun's two processes reach the loss and weights of one."""
    child = str(Path(__file__).parent / "two_processes.py")
    for n in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}", child]
        command += [*paths_of(cohort), str(tmp_path / str(n))]
        done = subprocess.run(
            command, cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    alone, together = (pd.read_csv(tmp_path / n / "run" / "log.csv") for n in "12")
    np.testing.assert_allclose(together["loss"], alone["loss"], rtol=1e-4)
    np.testing.assert_allclose(together["val_loss"], alone["val_loss"], rtol=1e-3)
    one, two = (pd.read_parquet(tmp_path / n / "p.parquet")["p_excitatory"] for n in "12")
    np.testing.assert_allclose(two, one, atol=1e-3)


def test_running_out_of_memory_proposes_a_batch_size(cohort, tmp_path, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore")

    monkeypatch.setattr(engine._Training, "_step", full)
    with pytest.raises(engine.TrainingError, match=r"unet: out of memory with batch_size 16 .*`batch_size: 8`"):
        run.train(*cohort, SETTINGS, tmp_path / "run", tmp_path / "p.parquet", 5)


def test_only_code_that_a_training_runs_makes_it_start_over():
    """A run names its code by content: neither what classifiers do not use, nor the settings of other stages, count."""
    code = {path.relative_to(REPOSITORY / "pipeline").as_posix() for path in closure(Path(run.__file__))}
    assert {"learn/run.py", "learn/engine.py", "learn/augment.py", "models/unet3d.py", "recipes.py"} <= code
    assert code.isdisjoint({"learn/evidence.py", "models/rsunet.py", "config.py"})
    networks = {path.relative_to(REPOSITORY / "pipeline").as_posix() for path in closure(Path(training.__file__))}
    assert {"partners/train.py", "partners/targets.py", "learn/engine.py", "models/rsunet.py"} <= networks
    assert networks.isdisjoint({"models/registry.py", "learn/run.py", "partners/masks.py", "config.py"})
