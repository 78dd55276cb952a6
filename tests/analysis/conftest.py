"""A fake build for the tests of analyses: made once, and copied for tests that change it."""

import shutil

import pytest
from fake_build import build_fake, run_script

from pipeline.artefacts import Build


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """`(folder, environment)` of a build before any analysis; not to be changed."""
    folder = tmp_path_factory.mktemp("fake")
    return folder, build_fake(folder)[2]


@pytest.fixture
def fake(untouched, tmp_path):
    """`(build, environment)`: a copy that a test may change."""
    original, environment = untouched
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    environment = {name: value.replace(str(original), str(tmp_path)) for name, value in environment.items()}
    return Build("fake", tmp_path / "build"), environment


@pytest.fixture(scope="session")
def performed(tmp_path_factory, untouched):
    """The build after `analysis/performance.py` and `analysis/study.py`; not to be changed."""
    original, environment = untouched
    folder = tmp_path_factory.mktemp("performed")
    shutil.copytree(original, folder, dirs_exist_ok=True)
    environment = {name: value.replace(str(original), str(folder)) for name, value in environment.items()}
    for name in ("performance", "study"):
        done = run_script(f"analysis/{name}.py", environment)
        assert done.returncode == 0, done.stderr
    return Build("fake", folder / "build"), environment
