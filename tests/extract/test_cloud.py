"""Segmentation behind a graphene server, as cloud-volume reads it: the same voxels, and an end to silence."""

import json

import cloudfiles.interfaces
import cloudvolume.secrets
import numpy as np
import pytest
import requests
import tenacity
from extract_volumes import CHUNK, OFFSET, SIZE, write_volume
from image_server import Fault, serve, stored

from pipeline import config
from pipeline.extract.fetch import VolumeUnavailable
from pipeline.extract.volume import LABELS, Volume

TRANSFER, PATIENT = config.Transfer(timeout_s=1), config.Transfer(timeout_s=60)
TABLE = "segmentation/table/tissue"


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(1, 2**60, SIZE, dtype=np.uint64)


@pytest.fixture
def graphene(tmp_path, labels, monkeypatch):
    """(server, path) of a stand-in for a graphene service: its `info`, and the chunks that this points to."""
    write_volume(tmp_path / "seg", labels, (8, 8, 40), OFFSET, CHUNK, "raw", "segmentation")
    chunks, described = stored(tmp_path / "seg"), json.loads((tmp_path / "seg" / "info").read_text())
    described["app"] = {"supported_api_versions": [0, 1]}
    described["graph"] = {"chunk_size": list(CHUNK), "n_layers": 2, "cv_mip": 0, "spatial_bit_masks": {"1": 8}}

    def source(key):
        if key == f"{TABLE}/info":
            return json.dumps(described).encode(), ""
        return chunks(key.removeprefix("data/"))

    monkeypatch.setitem(cloudvolume.secrets.CAVE_CREDENTIALS_CACHE, "127.0.0.1", {"token": "0123abcd"})
    retrying = cloudfiles.interfaces.HttpInterface.get_file.retry
    monkeypatch.setattr(retrying, "wait", tenacity.wait_none())
    monkeypatch.setattr(retrying, "stop", tenacity.stop_after_attempt(5))
    with serve(source) as server:
        described["data_dir"] = f"precomputed://{server.address}/data"
        host = server.address.replace("127.0.0.1", "localhost")
        monkeypatch.setitem(cloudvolume.secrets.CAVE_CREDENTIALS_CACHE, host.partition("//")[2], {"token": "0123abcd"})
        yield server, f"graphene://{host}/{TABLE}"


def test_segments_are_those_stored(graphene, labels):
    _, path = graphene
    volume = Volume(path, (8, 8, 40), LABELS, PATIENT)
    box, corner = volume.read(volume.bounds_vx[0] + 5, volume.bounds_vx[1] - 7)
    np.testing.assert_array_equal(box, labels[5:-7, 5:-7, 5:-7].T)
    assert corner.tolist() == (np.array(OFFSET) + 5).tolist()


def test_a_service_that_does_not_answer_is_given_up(graphene):
    server, path = graphene
    server.faults = [Fault("hang", name=TABLE)]
    with pytest.raises(VolumeUnavailable, match=rf"cannot read {path}: .*timed? ?out"):
        Volume(path, (8, 8, 40), LABELS, TRANSFER)


@pytest.mark.parametrize("kind", ["hang", "drop"])
def test_chunks_that_do_not_come_are_asked_for_again_and_given_up(graphene, kind):
    server, path = graphene
    volume = Volume(path, (8, 8, 40), LABELS, TRANSFER)
    low = volume.bounds_vx[0]
    server.faults = [Fault(kind, name="data/8_8_40/", first=2)]
    assert volume.read(low, low + 1)[0].shape == (1, 1, 1)
    server.faults = [Fault(kind, name="data/8_8_40/")]
    with pytest.raises(VolumeUnavailable, match=f"cannot read {path}: .* start again: finished blocks are kept"):
        volume.read(low + CHUNK, low + CHUNK + 1)


def test_a_request_with_its_own_deadline_keeps_it(graphene):
    server, path = graphene
    Volume(path, (8, 8, 40), LABELS, TRANSFER)
    server.faults = [Fault("delay", seconds=3)]
    assert requests.get(f"{server.address}/{TABLE}/info", timeout=30).status_code == 200
    with pytest.raises(requests.Timeout):
        requests.get(f"{server.address}/{TABLE}/info")
