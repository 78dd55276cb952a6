"""Fixtures shared by all tests: a home of their own, no tokens of the user's, and the optional real data."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True, scope="session")
def isolated_home(tmp_path_factory):
    """Point HOME at an empty folder: caveclient and cloud-volume read secrets and caches from the user's home."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    patch.delenv("CAVE_TOKEN", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real EM and connectivity (never part of the repository); skips where it is absent."""
    folder = Path(os.environ.get("SYNAPSE_EI_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data absent: no folder {folder} (set SYNAPSE_EI_REAL_DATA to run this test)")
    return folder
