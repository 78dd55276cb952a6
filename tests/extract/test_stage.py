"""The stage `extract`, run as a command."""

import hashlib

import numpy as np
import pandas as pd
import pytest
import zarr
from extract_volumes import SIZE, synapse_table, texture, write_volume

from pipeline import locks, stages
from pipeline.artefacts import Build, read_json, write_json, write_parquet

EDITION = (
    "source: {kind: simulated}\nextract: {patch_px: 32, cube_zyx: [4, 16, 16]}\ncompute: {workers: 1}\nmodels: []\n"
)


def _run(stage, build, tmp_path):
    (tmp_path / "small.yaml").write_text(EDITION)
    arguments = [stage, "--config", str(tmp_path / "small.yaml"), "--build", str(build.root.parent)]
    stages.commands.main(arguments, standalone_mode=False)


def _simulated(source, pixels_xyz):
    """A source with these images, as the simulation leaves one; returns the path of its volume."""
    path = write_volume(source / "em", pixels_xyz, (8, 8, 40), (100, 200, 50), encoding="raw")
    digest = hashlib.sha256(pixels_xyz.tobytes()).hexdigest()
    write_json(source / "manifest.json", {"sha256": {"em": digest}})
    return path


def test_other_images_of_the_same_synapses_are_cut_again(tmp_path):
    stages.load()
    build = Build("small", tmp_path / "build")
    write_parquet(build.synapses, synapse_table([[180, 270, 70], [200, 290, 75]]))
    for seed in (1, 2):
        images = texture(SIZE, seed)
        path = _simulated(build.source, images)
        write_json(build.cohort / "volume.json", {"em_path": path})
        _run("extract", build, tmp_path)
        rows = pd.read_parquet(build.patches / "index.parquet")["row"]
        stored = zarr.open_array(build.patches / "images.zarr" / "patch", mode="r")[:][rows]
        corners = [(80, 70, 20), (100, 90, 25)]  # of the voxels that hold the synapses, from the volume's corner
        expected = [images[x - 16 : x + 16, y - 16 : y + 16, z].T for x, y, z in corners]
        assert {patch.tobytes() for patch in np.asarray(stored)} == {patch.tobytes() for patch in expected}
    assert read_json(build.patches / "manifest.json")["n_faults"] == 0


def test_a_step_that_another_process_works_on_is_not_begun_unless_it_divides(tmp_path):
    stages.load()
    build = Build("small", tmp_path / "build")
    simulation, extraction = (build.root / "locks" / name for name in ("simulate", "extract"))
    with locks.locked(simulation), pytest.raises(locks.LockError, match=r"another run works in"):
        _run("simulate", build, tmp_path)
    assert not build.source.exists()
    write_parquet(build.synapses, synapse_table([[180, 270, 70]]))
    write_json(build.cohort / "volume.json", {"em_path": _simulated(build.source, texture(SIZE, 1))})
    with locks.locked(extraction):
        _run("extract", build, tmp_path)
    assert len(pd.read_parquet(build.patches / "index.parquet")) == 1
