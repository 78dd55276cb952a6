"""A fake build for the tests of analyses: made once, and copied for tests that change it."""

import pytest
from fake_build import analyse, build_fake, copied


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """`(folder, environment)` of a build before any analysis; not to be changed."""
    folder = tmp_path_factory.mktemp("fake")
    return folder, build_fake(folder)[2]


@pytest.fixture
def fake(untouched, tmp_path):
    """`(build, environment)`: a copy that a test may change."""
    return copied(*untouched, tmp_path)


@pytest.fixture(scope="session")
def performed(tmp_path_factory, untouched):
    """The build after `analysis/performance.py` and `analysis/study.py`; not to be changed."""
    original, environment = untouched
    build, environment = copied(original, environment, tmp_path_factory.mktemp("performed"))
    analyse(("performance", "study"), environment)
    return build, environment
