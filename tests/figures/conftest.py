"""The fake build of tests/analysis after all analyses: made once, and copied for tests that change it."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.artefacts import Build

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "analysis"))

from fake_build import analyse, build_fake, copied, write_images  # noqa: E402 (it lies in the neighbouring folder)


@pytest.fixture(scope="session")
def analysed(tmp_path_factory):
    """`(folder, environment)` of a build after all analyses; not to be changed."""
    folder = tmp_path_factory.mktemp("analysed")
    _, root, environment = build_fake(folder)
    patches = Build("fake", root).patches
    write_images(patches, "cube", np.full((len(pd.read_parquet(patches / "index.parquet")), 4, 8, 8), 128, np.uint8))
    analyse(("cohort", "performance", "study", "examples", "realism", "simulation"), environment)
    return folder, environment


@pytest.fixture
def results(analysed, tmp_path):
    """`(build, environment)`: a copy that a test may change."""
    return copied(*analysed, tmp_path)
