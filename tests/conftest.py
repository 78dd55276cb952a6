"""Fixtures shared by all tests: a home of their own, no tokens of the user's, and the optional real data."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items):
    """The build from end to end first: it takes about as long as all else, which another process does meanwhile."""
    items.sort(key=lambda item: item.path.name != "test_end_to_end.py")


@pytest.fixture(autouse=True, scope="session")
def isolated_home(tmp_path_factory):
    """Point HOME at an empty folder: caveclient and cloud-volume read secrets and caches from the user's home."""
    patch = pytest.MonkeyPatch()
    patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    patch.delenv("CAVE_TOKEN", raising=False)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder of this run that all processes of pytest-xdist have in common."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def tiny_truth(shared_folder):
    """Folder with `em/`, `segmentation/`, `clefts/`, `truth/` and `manifest.json` of a tiny simulated neuropil."""
    from tiny_tissue import generate

    with FileLock(shared_folder / "tiny.lock"):
        if not (shared_folder / "tiny" / "manifest.json").is_file():
            generate(shared_folder / "tiny")
    return shared_folder / "tiny"


@pytest.fixture
def edition_environment(monkeypatch):
    """Stages say in the environment which edition they run, for the processes that they start: put it back after."""
    for name in ("CONFIG", "BUILD", "DATA"):
        monkeypatch.setenv(f"SYNAPSE_EI_{name}", "")


@pytest.fixture(scope="session")
def real_data():
    """Folder of the real EM and connectivity (never part of the repository); skips where it is absent."""
    folder = Path(os.environ.get("SYNAPSE_EI_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data absent: no folder {folder} (set SYNAPSE_EI_REAL_DATA to run this test)")
    return folder


@pytest.fixture
def my_tissue(tmp_path, monkeypatch):
    """`my_tissue/` of docs/ in the working folder: two segments that meet in a plane, and a cleft between them.

    Commands work in this process: workers take seconds to start.
    """
    from cloudvolume import CloudVolume

    from pipeline import compute

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())
    shape = (40, 160, 160)  # ZYX
    z, y, x = np.indices(shape)
    cleft = (abs(y - 80) < 3) & (abs(x - 80) < 20) & (abs(z - 20) < 4)
    volumes = {
        "em": np.random.default_rng(0).integers(60, 200, shape).astype(np.uint8),
        "segmentation": np.select([y < 79, y > 81], [2**63 + 1, 7], 0).astype(np.uint64),
        "clefts": cleft.astype(np.uint64),
    }
    for name, array in volumes.items():
        kind, encoding = ("image", "raw") if name == "em" else ("segmentation", "compressed_segmentation")
        info = CloudVolume.create_new_info(
            1, kind, str(array.dtype), encoding, [8, 8, 40], [0, 0, 0], shape[::-1], chunk_size=(64, 64, 16)
        )
        volume = CloudVolume(f"precomputed://file://{tmp_path}/my_tissue/{name}", info=info, progress=False)
        volume.commit_info()
        volume[:] = array.transpose(2, 1, 0)
    (tmp_path / "my_tissue" / "synapses.csv").write_text("synapse_id,x_vx,y_vx,z_vx\n1,80,80,20\n")
    return tmp_path
