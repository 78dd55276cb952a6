"""The study of families, against scikit-learn and against the plain comparison of two models."""

import numpy as np
import pandas as pd
import pytest
from fake_build import analyse, build_fake
from sklearn import metrics

from pipeline import artefacts
from pipeline.learn.threshold import best_threshold
from pipeline.stats import bootstrap

RESAMPLING = {"n_replicates": 500, "confidence": 0.95, "seed": 20260}  # as in the fake edition
SEEDS = [f"sections_seed{seed}" for seed in (0, 1, 2)]


def _rows(build, name, *keys):
    return pd.read_parquet(build.analysis / f"study.{name}.parquet").set_index(list(keys)).sort_index()


def _scored(build, model):
    """Test rows of a model and its threshold."""
    rows = pd.read_parquet(build.predictions(model))
    val = rows[rows["split"] == "val"]
    return rows[rows["split"] == "test"], best_threshold(val["label"].to_numpy(), val["p_excitatory"].to_numpy())


def _write(build, model, **columns):
    path = build.predictions(model)
    pd.read_parquet(path).assign(**columns).to_parquet(path)


def test_a_family_scores_the_mean_of_its_networks_each_at_its_own_threshold(performed):
    studied, _ = performed
    found = _rows(studied, "metrics", "family", "metric")
    aucs, accuracies = [], []
    for model in SEEDS:
        test, tau = _scored(studied, model)
        aucs.append(metrics.roc_auc_score(test["label"], test["p_excitatory"]))
        accuracies.append(metrics.balanced_accuracy_score(test["label"], test["p_excitatory"] >= tau))
    for metric, each in (("roc_auc", aucs), ("balanced_accuracy", accuracies)):
        row = found.loc[("sections", metric), ["value", "min", "max", "std"]]
        assert list(row) == pytest.approx([np.mean(each), min(each), max(each), np.std(each, ddof=1)])


def test_of_single_networks_scores_and_differences_are_those_of_the_plain_comparison(performed):
    studied, _ = performed
    found = _rows(studied, "metrics", "family", "metric")
    (ours, tau), (control, control_tau) = _scored(studied, "unet3d"), _scored(studied, "unet3d_untrained")
    pd.testing.assert_frame_equal(
        found.loc["unet3d", ["value", "low", "high"]],
        bootstrap.intervals(ours, tau, **RESAMPLING).set_index("metric").sort_index(),
    )
    difference = _rows(studied, "differences", "family", "role").loc[("unet3d", "control")]
    assert (difference["other"] == "unet3d_untrained").all()
    pd.testing.assert_frame_equal(
        difference.set_index("metric")[["value", "low", "high"]],
        bootstrap.difference(ours, control, tau, control_tau, **RESAMPLING).set_index("metric"),
    )


def test_the_best_of_a_kind_is_chosen_on_validation(performed):
    studied, _ = performed
    values = {name: entry["value"] for name, entry in artefacts.read_json(studied.analysis / "study.json").items()}
    assert (values["best_2d"], values["best_25d"], values["best_3d"]) == ("resnet18", "sections", "unet3d")
    others = _rows(studied, "differences", "family")[["role", "other"]].drop_duplicates()
    assert set(others.loc[["sections"]].itertuples(index=False, name=None)) == {("one section", "resnet18")}
    assert "unet3d_folds" not in others.index, "it is scored on other synapses"


def test_a_cross_validated_family_is_scored_on_every_synapse_at_one_half(performed):
    studied, _ = performed
    rows = pd.read_parquet(studied.predictions("unet3d_folds"))
    found = _rows(studied, "metrics", "family", "metric")["value"]["unet3d_folds"]
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(rows["label"], rows["p_excitatory"]))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(rows["label"], rows["p_excitatory"] >= 0.5))


def test_three_times_the_same_network_is_one_network_and_the_claim_follows_the_interval(fake):
    build, environment = fake
    same = pd.read_parquet(build.predictions("resnet18"))["p_excitatory"]
    perfect = pd.read_parquet(build.predictions("unet3d"))["label"] * 0.8 + 0.1
    for model in SEEDS:
        _write(build, model, p_excitatory=same)
    _write(build, "unet3d", p_excitatory=perfect)
    analyse(("performance", "study"), environment)
    found = _rows(build, "metrics", "family", "metric")[["value", "low", "high"]]
    pd.testing.assert_frame_equal(found.loc["sections"], found.loc["resnet18"])
    differences = _rows(build, "differences", "family", "role", "metric")[["value", "low", "high"]]
    assert (differences.loc[("sections", "one section")].abs() < 1e-12).all(axis=None)
    claim = artefacts.read_json(build.analysis / "study.json")["several_sections"]["text"]
    channels, cubes = claim.split(". The best")
    assert channels.endswith("0.000 [0.000, 0.000], is not resolved")
    assert cubes.endswith("is resolved in favour of several sections.")


def test_without_a_network_on_one_section_there_is_no_claim(tmp_path):
    models = [{"name": "small", "network": "unet3d"}, {"name": "control", "network": "unet3d", "trained": False}]
    _, root, environment = build_fake(tmp_path, models)
    analyse(("performance", "study"), environment)
    build = artefacts.Build("fake", root)
    values = artefacts.read_json(build.analysis / "study.json")
    assert values["several_sections"]["text"].startswith("This edition does not compare")
    assert not {"best_2d", "best_25d", "best_3d_gain"} & set(values)
    assert set(_rows(build, "differences", "family")["role"]) == {"control"}
