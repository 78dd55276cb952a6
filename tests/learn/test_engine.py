"""The engine: the average in closed form, a network that can memorise, labels that mean nothing, a loss that breaks."""

import numpy as np
import pandas as pd
import pytest
import torch
from blobs import write_cohort
from sklearn.metrics import roc_auc_score

from pipeline import config, recipes
from pipeline.learn import ahead, data, engine, run
from pipeline.learn.augment import Augment
from pipeline.learn.classification import Classification
from pipeline.models import registry

UNCHANGED = dict.fromkeys(recipes.Augmentation.model_fields, 0)


def settings(**changes):
    values = {"name": "m", "network": "unet3d", "crop": (6, 24, 24), "batch_size": 16, "epochs": 4}
    return config.Model(**values | {"recipe": {"threads": 1}} | changes)


def test_moving_average_follows_its_closed_form():
    network = torch.nn.BatchNorm1d(2)
    average = engine.averaged(network, decay=0.5)
    values = [3.0, -1.0, 4.0, 1.0, -5.0, 9.0, 2.0, 6.0, 5.0, 3.0, 5.0]
    expected = None
    for step, value in enumerate(values):
        torch.nn.init.constant_(network.weight, value)
        network.running_mean.fill_(value)
        network.num_batches_tracked += 1
        average.update_parameters(network)
        d = min(0.5, (1 + step) / (10 + step))
        expected = value if step == 0 else d * expected + (1 - d) * value
    torch.testing.assert_close(average.module.weight.detach(), torch.full((2,), expected))
    torch.testing.assert_close(average.module.running_mean, torch.full((2,), expected))
    assert int(average.module.num_batches_tracked) == len(values)


def _rates(chosen, cohort):
    """Learning rates of encoder and head at every step of a training that never computes a gradient."""
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "cube", synapses["synapse_id"])
    task = Classification(registry.build("unet3d"), images, synapses, chosen, 0)
    training = engine._Training(task, chosen, 0)
    assert task.n_steps == 6  # 96 training synapses in batches of 16
    rates = []
    for _ in range(chosen.epochs * task.n_steps):
        rates.append(training.schedule.get_last_lr())
        training.optimizer.step()
        training.schedule.step()
    return np.array(rates).T


def test_learning_rate_warms_up_and_ends_near_zero(cohort):
    encoder, head = _rates(settings(epochs=10, recipe={"learning_rate": 1.0, "warmup_epochs": 2}), cohort)
    linear = np.arange(1, 13) / 13
    cosine = (1 + np.cos(np.pi * np.arange(48) / 48)) / 2
    np.testing.assert_allclose(head, np.concatenate([linear, cosine]), atol=1e-6)
    np.testing.assert_array_equal(encoder, head)


def test_rates_of_the_preset_with_a_head_only_phase(cohort):
    """Massoudi 2026: three epochs at 3e-4 for the head, then 8e-5 and 3e-4 along a cosine."""
    recipe = config.Model(name="m", preset="massoudi2026").recipe
    encoder, head = _rates(settings(epochs=18, recipe=recipe), cohort)
    cosine = (1 + np.cos(np.pi * np.arange(90) / 90)) / 2
    np.testing.assert_allclose(head, 3e-4 * np.concatenate([np.ones(18), cosine]))
    np.testing.assert_allclose(encoder[18:], 8e-5 * cosine)


def test_the_encoder_rests_while_the_head_is_trained(cohort, tmp_path):
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "patch", synapses["synapse_id"])
    network = registry.build("cnn")
    chosen = settings(network="cnn", crop=(32, 32), epochs=3, recipe={"threads": 1, "head_epochs": 2, "ema_decay": 0})
    training = engine._Training(Classification(network, images, synapses, chosen, 0), chosen, 0)

    def state():
        return {name: value.clone() for name, value in network.state_dict().items()}

    moved = []
    for _ in range(3):
        before = state()
        training.history.append(training.epoch())
        moved.append({name for name, value in state().items() if not torch.equal(value, before[name])})
    assert moved[0] == moved[1] == {"head.weight", "head.bias"}  # batch statistics rest too
    assert moved[2] == set(state())


def test_sixteen_synapses_can_be_memorised(cohort, tmp_path):
    torch.manual_seed(0)
    synapses = pd.read_parquet(cohort[1])
    train = synapses[synapses["split"] == "train"].iloc[::6]
    assert len(train) == 16
    train = train.assign(label=np.random.default_rng(0).permutation(np.repeat([0, 1], 8)))  # nothing but memory helps
    both = pd.concat([train, train.assign(split="val")], ignore_index=True)
    images = data.Images(cohort[0], "cube", both["synapse_id"])
    recipe = {
        "threads": 1,
        "dropout": 0,
        "weight_decay": 0,
        "label_smoothing": 0,
        "ema_decay": 0.5,
        "patience": 100,
        "learning_rate": 3e-3,
    }
    chosen = settings(epochs=80, batch_size=8, recipe=recipe, augmentation=UNCHANGED)
    engine.fit(Classification(registry.build("unet3d"), images, both, chosen, 0), chosen, 0, tmp_path)
    assert pd.read_csv(tmp_path / "log.csv")["val_balanced_accuracy"].max() == 1


def test_resnet18_learns_from_patches_what_holds_for_other_neurons(cohort, tmp_path):
    chosen = settings(network="resnet18", crop=(32, 32), epochs=3)
    run.train(*cohort, chosen, tmp_path / "run", tmp_path / "p.parquet", 0)
    found = pd.read_parquet(tmp_path / "p.parquet").query("split == 'test'")
    assert roc_auc_score(found["label"], found["p_excitatory"]) > 0.9


def test_labels_that_mean_nothing_teach_nothing(tmp_path):
    """The leakage alarm: every neuron has a random label, and each is tested by a network that never saw it."""
    patches, path = write_cohort(tmp_path, n_neurons=60, n_each=4, shuffled=True, seed=4)
    run.train({"em": patches}, path, settings(epochs=2, folds=True), tmp_path / "run", tmp_path / "p.parquet", 0)
    found = pd.read_parquet(tmp_path / "p.parquet")
    # 30 against 30 neurons: the null of the AUC has a standard deviation of about sqrt(61 / (12 * 900)) = 0.075
    assert abs(roc_auc_score(found["label"], found["p_excitatory"]) - 0.5) < 3 * 0.075


def test_loss_that_breaks_names_the_synapses(cohort, tmp_path):
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "cube", synapses["synapse_id"])
    network = registry.build("unet3d")
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(engine.TrainingError, match=r"m: the loss became nan in epoch 1.*synapses \[1\d\d\d, 1\d\d\d"):
        engine.fit(Classification(network, images, synapses, settings(), 0), settings(), 0, tmp_path)


def test_the_first_batch_whose_loss_breaks_is_named_though_others_follow(cohort, tmp_path, monkeypatch):
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "cube", synapses["synapse_id"])
    task, taken = Classification(registry.build("unet3d"), images, synapses, settings(), 0), []
    loss = task.loss

    def broken(network, rows, stored):
        taken.append(rows)
        return loss(network, rows, stored) * (float("inf") if len(taken) == 9 else 1)

    monkeypatch.setattr(task, "loss", broken)
    with pytest.raises(engine.TrainingError, match=r"became inf in epoch 2") as error:
        engine.fit(task, settings(), 0, tmp_path)
    assert f"synapses {task.synapse_ids[taken[8]].tolist()}" in str(error.value)
    assert len(taken) > 9  # the loss of a step is not waited for
    assert len(pd.read_csv(tmp_path / "log.csv")) == 1  # and nothing of the broken epoch is kept


def test_the_middle_that_crops_are_taken_from_gives_the_crops_of_the_whole(cohort):
    """Reading less changes no byte: at the border, in the middle, and for odd sizes."""
    stored = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 1, 6, 41, 64)).astype(np.uint8))
    for shape_zyx in ((6, 24, 24), (4, 33, 25), (5, 41, 64)):
        changes = [Augment(recipes.Augmentation(), shape_zyx, seed=3) for _ in range(2)]
        middle = data.centre(stored, changes[0].reach_zyx((6, 41, 64)))
        assert middle.numel() < stored.numel() or shape_zyx == (5, 41, 64)
        whole, part = (change(images) for change, images in zip(changes, (stored, middle), strict=True))
        torch.testing.assert_close(part, whole, rtol=0, atol=0)


def test_training_does_not_depend_on_how_far_is_read_ahead(cohort, tmp_path, monkeypatch):
    found = []
    for n, (readers, batches) in enumerate(((1, 1), (3, 5))):
        monkeypatch.setattr(ahead, "READERS", readers)
        monkeypatch.setattr(ahead, "AHEAD", batches)
        run.train(*cohort, settings(epochs=1), tmp_path / f"run{n}", tmp_path / f"{n}.parquet", 0)
        found.append((tmp_path / f"run{n}" / "model.safetensors").read_bytes())
    assert found[0] == found[1]


def test_training_stops_when_validation_no_longer_improves(cohort, tmp_path, monkeypatch):
    scores = iter([0.6, 0.8, 0.7, 0.8, 0.75, 0.9])
    monkeypatch.setattr(
        Classification,
        "validate",
        lambda *_: {"val_loss": 0.5, "val_balanced_accuracy": next(scores), "val_roc_auc": 0.5},
    )
    synapses = pd.read_parquet(cohort[1])
    images = data.Images(cohort[0], "cube", synapses["synapse_id"])
    chosen = settings(epochs=20, recipe={"threads": 1, "patience": 3})
    facts = engine.fit(Classification(registry.build("unet3d"), images, synapses, chosen, 0), chosen, 0, tmp_path)
    assert facts["best_epoch"] == 2
    assert facts["epochs"] == 5
