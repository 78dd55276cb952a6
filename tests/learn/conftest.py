"""One cohort of blobs for all tests of learning, on one thread."""

import pytest
import torch
from blobs import write_cohort

from pipeline.learn import run


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)
    run.THREADS = 1  # the suite runs on as many processes as there are cores


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """({"em": patches folder}, synapses.parquet) of 24 neurons with 8 synapses each; to be read only."""
    patches, synapses = write_cohort(tmp_path_factory.mktemp("blobs"))
    return {"em": patches}, synapses
