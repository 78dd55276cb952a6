"""The reader against cloud-volume, byte by byte, and against a server that fails in every way."""

import logging
import threading
import time

import numpy as np
import pandas as pd
import pytest
from cloudvolume import Bbox, CloudVolume
from extract_volumes import texture
from image_server import Fault, serve, stored

from pipeline import artefacts, config, shards
from pipeline.extract import fetch
from pipeline.extract.fetch import AGREEING, VolumeUnavailable
from pipeline.extract.patches import cut_synapse, extract
from pipeline.extract.volume import LABELS, ExtractionError, Volume

#: As short as the faults of a loopback server allow.
TRANSFER = config.Transfer(requests=8, timeout_s=0.4, backoff_s=0.01, patience_s=20)

ENCODINGS = {  # encoding, type and compression of the chunks
    "jpeg": ("jpeg", "uint8", False),
    "raw": ("raw", "uint8", False),
    "raw, gzip": ("raw", "uint64", "gzip"),
    "raw, brotli": ("raw", "uint16", "br"),
    "compressed_segmentation": ("compressed_segmentation", "uint32", False),
    "compressed_segmentation, gzip": ("compressed_segmentation", "uint64", "gzip"),
}


pair = threading.Barrier(2)


def cut_in_pairs(*arguments):
    pair.wait(60)  # for another synapse that is being cut
    return cut_synapse(*arguments)


@pytest.fixture
def served(em_path):
    """(server of the volume, its cloud-volume path)."""
    with serve(stored(em_path.removeprefix("precomputed://file://"))) as server:
        yield server, f"precomputed://{server.address}"


@pytest.fixture
def settings(settings):
    return settings.model_copy(update={"transfer": TRANSFER})


@pytest.fixture
def clean(tmp_path, em_path, settings, synapses, client):
    """Digests of the images that a run without faults writes."""
    extract(synapses, em_path, settings, tmp_path / "clean", client)
    return digests(tmp_path / "clean")


def digests(folder):
    return artefacts.read_json(folder / "manifest.json")["sha256"] | {
        name: artefacts.sha256(folder / name) for name in ("images.zarr", "index.parquet", "quality.parquet")
    }


@pytest.mark.parametrize("place", ["file", "http"])
@pytest.mark.parametrize("name", ENCODINGS)
def test_voxels_are_those_of_cloudvolume(tmp_path, name, place):
    encoding, dtype, compress = ENCODINGS[name]
    rng, size, offset = np.random.default_rng(0), (100, 70, 45), (7, 20, 3)
    values = (
        texture(size) if dtype == "uint8" else rng.integers(0, np.iinfo(dtype).max, (9,), dtype)[texture(size) // 30]
    )
    info = CloudVolume.create_new_info(1, "image", dtype, encoding, (8, 8, 40), offset, size, chunk_size=(32, 32, 16))
    path = f"file://{tmp_path}/volume"
    volume = CloudVolume(path, info=info, compress=compress, progress=False)
    volume.commit_info()
    volume[:] = values
    if place == "http" and compress == "br":
        pytest.skip("the image server knows gzip alone")
    with serve(stored(tmp_path / "volume")) as server:
        ours = Volume(f"precomputed://{server.address}" if place == "http" else path, (8, 8, 40), LABELS, TRANSFER)
        low, high = ours.bounds_vx
        corners = np.sort(rng.integers(low, high + 1, size=(20, 2, 3)), axis=1)
        boxes = [*corners[(corners[:, 0] < corners[:, 1]).all(axis=1)], (low, high), (low + 40, low + 41)]
        for start, end in boxes:
            box, corner = ours.read(start, end)
            expected = np.asarray(volume.download(Bbox(start, end))).reshape(end - start, order="F")
            assert (corner == start).all()
            assert box.dtype == expected.dtype
            assert (box == expected.T).all()


def test_an_encoding_without_a_codec(tmp_path, em_path):
    info = artefacts.read_json(artefacts.Path(em_path.removeprefix("precomputed://file://")) / "info")
    info["scales"][0]["encoding"] = "fpzip"
    artefacts.write_json(tmp_path / "other" / "info", info)
    with pytest.raises(ExtractionError, match="cannot be decoded: Optional codec fpzip is not installed"):
        Volume(f"file://{tmp_path}/other", (8, 8, 40))


def test_boxes_beyond_the_volume_are_refused(em_path):
    volume = Volume(em_path, (8, 8, 40))
    with pytest.raises(ExtractionError, match="no box"):
        volume.read(volume.bounds_vx[0] - 1, volume.bounds_vx[1])


def test_each_chunk_is_asked_for_once(tmp_path, served, settings, synapses, client, monkeypatch, clean):
    server, path = served
    monkeypatch.setattr(shards, "MAX_ROWS", 8)
    extract(synapses, path, settings, tmp_path / "patches", client)
    chunks = {key: n for key, n in server.requests.items() if key != "info"}
    assert set(chunks.values()) == {1}
    assert 9 < len(chunks) <= 3 * 3 * 3


def test_synapses_of_a_block_are_read_at_once(tmp_path, em_path, settings, synapses, client):
    extract(synapses, em_path, settings, tmp_path / "patches", client, cut_in_pairs)


@pytest.mark.parametrize(
    "kind", ["403", "404", "429", "500", "503", "delay", "drop", "truncate", "html", "empty", "corrupt", "hang"]
)
def test_transient_faults_change_no_byte(tmp_path, served, settings, synapses, client, clean, kind, caplog):
    server, path = served
    server.faults = [Fault(kind, share=0.3, first=AGREEING - 1, seconds=0.02)]
    with caplog.at_level(logging.WARNING, "pipeline"):
        extract(synapses, path, settings, tmp_path / "patches", client)
    assert server.failed[kind] > 3
    assert digests(tmp_path / "patches") == clean
    assert kind == "delay" or "trying again" in caplog.text


def test_all_faults_at_once_change_no_byte(tmp_path, served, settings, synapses, client, clean):
    server, path = served
    kinds = ["403", "404", "429", "500", "drop", "truncate", "html", "empty", "corrupt", "hang"]
    server.faults = [Fault(kind, share=0.03) for kind in kinds]
    extract(synapses, path, settings, tmp_path / "patches", client)
    assert len(server.failed) > 3
    assert digests(tmp_path / "patches") == clean


def test_an_answer_that_trickles_in_is_given_up(tmp_path, served, settings, synapses, client, clean, monkeypatch):
    monkeypatch.setattr(fetch, "WHOLE", 1)
    server, path = served
    server.faults = [Fault("trickle", share=0.2, first=1)]
    extract(synapses, path, settings, tmp_path / "patches", client)
    assert server.failed["trickle"]
    assert digests(tmp_path / "patches") == clean


@pytest.mark.parametrize(
    ("kind", "said"),
    [("404", "missing"), ("410", "missing"), ("corrupt", "undecodable"), ("empty", "undecodable"), ("html", "undecod")],
)
def test_agreeing_answers_are_faults_of_the_chunk(tmp_path, served, settings, synapses, client, kind, said):
    server, path = served
    name = "8_8_40/100-164_200-264_50-66"
    server.faults = [Fault(kind, name=name)]
    with pytest.raises(ExtractionError, match=rf"\d+ of 40 synapses have no usable pixels.*\n.*{said}.* chunk {name}"):
        extract(synapses, path, settings, tmp_path / "patches", client)
    server.requests.clear()
    extract(synapses, path, settings.model_copy(update={"faults": "list"}), tmp_path / "patches", client)
    listed, kept = (pd.read_csv(tmp_path / "patches" / "faults.csv"), tmp_path / "patches" / "index.parquet")
    assert listed["fault"].str.contains(f"chunk {name}").all()
    assert len(listed) + len(pd.read_parquet(kept)) == len(synapses)
    server.faults = []
    extract(synapses, path, settings, tmp_path / "patches", client)
    assert len(pd.read_parquet(kept)) == len(synapses)


@pytest.mark.parametrize("status", ["401", "403"])
def test_a_refusal_ends_the_run_and_says_what_to_do(tmp_path, served, settings, synapses, client, status):
    server, path = served
    server.faults = [Fault(status, name="8_8_40/")]
    with pytest.raises(VolumeUnavailable, match=f"{server.address} refuses: the server answered {status} for 8_8_40/"):
        extract(synapses, path, settings.model_copy(update={"faults": "list"}), tmp_path / "patches", client)
    server.faults = [Fault(status)]
    with pytest.raises(VolumeUnavailable, match=f"answered {status} for info. Check the volume's address"):
        Volume(path, (8, 8, 40), transfer=TRANSFER)


@pytest.mark.parametrize("kind", ["503", "404", "html", "drop", "hang"])
def test_an_outage_is_waited_for(em_path, served, kind, caplog):
    server, path = served
    volume = Volume(path, (8, 8, 40), transfer=TRANSFER)
    server.faults = [Fault(kind)]
    end = threading.Timer(1.0, setattr, (server, "faults", []))
    end.start()
    with caplog.at_level(logging.WARNING, "pipeline"):
        box, _ = volume.read(*volume.bounds_vx)
    assert (box == CloudVolume(em_path, progress=False)[:][..., 0].T).all()
    assert "trying again, for up to 20 s" in caplog.text


def test_an_outage_beyond_patience_keeps_what_is_finished(
    tmp_path, served, settings, synapses, client, clean, monkeypatch
):
    monkeypatch.setattr(shards, "MAX_ROWS", 4)
    server, path = served
    extract(synapses, path, settings, tmp_path / "whole", client)
    impatient = settings.model_copy(update={"transfer": TRANSFER.model_copy(update={"patience_s": 0.5})})
    server.faults = [Fault("drop", name="_328-360_")]  # no answer for chunks that a later block needs first
    out = tmp_path / "patches"
    with pytest.raises(VolumeUnavailable) as error:
        extract(synapses, path, impatient, out, client)
    text = str(error.value)
    assert f"{server.address} has given no usable answer for 0.5 s (extract.transfer.patience_s)" in text
    assert "last: the connection was lost" in text
    assert "Finished blocks are kept" in text
    assert not out.exists()
    (journal,) = tmp_path.glob(".patches-work/extract.*.jsonl")
    assert 0 < len(journal.read_text().splitlines()) < 10
    server.faults = []
    extract(synapses, path, settings, out, client)  # a changed patience is no other plan
    assert digests(out) == digests(tmp_path / "whole")


def test_retry_after_is_obeyed(served):
    server, path = served
    volume = Volume(path, (8, 8, 40), transfer=TRANSFER)
    server.faults = [Fault("429", name="100-164_200-264_50-66", first=3, seconds=1)]
    started = time.monotonic()
    volume.read(volume.bounds_vx[0], volume.bounds_vx[0] + 1)
    assert time.monotonic() - started >= 1


def test_an_info_that_is_none(served):
    server, path = served
    for kind in ("404", "html", "empty"):
        server.faults = [Fault(kind)]
        with pytest.raises(ExtractionError, match="no precomputed volume at .*it has no readable `info` file"):
            Volume(path, (8, 8, 40), transfer=TRANSFER)
    server.source = lambda key: (b'{"scales": []}', "")
    server.faults = []
    with pytest.raises(ExtractionError, match="no readable `info`"):
        Volume(path, (8, 8, 40), transfer=TRANSFER)


def test_nobody_listens():
    impatient = TRANSFER.model_copy(update={"patience_s": 0.2})
    with pytest.raises(VolumeUnavailable, match="has given no usable answer for 0.2 s .*last: no connection"):
        Volume("precomputed://http://127.0.0.1:9/em", (8, 8, 40), transfer=impatient)


def test_unreadable_files_are_no_faults_of_the_volume(em_path):
    volume = Volume(em_path, (8, 8, 40))
    folder = em_path.removeprefix("precomputed://file://")
    chunk = artefacts.Path(folder) / "8_8_40" / "100-164_200-264_50-66"
    chunk.unlink()
    chunk.mkdir()
    with pytest.raises(VolumeUnavailable, match=f"cannot read {chunk}: Is a directory"):
        volume.read(volume.bounds_vx[0], volume.bounds_vx[0] + 1)


def test_buckets_and_graphene_are_left_to_cloudvolume():
    for path in ("precomputed://gs://bucket/em", "graphene://https://server/table", "precomputed://s3://bucket/em"):
        assert fetch.store(path, TRANSFER) is None


def test_repeated_requests_are_counted(tmp_path, served, settings, synapses, client, caplog):
    server, path = served
    server.faults = [Fault("503", name="8_8_40/", first=2)]
    with caplog.at_level(logging.INFO, "pipeline"):
        extract(synapses, path, settings, tmp_path / "patches", client)
    assert f"extract: {server.failed.total()} requests were repeated" in caplog.text
