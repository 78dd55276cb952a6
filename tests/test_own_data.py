"""Commands for one's own data: a wrong input is one line that says what was wrong, where, and what to do."""

import json
import os

import pandas as pd
import pytest

from pipeline import __main__
from pipeline.artefacts import REPOSITORY

HEADER = "synapse_id,x_vx,y_vx,z_vx"


@pytest.fixture
def refused(my_tissue, capsys, edition_environment):
    """A function that runs a command which must fail, and returns its error."""

    def run(command, *arguments):
        capsys.readouterr()
        assert __main__.main([command, *map(str, arguments)]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert not (my_tissue / "out.parquet").exists()
        return error

    return run


def arguments(**changes):
    """Options of `predict` and `partners` that work, and what a test changes in them."""
    options = {"volumes": "my_tissue", "synapses": "my_tissue/synapses.csv", "out": "out.parquet", **changes}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


both = pytest.mark.parametrize("command", ["predict", "partners"])


@both
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; its first row must name the columns"),
        (HEADER, "has a header but no synapses"),
        (
            "id,x,y,z\n1,80,80,20",
            r"lacks the columns ['synapse_id', 'x_vx', 'y_vx', 'z_vx']; its first row names ['id',",
        ),
        (f"{HEADER}\n1,80,80,20".replace(",", ";"), "lacks the columns"),
        (f"{HEADER}\n1,80,80,20".replace(",", ";"), "separate cells by commas"),
        (f"{HEADER}\n1,nan,80,20", "row 2, column x_vx: 'nan' is not an integer"),
        (f"{HEADER}\n1,80,eighty,20", "row 2, column y_vx: 'eighty' is not an integer"),
        (f"{HEADER}\n1,80,80,20\n1,81,80,20", "row 3, column synapse_id: '1' occurs more than once"),
        (f"{HEADER}\n1,80,80", "row 2 has 3 cells where the header names 4"),
        (f"{HEADER}\n1,6400,6400,800\n2,500,640,8000", "They fit in no other units either"),
        (f"{HEADER}\n1,640,640,800", "if their numbers, read as voxels here, were nanometres (give voxels)"),
        (f"{HEADER}\n1,20,80,80", "if X and Z were exchanged"),
        (f"{HEADER}\n1,170,80,20", "voxels of 4 x 4 x 40 nm, as CAVE's tables hold them"),
    ],
)
def test_lists_of_synapses_that_cannot_be(refused, command, text, message):
    with open("my_tissue/synapses.csv", "w") as file:
        file.write(text)
    assert message in refused(command, *arguments())


def test_positions_outside_are_shown_beside_the_volume_in_its_voxels(refused):
    with open("my_tissue/synapses.csv", "w") as file:
        file.write(f"{HEADER}\n1,170,80,20\n2,20,80,20")
    error = refused("predict", *arguments())
    assert "1 of 2 synapses lie outside the volume" in error
    assert "[0, 0, 0] to [160, 160, 40] in its voxels of 8 x 8 x 40 nm" in error
    assert "(voxel [20, 80, 20]) to [1360.0, 640.0, 800.0] nm (voxel [170, 80, 20])" in error


@both
@pytest.mark.parametrize(("path", "state"), [("nothing.csv", "does not exist"), ("my_tissue", "is a folder")])
def test_a_list_that_is_no_file(refused, command, path, state):
    error = refused(command, *arguments(synapses=path))
    assert f"{path} {state}; it must be a CSV file with the columns ['synapse_id'" in error


@both
@pytest.mark.parametrize(
    ("info", "message"),
    [(None, "cannot be read (No such file"), ("{", "is not JSON"), ("{}", "names no scales"), ("3", "names no scales")],
)
def test_a_folder_that_is_no_volume(refused, command, info, message, my_tissue):
    path = my_tissue / "my_tissue" / "em" / "info"
    path.unlink()
    if info:
        path.write_text(info)
    error = refused(command, *arguments())
    assert f"my_tissue/em: its `info` {message}" in error


@both
def test_images_of_another_type(refused, command, my_tissue):
    path = my_tissue / "my_tissue" / "em" / "info"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_type": "uint16"}))
    assert "it must be one channel of uint8" in refused(command, *arguments())


@both
@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("out.csv", "a Parquet file is written; let its name end in .parquet"),
        ("folder.parquet", "folder.parquet is a folder; name a file"),
        ("my_tissue/synapses.csv/out.parquet", "cannot write my_tissue/synapses.csv/out.parquet: "),
    ],
)
def test_an_output_that_cannot_be_written_is_known_at_once(refused, command, out, message):
    os.mkdir("folder.parquet")
    assert message in refused(command, *arguments(out=out))


def test_models_that_are_not_for_this(refused, my_tissue):
    pretrained = REPOSITORY / "pretrained"
    error = refused("predict", *arguments(run=pretrained / "avan"))
    assert f"{pretrained / 'avan'} holds avan, which classifies no synapses" in error
    assert "holds a network for classification" in refused("partners", *arguments(run=pretrained / "cnn"))
    for command in ("predict", "partners"):
        assert "no trained model: nothing/model.safetensors" in refused(command, *arguments(run="nothing"))


def test_scores_that_cannot_be_computed_are_no_error(my_tissue, capsys):
    """One neuron of a class: predictions are written, and it is said why there are no scores."""
    rows = [f"{n},{60 + n},80,20,{'excitatory' if n == 1 else 'inhibitory'},{n}" for n in range(1, 5)]
    text = "\n".join([f"{HEADER},cell_type,axon_id", *rows])
    (my_tissue / "my_tissue" / "synapses.csv").write_text(text)
    assert __main__.main(["predict", *arguments()]) == 0
    assert len(pd.read_parquet("out.parquet")) == 4
    assert (
        "No scores: 1 excitatory neurons: resampling neurons needs at least 2 of each class" in capsys.readouterr().out
    )


def test_connectivity_knows_at_once_what_it_cannot_write(refused, capsys):
    assert "let its name end in .parquet" in refused("connectivity", "--connectome", "my_tissue", "--out", "out.csv")
    assert "does not exist; a connectome has" in refused("connectivity", "--connectome", ".", "--out", "out.parquet")
    assert __main__.main(["connectivity", "--connectome", ".", "--out", "out.parquet", "--seed", "-1"]) == 2
    assert "is not in the range" in capsys.readouterr().err


def test_a_stage_names_the_input_that_is_missing(refused, my_tissue):
    build = ["--build", my_tissue / "build"]
    made = refused("units", *build)
    assert (
        f"{my_tissue}/build/demo/cohort/synapses.parquet, which does not exist (nor do 1 more): `make` builds" in made
    )
    own = refused("cohort", "--config", "kasthuri", "--data", "nothing", *build)
    assert own.strip().endswith("cohort needs nothing/synapses.csv, which does not exist")


def test_the_check_of_a_folder_reads_all_its_points_and_cuts_some(my_tissue, refused, capsys):
    path = my_tissue / "my_tissue" / "synapses.csv"
    rows = [f"{n},{60 + n},80,20,{'excitatory' if n % 4 else 'inhibitory'},{n}" for n in range(1, 31)]
    path.write_text("\n".join([f"{HEADER},cell_type,axon_id", *rows]))
    arguments = ["--config", "kasthuri", "--data", "my_tissue", "--build", str(my_tissue / "build")]
    assert __main__.main(["check", *arguments]) == 0
    said = capsys.readouterr().out
    assert "30 synapses of 30 neurons, 23 excitatory, 7 inhibitory" in said
    assert "images, estimated" in said
    # 256 x 256 and 32 x 128 x 128 bytes each
    assert f"{30 * (256**2 + 32 * 128**2) / 1e6:.1f}MB stored" in said
    path.write_text("\n".join([f"{HEADER},cell_type,axon_id", *rows, "31,9000,80,20,excitatory,31"]))
    assert "1 of 31 synapses lie outside the volume" in refused("check", *arguments)
    for chunk in (my_tissue / "my_tissue" / "em" / "8_8_40").iterdir():
        chunk.unlink()
    path.write_text("\n".join([f"{HEADER},cell_type,axon_id", *rows]))
    assert "none of 8 synapses has usable images; the first is synapse 1: missing chunk" in refused("check", *arguments)
