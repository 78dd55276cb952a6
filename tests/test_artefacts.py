"""Files: whole or absent, never half; hashes and provenance that tell what changed."""

import errno
import hashlib
import json

import pytest

from pipeline import artefacts


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "result.json"
    artefacts.write_text(path, "old")
    with pytest.raises(RuntimeError, match="boom"), artefacts.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("boom")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert path.read_text() == "old"


def test_a_failed_folder_leaves_the_old_folder(tmp_path):
    path = tmp_path / "site"
    with artefacts.atomic_folder(path) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError, match="boom"), artefacts.atomic_folder(path) as temporary:
        (temporary / "b").write_text("half")
        raise RuntimeError("boom")
    assert [p.name for p in tmp_path.rglob("*")] == ["site", "a"]


def test_a_full_disk_names_the_target(tmp_path):
    path = tmp_path / "table.md"
    with pytest.raises(OSError, match=r"cannot write .*table\.md: No space left") as caught, artefacts.atomic(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_a_build_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "build").write_text("a file where the folder should be")
    with pytest.raises(OSError, match=r"cannot write .*build/demo/values\.json"):
        artefacts.write_json(tmp_path / "build" / "demo" / "values.json", {})


def test_json_refuses_what_it_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artefacts.write_json(tmp_path / "a.json", {"auc": float("nan")})
    assert not list(tmp_path.iterdir())


def test_hash_of_a_file_is_sha256_and_of_a_folder_follows_names_and_bytes(tmp_path):
    file = tmp_path / "folder" / "a"
    file.parent.mkdir()
    file.write_bytes(b"synapse")
    assert artefacts.sha256(file) == hashlib.sha256(b"synapse").hexdigest()
    before = artefacts.sha256(file.parent)
    file.rename(file.with_name("b"))
    renamed = artefacts.sha256(file.parent)
    (file.parent / "b").write_bytes(b"synapsE")
    assert len({before, renamed, artefacts.sha256(file.parent)}) == 3


def _copy(build, key, text="out"):
    """A step that copies nothing: whether its work was done."""
    files = [build.root / "in.txt"], [build.root / "out.txt"]
    with artefacts.step(build, "copy", "figures/copy.py", {"settings": key}, *files) as step:
        if not step.is_current:
            artefacts.write_text(build.root / "out.txt", text)
            step.facts["device"] = "cpu"
    return not step.is_current


@pytest.fixture
def build(tmp_path):
    build = artefacts.Build("demo", tmp_path)
    artefacts.write_text(build.root / "in.txt", "in")
    return build


def test_provenance_holds_the_hashes_of_what_was_read_and_written(build):
    assert _copy(build, 1)
    artefacts.merge_provenance(build)
    record = json.loads(build.provenance.read_text())["copy"]
    assert record["inputs"] == {"in.txt": hashlib.sha256(b"in").hexdigest()}
    assert record["outputs"] == {"out.txt": hashlib.sha256(b"out").hexdigest()}
    assert record["device"] == "cpu"
    assert record["packages"]["torch"].startswith("2.13.0")
    assert record["seconds"] >= 0


def test_a_step_is_done_again_for_other_contents_and_nothing_else(build):
    assert _copy(build, 1)
    (build.root / "in.txt").touch()
    assert not _copy(build, 1)
    assert _copy(build, 2)
    artefacts.write_text(build.root / "in.txt", "another")
    assert _copy(build, 2)
    (build.root / "out.txt").unlink()
    assert _copy(build, 2)
    assert not _copy(build, 2)


def test_a_step_that_failed_half_way_is_done_again_even_for_the_old_key(build):
    assert _copy(build, 1)
    with (
        pytest.raises(RuntimeError),
        artefacts.step(
            build, "copy", "figures/copy.py", {"settings": 2}, [build.root / "in.txt"], [build.root / "out.txt"]
        ),
    ):
        raise RuntimeError
    assert not build.record("copy").exists()
    assert _copy(build, 1)
