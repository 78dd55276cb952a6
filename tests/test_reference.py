"""Statistics of real data: those of the repository are of its networks, and what is wrong with a file is named."""

import json
import shutil

import numpy as np
import pytest
from cloudvolume import CloudVolume

from pipeline import __main__, reference
from pipeline.artefacts import REPOSITORY

FILES = sorted((REPOSITORY / "paper" / "reference").glob("*.json"))
PUBLISHED = sorted(str(p.relative_to(REPOSITORY)) for p in REPOSITORY.glob("pretrained/*/model.safetensors"))
SEGMENTS = 2**63 + 1, 7  # of `my_tissue`: beyond what a float can hold, and a small one


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_files_of_the_repository_are_those_of_its_networks(path):
    found = reference.load(path, PUBLISHED)
    assert bool(found.tissues) != bool(found.connectivity)
    assert found.provenance.command.startswith(f"make real DATA={path.stem}")
    assert not found.provenance.commit.endswith("+changes")
    assert path.stat().st_size < 100_000, "statistics, no pixels"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f["provenance"].pop("commit"), "provenance.commit: Field required"),
        (lambda f: f["provenance"]["networks"].update(cnn="0" * 64), "key provenance.networks.cnn: stale"),
        (lambda f: f["provenance"]["networks"].pop("unet3d"), "key provenance.networks.unet3d: stale"),
        (
            lambda f: f["tissues"]["kasthuri_ac3"]["scores"][0].update(value=1.5),
            "tissues.kasthuri_ac3.scores.0.value: Input should be less than or equal to 1",
        ),
        (lambda f: f["tissues"]["kasthuri_ac3"].update(more=1), "tissues.kasthuri_ac3.more: Extra inputs are not"),
        (lambda f: f.update(connectivity={"auc": 0.8}), "connectivity.auc: Input should be an object"),
    ],
)
def test_what_is_wrong_with_a_file_is_named_with_its_key(tmp_path, edit, message):
    content = json.loads((REPOSITORY / "paper/reference/kasthuri_ac3.json").read_text())
    edit(content)
    path = tmp_path / "kasthuri_ac3.json"
    path.write_text(json.dumps(content))
    with pytest.raises(reference.ReferenceError) as error:
        reference.load(path, PUBLISHED)
    assert str(path) in str(error.value)
    assert message in str(error.value)
    assert "run `make real` on the folder kasthuri_ac3 again" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(reference.ReferenceError, match="gone.json cannot be read"):
        reference.load(tmp_path / "gone.json")


@pytest.fixture
def labelled(my_tissue):
    """`my_tissue` with a dark bouton, and five synapses whose partners are known, the last one the wrong way round."""
    volume = CloudVolume(f"precomputed://file://{my_tissue}/my_tissue/em", progress=False)
    grey = np.array(volume[:])
    grey[:, :79] //= 2  # the first segment
    volume[:] = grey
    rows = ["synapse_id,x_vx,y_vx,z_vx,cell_type,pre_segment_id,post_segment_id"]
    for n in range(1, 6):
        pair = SEGMENTS if n < 5 else SEGMENTS[::-1]
        kind = "excitatory" if n % 2 else "inhibitory"
        rows.append(f"{n},{70 + 4 * n},80,20,{kind},{pair[0]},{pair[1]}")
    (my_tissue / "my_tissue" / "synapses.csv").write_text("\n".join(rows))
    return my_tissue


def measured(folder, data, *more):
    assert __main__.main(["real", "--data", str(data), "--build", str(folder / "build"), *more]) == 0
    return reference.load(folder / "build" / "demo" / "real" / data / "statistics.json", PUBLISHED)


def test_one_command_measures_what_applies(labelled, edition_environment):
    """The bouton is dark, so that the rule of the darker side directs all pairs but the one written the other way."""
    found = measured(labelled, "my_tissue")
    tissue = found.tissues["my_tissue"]
    direction = {row.method: row for row in tissue.direction}
    assert (direction["darker_is_pre"].n_right, direction["darker_is_pre"].n) == (4, 5)
    assert not any(row.in_sample for row in tissue.direction)
    assert {row.score for row in tissue.scores} == {"cnn", "unet3d", "dark_post", "smooth_pre", "dark_and_smooth"}
    assert {row.subset for row in tissue.scores} == {"all"}, "nothing is said of spines"
    assert tissue.left_out == {}
    (row,) = tissue.sample
    assert (row.n_excitatory, row.n_inhibitory) == (3, 2)
    assert found.provenance.networks.keys() == {"avan", "cnn", "unet3d"}


def test_what_does_not_apply_to_a_folder_in_a_folder_is_listed_with_the_reason(labelled, edition_environment):
    bare = labelled / "several" / "bare"
    shutil.copytree(labelled / "my_tissue" / "em", bare / "em")
    (bare / "synapses.csv").write_text("synapse_id,x_vx,y_vx,z_vx,cell_type\n1,80,80,20,excitatory\n")
    found = measured(labelled, "several").tissues
    assert found.keys() == {"bare"}
    assert found["bare"].direction == found["bare"].scores == []
    assert found["bare"].junctions is None
    assert "does not name the partners' segments" in found["bare"].left_out["floors, junctions and direction"]
    assert "2 presynaptic neurons of each class" in found["bare"].left_out["AUC"]


def test_folders_that_hold_nothing_to_measure(labelled, edition_environment, capsys):
    (labelled / "empty").mkdir()
    for data, more, message in (
        ("empty", [], "empty has no em/ with a synapses.csv"),
        ("my_tissue", ["--networks", "empty"], "empty holds no networks"),
        ("my_tissue", ["--networks", str(REPOSITORY / "pretrained")] * 2, "two networks are called avan"),
    ):
        assert __main__.main(["real", "--data", data, "--build", str(labelled / "build"), *more]) == 1
        assert message in capsys.readouterr().err
