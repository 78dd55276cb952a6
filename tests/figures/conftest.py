"""The fake build of tests/analysis after all analyses: made once, and copied for tests that change it."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "analysis"))

from fake_build import analyse, build_fake, copied  # noqa: E402 (it lies in the neighbouring folder)


@pytest.fixture(scope="session")
def analysed(tmp_path_factory):
    """`(folder, environment)` of a build after all analyses; not to be changed."""
    folder = tmp_path_factory.mktemp("analysed")
    _, _, environment = build_fake(folder)
    analyse(("cohort", "performance", "study", "examples", "realism", "simulation"), environment)
    return folder, environment


@pytest.fixture
def results(analysed, tmp_path):
    """`(build, environment)`: a copy that a test may change."""
    return copied(*analysed, tmp_path)
