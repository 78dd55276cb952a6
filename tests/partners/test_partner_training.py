"""Whole runs of the partner networks on the toy tissue: what they learn, that they repeat and resume, prediction."""

import logging
import shutil

import numpy as np
import pandas as pd
import pytest
import safetensors
import torch
import toy_store as toy

from pipeline.learn import engine
from pipeline.learn.augment import SYMMETRIES, symmetry
from pipeline.learn.checkpoint import CheckpointError
from pipeline.models.names import PRUNERS
from pipeline.partners import candidates, model, predict, targets, train
from pipeline.partners.samples import Samples, SamplesError

UNSEEN = {"n_train": 0, "n_background": 0, "n_val": 24, "seed": 99}


@pytest.fixture(scope="module")
def store(toy_run):
    return toy_run[0]


@pytest.fixture(scope="module")
def unseen(tmp_path_factory):
    return Samples(toy.write(tmp_path_factory.mktemp("unseen") / "samples", **UNSEEN))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return toy.write(tmp_path_factory.mktemp("small") / "samples", n_train=12, n_val=3, n_background=2)


@pytest.fixture(scope="module")
def avan(toy_run):
    """Folder of a finished run of AVAN."""
    return toy_run[1]


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def right(decisions, samples):
    """Share of clefts given their true pair, and of clefts given it or its reverse the share with the direction."""
    truth = samples.index.loc[list(decisions), ["pre_local", "post_local"]].to_numpy()
    found = np.array([(decision.pre, decision.post) for decision in decisions.values()])
    same, reverse = (found == truth).all(axis=1), (found == truth[:, ::-1]).all(axis=1)
    return same.mean(), same.sum() / (same | reverse).sum()


def test_avan_learns_partners_and_direction(avan, unseen):
    network, card = model.load(avan / "model.safetensors")
    decisions = predict.decisions(network, card, unseen, np.arange(len(unseen)))
    assert right(decisions, unseen)[0] > 0.9
    assert {decision.outcome for decision in decisions.values()} == {"assigned"}
    log = pd.read_csv(avan / "log.csv")
    assert log["val_loss"].iloc[-1] < log["val_loss"].iloc[0]


@pytest.mark.parametrize("name", PRUNERS)
def test_pruners_learn_partners_and_direction(name, unseen, tmp_path):
    store = toy.write(tmp_path / "samples", n_train=200)  # with 80, partner and bystander stay a toss-up
    toy.train(store, toy.settings(name, epochs=6), tmp_path / "run", 5)
    found = predict.decisions(*model.load(tmp_path / "run" / "model.safetensors"), unseen, np.arange(len(unseen)))
    pair, direction = right(found, unseen)
    assert pair > 0.9  # of six ordered pairs
    assert direction > 0.9


@pytest.mark.parametrize("name", ["detect_mask", "detect_stdt", "detect_proximity"])
def test_detectors_learn_their_map(name, store, unseen, tmp_path):
    toy.train(store, toy.settings(name, epochs=2), tmp_path, 5)
    network, card = model.load(tmp_path / "model.safetensors")
    correlation = []
    for row in range(6):
        em, cleft, segments = (x[0, :, 4:28, 4:28] for x in unseen.read(np.array([row])))
        partners = unseen.index.loc[row, ["pre_local", "post_local"]].tolist()
        wanted, known = targets.detection(name.removeprefix("detect_"), cleft, segments, *partners, card.voxel_nm)
        found = predict.dense(network, card, em)
        correlation.append(np.corrcoef(found[known], wanted[known])[0, 1])
    assert np.mean(correlation) > 0.3


@pytest.mark.parametrize("name", ["avan", "mask_pruner", "detect_proximity"])
def test_same_seed_same_bytes_also_after_an_interruption(name, small, tmp_path, monkeypatch):
    first, again, other = (tmp_path / part for part in ("first", "again", "other"))
    short = toy.settings(name, epochs=2)
    facts = toy.train(small, short, first, 5)
    toy.train(small, short, other, 6)
    assert weights(first) != weights(other)

    validate = train.OnSamples.validate
    calls = []

    def stop_in_second_epoch(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return validate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.OnSamples, "validate", stop_in_second_epoch)
        toy.train(small, short, again, 5)
    assert not (again / "result.json").exists()
    resumed = toy.train(small, short, again, 5)
    assert weights(again) == weights(first)
    assert resumed["validation"] == facts["validation"]
    assert not (again / "checkpoint.pt").exists()


def test_a_finished_run_is_left_alone_and_one_of_anything_else_starts_over(small, tmp_path, caplog):
    run, settings = tmp_path / "run", toy.settings("avan", epochs=1)
    facts = toy.train(small, settings, run, 5)
    assert engine.is_up_to_date(run, toy.identity(small, settings, 5), run / "model.safetensors")
    before = (run / "model.safetensors").stat().st_mtime_ns
    assert toy.train(small, settings, run, 5) == facts
    assert (run / "model.safetensors").stat().st_mtime_ns == before
    for other in (
        (small, toy.settings("avan", epochs=2), 5),
        (small, toy.settings("detect_mask", epochs=1), 5),
        (small, settings, 6),
        (small, settings, 5, run / "model.safetensors"),
        (toy.write(tmp_path / "samples", 4, 2, 0), settings, 5),
    ):
        assert not engine.is_up_to_date(run, toy.identity(*other))
    with caplog.at_level(logging.INFO):
        toy.train(small, settings, run, 6)
    assert "holds a run of other seed; starting over" in caplog.text


def test_fine_tuning_begins_where_training_ended(avan, store, small, tmp_path):
    start = avan / "model.safetensors"
    gentle = {"epochs": 1, "recipe": {"learning_rate": 1e-6}}
    tuned = toy.train(small, toy.settings("avan", **gentle), tmp_path / "tuned", 5, start)
    fresh = toy.train(small, toy.settings("avan", **gentle), tmp_path / "fresh", 5)
    assert tuned["validation"]["loss"] < 0.8 * fresh["validation"]["loss"]
    network, _ = model.load(start)
    close, _ = model.load(tmp_path / "tuned" / "model.safetensors")
    for old, new in zip(network.parameters(), close.parameters(), strict=True):
        torch.testing.assert_close(new, old, atol=1e-4, rtol=0)
    with pytest.raises(CheckpointError, match="holds avan of width 8, not detect_mask of 8"):
        toy.train(store, toy.settings("detect_mask", **gentle), tmp_path / "other", 5, start)


def test_unlabelled_voxels_do_not_count(small):
    """Whatever AVAN outputs there, the loss is that of the labelled ones: the mean cross-entropy over both outputs."""
    samples = Samples(small)
    card = model.card("avan", 8, toy.VOXEL_NM, (6, 24, 24), 80.0)
    task = train.Assignment(model.build("avan", 8), card, samples, toy.settings("avan"), 0)
    rows = np.array([0, 3])
    em, cleft, segments = (torch.from_numpy(x.astype(np.int32)) for x in samples.read(rows))
    logits = torch.randn(2, 2, *toy.SHAPE_ZYX, generator=torch.Generator().manual_seed(0))
    loss = task.loss_of(lambda _: logits, rows, (em / 255, cleft, segments), None)
    wild = torch.where((segments == 0)[:, None], 50.0, logits)
    assert task.loss_of(lambda _: wild, rows, (em / 255, cleft, segments), None) == loss
    expected = []
    for n, row in enumerate(rows):
        for side, output in zip(("pre_local", "post_local"), logits[n], strict=True):
            is_it, known = segments[n] == int(samples.index[side][row]), segments[n] > 0
            p = torch.sigmoid(output.double())
            expected.append(-torch.log(torch.where(is_it, p, 1 - p))[known])
    assert float(loss) == pytest.approx(float(torch.cat(expected).mean()), rel=1e-5)


def test_training_patches_hold_their_own_cleft_and_lie_in_the_sample():
    rng = np.random.default_rng(0)
    cleft = np.zeros((300, 8, 40, 40), np.uint8)
    cleft[:, :, 30:, 3] = 2
    cleft[:200, 2:6, 18:26, 20] = 1
    centres = train._centres(cleft, (8, 24, 24), rng).numpy()
    assert (centres[:200, 2] == 20).all()
    assert set(centres[:200, 1]) == set(range(18, 26))
    assert (centres[:, 0] == 4).all()  # as deep as the sample
    low = centres - np.array([4, 12, 12])
    assert (low >= 0).all()
    assert (low + [8, 24, 24] <= [8, 40, 40]).all()
    assert len(set(centres[200:, 2])) > 10  # background: anywhere


def test_assignment_takes_the_best_pair_of_mean_outputs_among_candidates(avan, unseen):
    """Against means and a search over pairs written out."""
    network, card = model.load(avan / "model.safetensors")
    rows = np.array([5, 1, 17])
    em, cleft, segments = (x[:, :, 4:28, 4:28] for x in unseen.read(rows))
    outputs = predict.avan_outputs(network, em, cleft == 1)
    masks = predict.presynaptic_masks(network, card, unseen, rows)
    np.testing.assert_array_equal(masks, outputs[:, 0])
    decisions = predict.decisions(network, card, unseen, rows)
    assert list(decisions) == rows.tolist()
    for n, row in enumerate(rows):
        numbers, _ = candidates.segments_near(segments[n], cleft[n] == 1, card.voxel_nm, card.decision["dilation_nm"])
        pairs = {}
        for a in numbers:
            for b in numbers:
                if a != b:
                    pairs[a, b] = (outputs[n, 0][segments[n] == a].mean() + outputs[n, 1][segments[n] == b].mean()) / 2
        best = max(pairs, key=pairs.get)
        assert (decisions[row].pre, decisions[row].post) == best
        assert decisions[row].confidence == pytest.approx(pairs[best], abs=1e-5)


def test_averaged_over_symmetries_outputs_turn_with_the_image(avan, unseen):
    network, _ = model.load(avan / "model.safetensors")
    em, cleft, _ = (torch.from_numpy(x.astype(np.uint8)) for x in unseen.read(np.array([2])))
    plain = predict.avan_outputs(network, em.numpy(), (cleft == 1).numpy(), symmetries=SYMMETRIES)
    assert np.ptp(plain) > 0.3
    for number in range(SYMMETRIES):
        turned = [np.ascontiguousarray(symmetry(x, number).numpy()) for x in (em, cleft == 1)]
        found = predict.avan_outputs(network, *turned, symmetries=SYMMETRIES)
        expected = symmetry(torch.from_numpy(plain), number).numpy()
        np.testing.assert_allclose(found, expected, atol=0.02)  # bfloat16


@pytest.mark.parametrize("name", ["avan", "mask_pruner"])
def test_clefts_that_cannot_have_a_pair_say_why(name, small, tmp_path):
    folder = shutil.copytree(small, tmp_path / "samples")
    index = pd.read_parquet(folder / "index.parquet")
    arrays = dict(zip(("em", "cleft", "segments"), Samples(folder).read(np.arange(len(index))), strict=True))
    index.loc[0, "fault"] = "frame_mismatch"
    arrays["cleft"][1] = 2
    arrays["segments"][2] = 0
    arrays["segments"][3] = arrays["segments"][4] * (arrays["segments"][4] == arrays["segments"][4].max())
    toy.publish(folder, arrays, index, pd.read_parquet(folder / "segments.parquet"))
    torch.manual_seed(0)
    network = model.build(name, 8).eval()
    card = model.card(name, 8, toy.VOXEL_NM, (6, 24, 24), 300.0)
    found = predict.decisions(network, card, Samples(folder), np.arange(6))
    outcomes = [found[row].outcome for row in range(6)]
    assert outcomes == ["frame_mismatch", "empty_mask", "no_segment", "one_segment", "assigned", "assigned"]
    assert all((found[row].pre, found[row].post) == (0, 0) for row in range(4))


def test_models_refuse_other_voxels_smaller_samples_and_foreign_files(avan, small, tmp_path):
    network, card = model.load(avan / "model.safetensors")
    coarse = Samples(toy.write(tmp_path / "coarse", 2, 1, 0, voxel_nm=(12.0, 12.0, 30.0)))
    with pytest.raises(
        CheckpointError, match=r"trained on voxels of \(16.0, 16.0, 40.0\) nm .* has \(12.0, 12.0, 30.0\)"
    ):
        predict.decisions(network, card, coarse, [0])
    with pytest.raises(CheckpointError, match=r"at least \(6, 40, 40\) \(ZYX\), .* are \(6, 32, 32\): cut larger"):
        toy.train(small, toy.settings("avan"), tmp_path / "run", 0, patch_zyx=(6, 40, 40))
    with pytest.raises(CheckpointError, match="does not exist"):
        model.load(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("not a model, but long enough to look like one")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        model.load(tmp_path / "text.safetensors")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(CheckpointError, match="has no model card of this version"):
        model.load(tmp_path / "foreign.safetensors")


def test_a_loss_that_is_not_finite_names_the_rows(small, tmp_path):
    with pytest.raises(
        engine.TrainingError,
        match=r"the loss became nan in epoch 1, on the batch of rows \[.*lower recipe.learning_rate",
    ):
        settings = toy.settings("avan", epochs=1, recipe={"learning_rate": 1e30})
        toy.train(small, settings, tmp_path / "run", 0)


def test_without_validation_rows_nothing_is_trained(tmp_path):
    store = toy.write(tmp_path / "samples", 4, 0, 0)
    with pytest.raises(SamplesError, match="without fault in region 'val'"):
        toy.train(store, toy.settings("avan"), tmp_path / "run", 0)
