"""The numbers of the analyses, against recomputations that share no code with them."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from fake_build import REPOSITORY, analyse, copied, run_script
from sklearn import metrics

from pipeline import artefacts
from pipeline.learn.threshold import best_threshold

MODELS = ("resnet18", "unet3d", "unet3d_untrained")


def _part(build, model, split):
    rows = pd.read_parquet(build.predictions(model))
    return rows[rows["split"] == split]


def _values(build, script):
    entries = artefacts.read_json(build.analysis / f"{script}.json")
    return {name: entry["value"] for name, entry in entries.items()}


def test_test_metrics_are_those_of_scikit_learn(performed):
    build, _ = performed
    values = _values(build, "performance")
    for model in MODELS:
        val, test = _part(build, model, "val"), _part(build, model, "test")
        tau = best_threshold(val["label"].to_numpy(), val["p_excitatory"].to_numpy())
        called = test["p_excitatory"] >= tau
        expected = {
            "accuracy": metrics.accuracy_score(test["label"], called),
            "balanced_accuracy": metrics.balanced_accuracy_score(test["label"], called),
            "roc_auc": metrics.roc_auc_score(test["label"], test["p_excitatory"]),
            "average_precision": metrics.average_precision_score(test["label"], test["p_excitatory"]),
            "f1": metrics.f1_score(test["label"], called),
        }
        assert {name: values[f"{model}_{name}"] for name in expected} == pytest.approx(expected)


def test_the_thresholds_of_the_atlas_have_the_counts_of_scikit_learn(performed):
    build, _ = performed
    found = pd.read_parquet(build.analysis / "performance.thresholds.parquet")
    runs = pd.read_parquet(build.analysis / "performance.runs.parquet").query("not folds").set_index("model")
    assert set(found["model"]) == set(runs.index)
    for model, rows in found.groupby("model"):
        test = _part(build, model, "test")
        assert set(np.arange(101) / 100) | {runs.loc[model, "tau"]} == set(rows["threshold"])
        for row in rows.iloc[::10].itertuples():
            called = test["p_excitatory"] >= row.threshold
            assert [row.tn, row.fp, row.fn, row.tp] == metrics.confusion_matrix(test["label"], called).ravel().tolist()
            assert row.value == pytest.approx(metrics.balanced_accuracy_score(test["label"], called))
            assert row.low <= row.value <= row.high
    quoted = pd.read_parquet(build.analysis / "performance.metrics.parquet").query("metric == 'balanced_accuracy'")
    for row in quoted.itertuples():
        at_tau = found[(found["model"] == row.model) & (found["threshold"] == runs.loc[row.model, "tau"])]
        assert at_tau[["value", "low", "high"]].to_numpy().ravel() == pytest.approx([row.value, row.low, row.high])


def test_the_best_model_is_chosen_on_validation_even_where_test_disagrees(performed):
    build, _ = performed
    values = _values(build, "performance")
    validation, test = (
        {
            model: metrics.roc_auc_score(rows["label"], rows["p_excitatory"])
            for model in MODELS[:2]
            for rows in [_part(build, model, split)]
        }
        for split in ("val", "test")
    )
    assert max(validation, key=validation.get) == "unet3d" == values["best_model"]
    assert max(test, key=test.get) == "resnet18"
    assert values["best_validation_auc"] == pytest.approx(validation["unet3d"])


def test_every_control_is_listed_and_the_smallest_difference_is_quoted(performed):
    build, _ = performed
    values = _values(build, "performance")
    test = {
        model: metrics.roc_auc_score(rows["label"], rows["p_excitatory"])
        for model in ("unet3d", "resnet18_untrained", "unet3d_untrained")
        for rows in [_part(build, model, "test")]
    }
    controls = pd.read_parquet(build.analysis / "performance.controls.parquet").set_index("model")
    assert controls["value"].to_dict() == pytest.approx({name: test[name] for name in list(test)[1:]})
    gaps = {name: test["unet3d"] - auc for name, auc in test.items() if name != "unet3d"}
    assert controls["difference_value"].to_dict() == pytest.approx(gaps)
    assert values["control_model"] == min(gaps, key=gaps.get)
    assert values["difference_roc_auc"] == pytest.approx(min(gaps.values()))
    assert values["n_controls"] == 2


def test_the_answer_says_no_more_than_the_interval(performed):
    build, _ = performed
    entries = artefacts.read_json(build.analysis / "performance.json")
    gap = pd.read_parquet(build.analysis / "performance.difference.parquet").set_index("metric").loc["roc_auc"]
    words = "training added" if gap["low"] > 0 else "did not help" if gap["high"] < 0 else "is not resolved"
    assert words in entries["verdict"]["text"]
    assert entries["control_roc_auc"]["text"] in entries["verdict"]["text"]
    assert entries["difference_roc_auc"]["text"] in entries["verdict"]["text"]


def test_synapses_apart_from_the_other_sets_are_counted_one_by_one(performed):
    build, _ = performed
    synapses = pd.read_parquet(build.synapses)
    cube_nm = artefacts.read_json(build.cohort / "audit.json")["cube_nm"]
    centres = synapses[["center_x_nm", "center_y_nm", "center_z_nm"]].to_numpy()
    test = (synapses["split"] == "test").to_numpy()
    overlaps = (np.abs(centres[test][:, None] - centres[~test]) < np.array(cube_nm) - 1e-3).all(axis=-1).any(axis=1)
    text = artefacts.read_json(build.analysis / "performance.json")["apart"]["text"]
    assert text.startswith(f"{(~overlaps).sum()} of the {test.sum()} test synapses, of ")
    apart = synapses[test][~overlaps].groupby("label")["pre_neuron_id"].nunique().reindex([1, 0], fill_value=0)
    assert f"of {apart[1]} excitatory and {apart[0]} inhibitory neurons" in text


def test_neurons_confusion_and_confidence_count_every_test_synapse(performed):
    build, _ = performed
    values = _values(build, "performance")
    test = _part(build, "unet3d", "test")
    called = (test["p_excitatory"] >= values["best_tau"]).astype(int)
    confusion = pd.read_parquet(build.analysis / "performance.confusion.parquet")
    cells = confusion.pivot(index="label", columns="predicted", values="synapses").to_numpy()
    assert (cells == metrics.confusion_matrix(test["label"], called)).all()
    confidence = pd.read_parquet(build.analysis / "performance.confidence.parquet")
    assert confidence.groupby("label")["synapses"].sum().to_dict() == test["label"].value_counts().to_dict()
    neurons = pd.read_parquet(build.analysis / "performance.neurons.parquet").set_index("pre_neuron_id")
    assert set(neurons.index) == set(test["pre_neuron_id"])
    for neuron, rows in test.groupby("pre_neuron_id"):
        right = (called[rows.index] == rows["label"]).sum()
        assert neurons.loc[neuron, "accuracy"] == pytest.approx(right / len(rows))


def test_a_second_run_as_a_reviewer_would_do_it_writes_the_same_bytes(performed, fake):
    """In a new interpreter, whereas the other tests fork theirs."""
    build, environment = fake
    command = [sys.executable, "analysis/performance.py"]
    subprocess.run(command, cwd=REPOSITORY, env=os.environ | environment, check=True)
    files = sorted(build.analysis.iterdir())
    assert len(files) > 5
    for path in files:
        assert path.read_bytes() == (performed[0].analysis / path.name).read_bytes()


def test_models_on_different_synapses_are_not_compared(fake):
    build, environment = fake
    path = build.predictions("unet3d")
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    done = run_script("analysis/performance.py", environment)
    assert done.returncode
    assert "the predictions of unet3d and those of resnet18 differ in synapses" in done.stderr
    assert not (build.analysis / "performance.json").exists()


def test_the_cohort_is_counted_from_its_synapses(fake):
    build, environment = fake
    done = run_script("analysis/cohort.py", environment)
    assert done.returncode == 0, done.stderr
    synapses, values = pd.read_parquet(build.synapses), _values(build, "cohort")
    assert values["n_synapses"] == len(synapses)
    inhibitory = synapses.query("label == 0 and split == 'test'")
    assert values["n_inhibitory_neurons"] == synapses.query("label == 0")["pre_neuron_id"].nunique()
    splits = pd.read_parquet(build.analysis / "cohort.splits.parquet").set_index(["set", "class"])
    assert splits.loc[("test", "inhibitory"), "synapses"] == len(inhibitory)
    assert (values["n_conflicts"], values["n_excluded_conflicts"]) == (2, 1)


def test_examples_span_the_confidence_of_each_class(performed, tmp_path):
    build, environment = copied(performed[0].root.parent.parent, performed[1], tmp_path)
    analyse(("examples",), environment)
    tau = _values(build, "performance")["best_tau"]
    test = _part(build, "unet3d", "test")
    examples = pd.read_parquet(build.analysis / "examples.examples.parquet")
    for label in (0, 1):
        for correct, n in ((True, 4), (False, 2)):
            group = test[(test["label"] == label) & (((test["p_excitatory"] >= tau) == label) == correct)]
            shown = examples[(examples["label"] == label) & (examples["correct"] == correct)]
            assert set(shown["synapse_id"]) <= set(group["synapse_id"])
            assert len(shown) == min(n, len(group))
            distance, all_distances = abs(shown["p_excitatory"] - tau), abs(group["p_excitatory"] - tau)
            assert distance.iloc[0] == all_distances.max()
            assert distance.iloc[-1] == all_distances.min()


def test_the_overview_shows_a_section_that_is_there_and_each_cleft_in_its_class(fake):
    build, environment = fake
    done = run_script("analysis/simulation.py", environment)
    assert done.returncode == 0, done.stderr
    overview = pd.read_parquet(build.analysis / "simulation.overview.parquet")
    assert overview["grey"].mean() > 100, "section 8 of the volume is missing"
    rows = overview[overview["cleft_id"] > 0].groupby("cleft_id")
    assert rows["cleft_label"].first().to_dict() == {1: 1, 2: 0}
    assert rows["y"].agg(["min", "max"]).to_numpy().tolist() == [[40, 79], [160, 189]]
    assert rows["x"].agg(["min", "max"]).to_numpy().tolist() == [[124, 131]] * 2
    zones = [overview.loc[overview["x"].between(*edges), "segment"] for edges in ((0, 123), (124, 132), (133, 255))]
    assert [set(zone) for zone in zones] == [{1}, {0}, {2}], "root ids beyond 2^53 that differ by one stay apart"
    truth = pd.read_parquet(build.source / "truth" / "synapses.parquet")
    u, v = (truth.loc[truth["label"] == label, "psd_thickness_nm"].to_numpy() for label in (1, 0))
    values = _values(build, "simulation")
    assert values["psd_thickness_nm_auc"] == pytest.approx(np.mean(u[:, None] > v))
    junctions = pd.read_parquet(build.analysis / "simulation.junctions.parquet")
    assert junctions.query("tissue == 'ours'").groupby("label")["n_synapses"].max().to_dict() == {0: 1, 1: 1}
    assert values["synapses_per_um3"] == pytest.approx(len(truth) / (2.048 * 2.048 * 0.64))


def test_the_largest_difference_of_texture_is_found(fake):
    build, environment = fake
    done = run_script("analysis/realism.py", environment)
    assert done.returncode == 0, done.stderr
    quantiles, spectrum = (
        pd.read_parquet(build.analysis / f"realism.{name}.parquet") for name in ("quantiles", "spectrum")
    )
    ratios = pd.concat([quantiles["ours"] / quantiles["real"], spectrum["ours"] / spectrum["real"]]) - 1
    values = _values(build, "realism")
    assert abs(values["largest_difference"]) == pytest.approx(ratios.abs().max())
    assert "cycles per µm" in values["largest_difference_in"]
