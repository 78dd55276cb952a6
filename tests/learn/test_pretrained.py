"""The models that come with the repository: small, safe to load, and of use on tissue that they never saw."""

import subprocess
import sys

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.artefacts import REPOSITORY
from pipeline.learn import classification

MODELS = {"unet3d": 3, "cnn": 2}


@pytest.mark.parametrize("name", MODELS)
def test_published_models_are_small_and_their_cards_say_what_they_are(name):
    folder = REPOSITORY / "pretrained" / name
    assert (folder / "model.safetensors").stat().st_size < 5_000_000
    network, card = classification.load(folder / "model.safetensors")
    assert network.dimensions == MODELS[name]
    text = (folder / "README.md").read_text()
    assert "trained on simulated neuropil and has never seen a real synapse" in text
    assert f"from {card.decision['tau']:.4f} on" in text
    for wanted in ("configuration hash", "commit", "presynaptic neurons", "ROC AUC", "## Limits"):
        assert wanted in text


def test_the_default_model_ranks_real_synapses(real_data, tmp_path):
    """71 synapses of mouse cortex, 5 of them inhibitory; of the 2D model nothing is claimed there."""
    volumes = real_data / "kasthuri_ac3"
    command = [sys.executable, "-m", "pipeline", "predict", "--volumes", volumes]
    command += ["--synapses", volumes / "synapses.csv", "--out", tmp_path / "p.parquet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "p.parquet")
    assert len(found) == 71
    assert roc_auc_score(found["label"], found["p_excitatory"]) > 0.75
