"""`tune`: a model for dark blobs on a tissue of bright ones, of which some are labelled."""

import contextlib

import numpy as np
import pandas as pd
import pytest
from blobs import blobs
from cloudvolume import CloudVolume
from scipy import special
from sklearn.metrics import roc_auc_score

from pipeline import __main__, artefacts, compute, config
from pipeline.artefacts import REPOSITORY
from pipeline.learn import checkpoint, engine, run
from pipeline.stages import tune as tuning

SIDE, DEPTH, N_NEURONS, N_EACH = 48, 6, 24, 4
TRAINED = config.Model(name="cnn", network="cnn", crop=(24, 24), epochs=8, batch_size=16)


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Images are cut in this process, and the few epochs that blobs take are all."""
    settings_of = tuning.settings_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())
        patch.setattr(tuning, "settings_of", lambda *card: settings_of(*card).model_copy(update={"epochs": 6}))
        yield


@pytest.fixture(scope="module")
def published(cohort, tmp_path_factory):
    """The folder of a model that tells round from flat dark blobs."""
    folder = tmp_path_factory.mktemp("published")
    run.train(*cohort, TRAINED, folder / "dark", folder / "p.parquet", 5)
    return folder / "dark"


@pytest.fixture(scope="module")
def tissue(tmp_path_factory):
    """A folder with `em/` of inverted contrast, a blob in each square, and `labelled.csv`, its last row unlabelled."""
    folder, rng = tmp_path_factory.mktemp("tissue"), np.random.default_rng(1)
    n_wide = 10
    image = np.full((DEPTH, n_wide * SIDE, n_wide * SIDE), 128, np.uint8)
    look = np.column_stack([rng.uniform(60, 110, N_NEURONS), rng.uniform(120, 190, N_NEURONS)])
    rows = []
    for n, place in enumerate(rng.permutation(n_wide**2)[: N_NEURONS * N_EACH]):
        neuron, (top, left) = n % N_NEURONS, np.array(divmod(place, n_wide)) * SIDE
        box = np.s_[:, top : top + SIDE, left : left + SIDE]
        image[box] = 255 - blobs(neuron % 2, *look[neuron], rng, (DEPTH, SIDE, SIDE))
        kind = "excitatory" if neuron % 2 else "inhibitory"
        rows.append((n + 1, left + SIDE // 2, top + SIDE // 2, DEPTH // 2, kind, 500 + neuron))
    rows[-1] = (*rows[-1][:4], "", rows[-1][5])
    columns = ["synapse_id", "x_vx", "y_vx", "z_vx", "cell_type", "axon_id"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "labelled.csv", index=False)
    size = [*image.shape[:0:-1], DEPTH]
    info = CloudVolume.create_new_info(
        1, "image", "uint8", "raw", [8, 8, 40], [0, 0, 0], size, chunk_size=(64, 64, DEPTH)
    )
    volume = CloudVolume(f"precomputed://file://{folder}/em", info=info, progress=False)
    volume.commit_info()
    volume[:] = image.transpose(2, 1, 0)
    return folder


def tune(published, tissue, out, synapses="labelled.csv"):
    words = ["tune", "--run", published, "--volumes", tissue, "--synapses", tissue / synapses, "--out", out]
    return __main__.main([str(word) for word in words])


@pytest.fixture(scope="module")
def tuned(published, tissue, tmp_path_factory):
    """The folder that `tune` wrote."""
    out = tmp_path_factory.mktemp("tuned") / "mine"
    assert tune(published, tissue, out) == 0
    return out


def test_neurons_that_were_not_tuned_on_are_called_better_than_before(tuned):
    found = pd.read_parquet(tuned / "predictions.parquet")
    scores = pd.read_csv(tuned / "scores.csv").set_index(["model", "metric"])
    before, after = (roc_auc_score(found["label"], found[p]) for p in ("p_before", "p_excitatory"))
    assert scores.loc[("before", "roc_auc"), "value"] == pytest.approx(before)
    assert scores.loc[("tuned", "roc_auc"), "value"] == pytest.approx(after)
    assert scores.loc[("difference", "roc_auc"), "value"] == pytest.approx(after - before)
    assert after > 0.9
    assert scores.loc[("difference", "roc_auc"), "low"] > 0
    assert scores.loc[("tuned", "roc_auc"), "low"] < after


def test_every_labelled_synapse_is_tested_once_in_the_fold_of_its_neuron(tuned, tissue):
    found = pd.read_parquet(tuned / "predictions.parquet").set_index("synapse_id")
    given = pd.read_csv(tissue / "labelled.csv").dropna(subset="cell_type").set_index("synapse_id")
    assert found.index.tolist() == sorted(given.index)
    assert len(found) == N_NEURONS * N_EACH - 1
    pd.testing.assert_series_equal(found["pre_neuron_id"], given["axon_id"], check_names=False)
    assert (found["label"] == (given["cell_type"] == "excitatory")).all()
    assert (found.groupby("pre_neuron_id")["fold"].nunique() == 1).all()
    assert (found.groupby(["fold", "label"])["pre_neuron_id"].nunique() >= 2).all()


def test_a_network_of_a_fold_calls_its_synapses_as_its_scores_say(tuned, tissue, tmp_path):
    found = pd.read_parquet(tuned / "predictions.parquet").set_index("synapse_id")

    def predicted(folder):
        words = ["--run", folder, "--volumes", tissue, "--synapses", tissue / "labelled.csv", "--out"]
        assert __main__.main(["predict", *map(str, words), str(tmp_path / "p.parquet")]) == 0
        return pd.read_parquet(tmp_path / "p.parquet").set_index("synapse_id")["p_excitatory"]

    for fold in (0, 3):
        mine = found[found["fold"] == fold]["p_excitatory"]
        p = predicted(tuned / f"fold{fold}").loc[mine.index]
        tau = checkpoint.read_card(tuned / f"fold{fold}" / "model.safetensors").decision["tau"]
        np.testing.assert_allclose(mine, special.expit(special.logit(p) - special.logit(tau)), atol=1e-3)
        np.testing.assert_array_equal(mine >= 0.5, p >= tau)
    assert roc_auc_score(found["label"], predicted(tuned).loc[found.index]) > 0.9


def test_interrupted_tuning_goes_on_and_ends_with_the_same_bytes(tuned, published, tissue, tmp_path, monkeypatch):
    fit, calls = engine.fit, []

    def stop_once(*arguments):
        calls.append(arguments[-1].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*arguments)

    monkeypatch.setattr(engine, "fit", stop_once)
    with contextlib.suppress(KeyboardInterrupt):
        assert tune(published, tissue, tmp_path / "mine") != 0
    assert not (tmp_path / "mine").exists()
    assert tune(published, tissue, tmp_path / "mine") == 0
    assert calls == ["fold0", "fold1", "fold1", "fold2", "fold3", "fold4", "whole"]
    assert artefacts.sha256(tmp_path / "mine") == artefacts.sha256(tuned)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_card_says_from_what_on_how_many_and_how_well(tuned):
    text = (tuned / "README.md").read_text()
    scores = pd.read_csv(tuned / "scores.csv").set_index(["model", "metric"])["value"]
    assert "Tuned from `dark` on 95 synapses of 12 excitatory and 12 inhibitory neurons" in text
    assert "dealt into 5 folds" in text
    (row,) = [line for line in text.splitlines() if line.startswith("| ROC AUC |")]
    for cell, model in zip(row.split("|")[2:5], ("before", "tuned", "difference"), strict=True):
        assert cell.split()[0].replace("−", "-") == f"{scores[model, 'roc_auc']:.2f}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="axon_id"), "lacks the columns ['axon_id']; its first row names ["),
        (lambda rows: rows.drop(columns="axon_id"), "give synapses of one neuron one number"),
        (lambda rows: rows.drop(columns="cell_type"), "lacks the columns ['cell_type']"),
        (lambda rows: rows.assign(cell_type="GABA"), "row 2, column cell_type: 'GABA' is none of"),
        (lambda rows: rows.assign(axon_id=1), "row 2, column axon_id: '1' has both cell types"),
        (lambda rows: rows[rows["axon_id"] < 510], "labelled synapses of 5 excitatory neurons (axon_id); at least 6"),
    ],
)
def test_labels_that_cannot_be_tuned_on(published, tissue, tmp_path, capsys, change, message):
    change(pd.read_csv(tissue / "labelled.csv", dtype=str, keep_default_na=False).astype({"axon_id": int})).to_csv(
        tissue / "wrong.csv", index=False
    )
    assert tune(published, tissue, tmp_path / "mine", "wrong.csv") == 1
    error = capsys.readouterr().err
    assert message in error
    assert str(tissue / "wrong.csv") in error
    assert not (tmp_path / "mine").exists()


def test_nothing_is_overwritten_and_only_classifiers_are_tuned(published, tissue, tmp_path, capsys):
    assert tune(published, tissue, tissue) == 1
    assert "exists; name a new folder" in capsys.readouterr().err
    assert (tissue / "labelled.csv").is_file()
    assert tune(REPOSITORY / "pretrained" / "avan", tissue, tmp_path / "mine") == 1
    assert "holds avan, which classifies no synapses" in capsys.readouterr().err
