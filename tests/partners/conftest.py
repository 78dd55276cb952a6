"""AVAN trained for seconds on the toy tissue, once for all tests of this folder."""

import pytest
import toy_store as toy
from filelock import FileLock


@pytest.fixture(scope="session")
def toy_run(shared_folder):
    """`(samples, run)`: folders of the toy tissue's samples and of a finished run of AVAN; to be read only."""
    samples, run = shared_folder / "toy" / "samples", shared_folder / "toy" / "avan"
    with FileLock(shared_folder / "toy.lock"):
        if not (run / "result.json").is_file():
            toy.train(toy.write(samples), toy.settings("avan"), run, 5)
    return samples, run
