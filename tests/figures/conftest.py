"""The fake build of tests/analysis after all analyses: made once, and copied for tests that change it."""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "analysis"))

from fake_build import build_fake, run_script  # noqa: E402 (it lies in the neighbouring folder)

from pipeline.artefacts import Build  # noqa: E402


@pytest.fixture(scope="session")
def analysed(tmp_path_factory):
    """`(folder, environment)` of a build after all analyses; not to be changed."""
    folder = tmp_path_factory.mktemp("analysed")
    _, _, environment = build_fake(folder)
    for name in ("cohort", "performance", "study", "examples", "realism", "simulation"):
        done = run_script(f"analysis/{name}.py", environment)
        assert done.returncode == 0, done.stderr
    return folder, environment


@pytest.fixture
def results(analysed, tmp_path):
    """`(build, environment)`: a copy that a test may change."""
    original, environment = analysed
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    environment = {name: value.replace(str(original), str(tmp_path)) for name, value in environment.items()}
    return Build("fake", tmp_path / "build"), environment
