"""The analysis of a connectome, its figure and its table, run alone as a reviewer would."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import toy
from PIL import Image
from sklearn.metrics import roc_auc_score

from pipeline import artefacts
from pipeline.artefacts import Build
from pipeline.connectivity import connectome

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def _run(script, environment):
    return subprocess.run(
        [sys.executable, script], cwd=REPOSITORY, env=os.environ | environment, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """`(build, environment, folder)` after the analysis of the toy connectome."""
    root = tmp_path_factory.mktemp("toy")
    folder = toy.write(root / "toy_connectome", *toy.connectome(n_neurons=120, per_neuron=12, effect=0.5))
    config = root / "tiny.yaml"
    config.write_text("name: tiny\nsource: {kind: connectome}\nstats: {n_bootstrap: 200}\n")
    environment = {
        "SYNAPSE_EI_CONFIG": str(config),
        "SYNAPSE_EI_BUILD": str(root / "build"),
        "SYNAPSE_EI_DATA": str(folder),
        "OMP_NUM_THREADS": "1",
    }
    done = _run("analysis/connectome.py", environment)
    assert done.returncode == 0, done.stderr
    return Build("tiny-toy_connectome", root / "build"), environment, folder


def test_the_scores_are_those_of_the_command(analysed, tmp_path):
    build, _, folder = analysed
    found = connectome.predict(folder, tmp_path / "out.parquet", seed=20260)  # the seed of an edition
    scores = pd.read_parquet(build.analysis / "connectome.scores.parquet").set_index(["features", "model", "unit"])
    expected = roc_auc_score(found["label"], found["p_excitatory"])
    assert scores.loc[("all", "boosting", "connection"), "value"] == pytest.approx(expected, abs=1e-9)
    assert (scores["low"] <= scores["value"]).all()
    assert (scores["value"] <= scores["high"]).all()


def test_the_leaky_protocol_beats_the_honest_one_whose_pre_prior_is_worth_nothing(analysed):
    build, _, _ = analysed
    values = artefacts.read_json(build.analysis / "connectome.json")
    for unit in ("connection", "synapse"):
        assert values[f"prior_leaky_{unit}_balanced_accuracy"]["value"] > 0.9
        assert values[f"prior_honest_{unit}_balanced_accuracy"]["value"] < 0.75
        assert values[f"prior_honest_{unit}_pre_weight"] == {"value": 0.0, "text": "0.00 [0.00, 0.00]"}


def test_figure_and_table(analysed):
    build, environment, _ = analysed
    for script in ("figures/connectome.py", "tables/connectome.py"):
        done = _run(script, environment)
        assert done.returncode == 0, done.stderr
    pixels = np.asarray(Image.open(build.figures / "connectome.png").convert("L"))
    for side in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (side > 250).all(), "something is cut off at the border"
    table = pd.read_csv(build.tables / "connectome.csv")
    values = artefacts.read_json(build.analysis / "connectome.json")
    assert table.iloc[-1]["ROC AUC, connections"] == values["all_boosting_connection"]["text"]
    for caption in (build.figures / "connectome.caption.md", build.tables / "connectome.caption.md"):
        assert "the folder toy_connectome" in caption.read_text()


def test_without_a_folder_it_says_what_to_do(analysed, monkeypatch, tmp_path):
    _, environment, _ = analysed
    environment = environment | {"SYNAPSE_EI_BUILD": str(tmp_path)}
    monkeypatch.delenv("SYNAPSE_EI_DATA", raising=False)
    done = _run("analysis/connectome.py", {name: environment[name] for name in environment if "DATA" not in name})
    assert done.returncode
    assert "make real DATA=<folder>" in done.stderr
