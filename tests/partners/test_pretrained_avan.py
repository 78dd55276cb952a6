"""The network of partner assignment that comes with the repository."""

import subprocess
import sys

import pandas as pd

from pipeline.artefacts import REPOSITORY
from pipeline.partners import model

FOLDER = REPOSITORY / "pretrained" / "avan"


def test_it_is_small_and_its_card_says_what_it_was_tuned_on():
    assert (FOLDER / "model.safetensors").stat().st_size < 5_000_000
    _, card = model.load(FOLDER / "model.safetensors")
    assert card.network == "avan"
    assert card.voxel_nm == (12.0, 12.0, 30.0)  # as in Turner et al. (2019)
    text = (FOLDER / "README.md").read_text()
    for wanted in ("simulated neuropil", "kasthuri_ac3", "commit", "configuration hash", "python -m pipeline partners"):
        assert wanted in text


def test_the_default_network_tells_the_direction_of_real_synapses(real_data, tmp_path):
    """It was tuned on these synapses; what it is worth on others is in its card."""
    volumes = real_data / "kasthuri_ac3"
    truth = pd.read_csv(volumes / "synapses.csv").set_index("synapse_id")
    command = [sys.executable, "-m", "pipeline", "partners", "--volumes", volumes]
    command += ["--synapses", volumes / "synapses.csv", "--out", tmp_path / "partners.parquet"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = pd.read_parquet(tmp_path / "partners.parquet").set_index("synapse_id")
    assert sorted(found.index) == sorted(truth.index)
    truth = truth.loc[found.index]
    sides = ["pre_segment_id", "post_segment_id"]
    right = (found[sides] == truth[sides]).all(axis=1)
    reversed_ = (found[sides].to_numpy() == truth[sides[::-1]].to_numpy()).all(axis=1)
    assert right.sum() >= 69
    assert not reversed_.any()
