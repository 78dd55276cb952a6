"""A tiny simulated neuropil, made once for all tests of this folder."""

import pytest
from tiny_tissue import generate


@pytest.fixture(scope="session")
def tiny_truth(tmp_path_factory):
    """Folder with `em/`, `segmentation/`, `clefts/`, `truth/` and `manifest.json` of a small volume."""
    return generate(tmp_path_factory.mktemp("tiny") / "source")
