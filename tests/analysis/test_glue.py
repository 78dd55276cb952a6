"""Numbers as the manuscript shows them, and the inputs and outputs of a script."""

import json
import math

import pandas as pd
import pytest

from pipeline import glue, labels


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (glue.count(1234567), "1,234,567"),
        (glue.number(0.8649), "0.86"),
        (glue.number(-0.004), "0.00"),
        (glue.number(1234.5, 1), "1,234.5"),
        (glue.percent(0.125, 1), "12.5%"),
        (glue.percent(-0.22), "−22%"),
        (glue.estimate(0.871, 0.8249, 0.912), "0.87 [0.82, 0.91]"),
        (glue.estimate(-0.02, -0.051, 0.01), "−0.02 [−0.05, 0.01]"),
        (glue.p_value(0.0232), "p = 0.023"),
        (glue.p_value(0.00099), "p < 0.001"),
        (glue.significant(8.411), "8.4"),
        (glue.significant(131), "131"),
        (glue.significant(0.00457847), "0.0046"),
        (glue.significant(5.34e-5), "5.3 × 10⁻⁵"),
        (glue.significant(0), "0.0"),
    ],
)
def test_numbers_are_written_one_way(value, text):
    assert value.text == text
    json.dumps(value._asdict(), allow_nan=False)


@pytest.mark.parametrize("write", [glue.number, glue.percent, glue.significant, lambda x: glue.estimate(0.5, x, 1)])
def test_what_is_not_finite_is_no_result(write):
    for bad in (math.nan, math.inf):
        with pytest.raises(glue.StudyError, match="no result"):
            write(bad)


@pytest.fixture
def study(fake, monkeypatch):
    _, environment = fake
    monkeypatch.delenv("SYNAPSE_EI_DATA", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return lambda script: glue.study(script)


def test_a_run_leaves_nothing_of_the_run_before(study):
    first = study("analysis/demo.py")
    first.save({"old": glue.count(1), "kept": glue.count(2)}, old=pd.DataFrame({"a": [1]}))
    second = study("analysis/demo.py")
    second.save({"kept": glue.count(3)}, new=pd.DataFrame({"a": [1]}))
    assert second.values("demo") == {"kept": (3, "3")}
    assert sorted(path.name for path in second.build.analysis.iterdir()) == ["demo.json", "demo.new.parquet"]


def test_other_scripts_keep_their_outputs(study):
    study("analysis/demo.py").save({"n": glue.count(1)})
    study("analysis/dem.py")
    assert study("analysis/other.py").values("demo")["n"].value == 1


def test_a_caption_must_say_what_the_data_are(study):
    opened = study("tables/demo.py")
    with pytest.raises(glue.StudyError, match="simulated neuropil"):
        opened.save_table(pd.DataFrame({"a": ["1"]}), "A table.")
    assert opened.outputs() == []
    opened.save_table(pd.DataFrame({"a": ["1"]}), "A table (simulated neuropil).")
    caption = (opened.build.tables / "demo.caption.md").read_text()
    assert caption == "A table (simulated neuropil). Source: `tables/demo.py`.\n"


def test_predictions_that_do_not_fit_the_cohort_are_refused(study):
    opened = study("analysis/demo.py")
    path = opened.build.predictions("resnet18")
    good = pd.read_parquet(path)
    for change in (
        {"label": 1 - good["label"]},
        {"split": "test"},
        {"synapse_id": good["synapse_id"].iloc[0]},
        {"p_excitatory": float("nan")},
    ):
        good.assign(**change).to_parquet(path)
        with pytest.raises(glue.StudyError, match="train the model again"):
            opened.predictions("resnet18")


def test_cross_validated_predictions_are_all_test_but_keep_the_folds_of_the_cohort(study):
    opened = study("analysis/demo.py")
    rows = opened.predictions("unet3d_folds")
    assert (rows["split"] == "test").all()
    assert len(rows) == len(pd.read_parquet(opened.build.synapses))
    rows.assign(fold=0).to_parquet(opened.build.predictions("unet3d_folds"))
    with pytest.raises(glue.StudyError, match="train the model again"):
        opened.predictions("unet3d_folds")


def test_labels_distinguish_models(tmp_path, monkeypatch):
    entries = [
        ({"network": "cnn"}, "CNN", ("2D", 1)),
        ({"network": "resnet18", "pretrained": True}, "ResNet-18, pretrained", ("2D", 1)),
        ({"network": "resnet50", "sections": 5, "trained": False}, "ResNet-50, 5 sections, untrained", ("2.5D", 5)),
        ({"network": "r3d_18", "norm": "group", "crop": [12, 64, 64]}, "R3D-18, GroupNorm", ("3D", 12)),
        ({"network": "mc3_18", "norm": "batch"}, "MC3-18", ("3D", 32)),
        ({"network": "r2plus1d_18", "folds": True}, "R(2+1)D-18, cross-validated", ("3D", 32)),
        ({"preset": "team-3d"}, "UNet3D, team-3d recipe", ("3D", 24)),
        ({"network": "cnn", "crop": [64, 64]}, "CNN, m7", ("2D", 1)),
        ({"network": "unet3d", "seeds": [0, 1]}, "UNet3D, seed 0", ("3D", 32)),
    ]
    models = [{"name": f"m{i}"} | entry for i, (entry, _, _) in enumerate(entries)]
    path = tmp_path / "labels.yaml"
    path.write_text(json.dumps({"source": {"kind": "simulated"}, "models": models}))
    monkeypatch.setenv("SYNAPSE_EI_CONFIG", str(path))
    monkeypatch.setenv("SYNAPSE_EI_BUILD", str(tmp_path))
    opened = glue.study("analysis/demo.py")
    assert list(labels.of_models(opened.config).values()) == [label for _, label, _ in entries] + ["UNet3D, seed 1"]
    assert list(labels.of_families(opened.config).values()) == [label for _, label, _ in entries[:-1]] + ["UNet3D"]
    assert [labels.input_of(model, opened.config) for model in opened.config.models] == [
        seen for *_, seen in entries
    ] + [("3D", 32)]


def test_a_missing_input_is_named(study):
    opened = study("figures/demo.py")
    with pytest.raises(glue.StudyError, match=r"figures/demo\.py needs .*analysis/cohort\.json"):
        opened.values("cohort")
    with pytest.raises(glue.StudyError, match="no patch of synapse 5 in"):
        opened.patches([5])


def test_patches_come_in_the_order_asked_for(study):
    opened = study("figures/demo.py")
    ids = pd.read_parquet(opened.build.patches / "index.parquet")["synapse_id"]
    both, one = opened.patches([ids[7], ids[2]]), opened.patches([ids[2]])
    assert (both[1] == one[0]).all()
    assert (both[0] != both[1]).any()


def test_values_of_an_analysis_that_the_edition_lacks_are_empty(study):
    study("analysis/demo.py").save({"n": glue.count(1)})
    opened = study("tables/demo.py")
    assert opened.values_if_any("demo") == opened.values("demo") == {"n": (1, "1")}
    assert opened.values_if_any("absent") == {}


def test_ids_that_are_no_longer_exact_are_refused(study, tmp_path):
    opened = study("analysis/demo.py")
    path = tmp_path / "pairs.parquet"
    rows = pd.DataFrame({"pre": pd.array([2**63 + 1], dtype="uint64")})
    rows.to_parquet(path)
    assert opened.read_exact(path, ["pre"])["pre"].tolist() == [2**63 + 1]
    rows.astype(float).to_parquet(path)
    with pytest.raises(glue.StudyError, match="pre is float64, but ids are exact as uint64 only"):
        opened.read_exact(path, ["pre"])
