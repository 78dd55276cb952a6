"""`make paper` on a tiny edition, in a build folder of its own and, where the system allows, without any network."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import caveclient
import cloudvolume
import numpy as np
import pandas as pd
import pytest
import zarr
from numba.core.caching import UserProvidedCacheLocator
from sklearn.metrics import roc_auc_score

from pipeline import __main__, compute, config
from pipeline.artefacts import Build
from pipeline.cave import sandbox

pytestmark = pytest.mark.timeout(1800)

REPOSITORY = Path(__file__).resolve().parent.parent
TINY = "tests/tiny.yaml"


def _without_network():
    """A command prefix that leaves a process nothing but loopback, or nothing where namespaces are forbidden."""
    prefix = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    if not (shutil.which("unshare") and shutil.which("ip")):
        return []
    return [] if subprocess.run([*prefix, "true"], capture_output=True).returncode else prefix


@pytest.fixture(scope="module")
def house(tmp_path_factory, tiny_truth):
    """A copy of the repository, so that its files can be touched and edited, with what compiling `tiny_truth` left."""
    if not list((REPOSITORY / ".venv").glob(".installed-*")):
        pytest.skip("no .venv of the Makefile: run `make test`")
    root = tmp_path_factory.mktemp("house")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.split():
        if (REPOSITORY / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, root / name)
    _copy_compiled(REPOSITORY / "pipeline" / "simulate", root / "pipeline" / "simulate")
    return root


def _copy_compiled(source, target):
    """Copy the compiled functions of a package, which Numba keeps in a folder named by where the package is."""
    shutil.copytree(source / "__pycache__", target / "__pycache__", ignore=shutil.ignore_patterns("*.pyc", "*.lock"))
    names = [UserProvidedCacheLocator.get_suitable_cache_subpath(folder / "render.py") for folder in (source, target)]
    for folder in (target / "__pycache__").glob(f"*/{names[0]}"):
        folder.rename(folder.with_name(names[1]))


def _make(house, *arguments, check=True):
    """Run a house's Makefile on the tiny edition; returns the finished process."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "SYNAPSE_EI"))}
    goal = () if any(not part.startswith("-") and "=" not in part for part in arguments) else ("paper",)
    command = [*_without_network(), "make", *goal, f"VENV={REPOSITORY / '.venv'}", f"CONFIG={TINY}", *arguments]
    done = subprocess.run(command, cwd=house, env=clean | {"PYTHONPATH": str(house)}, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@contextlib.contextmanager
def edited(house, *edits):
    """Files of the house changed, put back afterwards; `edits` are (file, new end) or (file, old, new)."""
    before = {file: (house / file).read_text() for file, *_ in edits}
    for file, *change in edits:
        text = (house / file).read_text()
        assert len(change) == 1 or change[0] in text, f"{file} has no {change[0]!r}: adapt the test"
        (house / file).write_text(text + change[0] if len(change) == 1 else text.replace(*change, 1))
    try:
        yield
    finally:
        for file, text in before.items():
            (house / file).write_text(text)


def _recipes(done):
    """The stages that a run of Make started, with their script or model."""
    lines = [line.split(" -m pipeline ")[1].split() for line in done.stdout.splitlines() if " -m pipeline " in line]
    lines = [line for line in lines if line[0] != "plan"]
    return {line[0] if line[0] not in ("draw", "analyse") else Path(line[1]).name for line in lines}


def _worked(done):
    """The steps that a run of Make did, rather than find up to date."""
    return {line.split()[1].rstrip(":") for line in done.stderr.splitlines() if ": done in " in line}


@pytest.fixture(scope="module")
def built(house):
    _make(house)
    return Build("tiny", house / "build")


def test_the_page_is_made_and_says_that_it_is_simulated(built):
    page = (built.site / "index.html").read_text()
    assert "Simulated data" in page
    values = json.loads((built.analysis / "values.json").read_text())
    assert values["performance.best_roc_auc"]["text"].replace("&nbsp;", " ") in page.replace("\u00a0", " ")


def test_every_link_within_the_site_leads_somewhere(built):
    pages = sorted(built.site.rglob("*.html"))
    assert {"index.html", "atlas.html", "queue-1.html", "performance.html"} <= {page.name for page in pages}
    for page in pages:
        for address in set(re.findall(r'<a [^>]*href="([^":#]+)["#]', page.read_text())):
            assert (page.parent / address).is_file(), f"{page.name}: {address}"
    cohort = pd.read_parquet(built.synapses)
    tested = cohort.loc[cohort["split"] == "test", "synapse_id"]
    assert {path.name for path in (built.site / "atlas").glob("[0-9]*[0-9].webp")} == {f"{n}.webp" for n in tested}


def test_provenance_names_every_step_and_its_files_hash_as_they_are(built):
    from pipeline.artefacts import sha256

    records = json.loads(built.provenance.read_text())
    expected = {"simulate", "cohort", "extract", "train-small", "train-control", "analysis-performance", "page"}
    assert expected <= set(records)
    assert {f"figures-{path.stem}" for path in built.figures.glob("*.png")} <= set(records)
    assert records["cohort"]["materialization_version"] == 1300
    for record in records.values():
        for name, digest in record["outputs"].items():
            assert sha256(built.root / name) == digest, name


def test_labels_and_partners_of_the_cohort_are_those_of_the_tissue(built):
    truth = pd.read_parquet(built.source / "truth" / "synapses.parquet").set_index("synapse_id")
    cohort = pd.read_parquet(built.synapses).set_index("synapse_id")
    truth = truth.loc[cohort.index]
    assert (truth["pre_neuron_id"] == cohort["pre_neuron_id"]).all()
    assert (truth["post_neuron_id"] == cohort["post_neuron_id"]).all()
    assert (truth["label"] == cohort["label"]).all()
    neurons = cohort.groupby("pre_neuron_id")
    assert (neurons["split"].nunique() == 1).all()


def test_every_model_predicts_every_synapse_once(built):
    cohort = pd.read_parquet(built.synapses)
    for model in config.load(TINY).models:
        predictions = pd.read_parquet(built.predictions(model.name))
        assert sorted(predictions["synapse_id"]) == sorted(cohort["synapse_id"])
        assert predictions["p_excitatory"].between(0, 1).all()


def test_every_method_answers_for_every_cleft_of_a_tissue_of_its_own(built):
    truth = pd.read_parquet(built.partners / "source" / "truth" / "synapses.parquet").set_index("synapse_id")
    table = pd.read_parquet(built.partners / "assignments.parquet")
    methods = tuple(network.name for network in config.load(TINY).partners.networks[:3]) + (
        "largest_overlap",
        "darker_is_pre",
        "random_direction",
    )
    assert set(table["method"]) == set(methods)
    for _, rows in table.groupby("method"):
        known = truth.loc[rows["synapse_id"]]
        assert rows["synapse_id"].is_unique
        assert (rows["true_pre_segment_id"].to_numpy() == known["pre_neuron_id"].to_numpy(np.uint64)).all()
        assert (rows["true_post_segment_id"].to_numpy() == known["post_neuron_id"].to_numpy(np.uint64)).all()
        answered = rows[rows["outcome"].isin(["assigned", "assigned_at_edge"])]
        assert (answered["pre_segment_id"] != answered["post_segment_id"]).all()
    assert set(pd.read_parquet(built.partners / "detections.parquet")["representation"]) == {
        "mask",
        "stdt",
        "proximity",
    }
    train = pd.read_parquet(built.source / "truth" / "synapses.parquet")
    assert not set(train["pre_neuron_id"]) & set(truth["pre_neuron_id"])


def test_extracted_pixels_are_those_of_cloud_volume_at_the_annotated_point(built):
    """50 random synapses: from CAVE's own 4x4x40 nm points to pixels with nothing of ours in between."""
    settings = config.load(TINY)
    rng = np.random.default_rng(0)
    index = pd.read_parquet(built.patches / "index.parquet")["synapse_id"]
    images = zarr.open_group(built.patches / "images.zarr", mode="r")
    quality = pd.read_parquet(built.patches / "quality.parquet")
    assert (quality[["patch_padded", "cube_padded"]] == 0).all(axis=None)
    rows = rng.choice(len(quality), 50, replace=len(quality) < 50)
    with sandbox.serve(built.source, settings.source) as address:
        client = caveclient.CAVEclient(
            settings.source.datastack, server_address=address, auth_token=sandbox.TOKEN, write_server_cache=False
        )
        client.version = settings.source.materialization_version
        table = client.materialize.query_table(settings.source.tables.synapses, split_positions=True)
        volume = cloudvolume.CloudVolume(client.info.image_source(), progress=False)
    points = table.set_index("id")[[f"ctr_pt_position_{axis}" for axis in "xyz"]].loc[index]
    px = settings.extract.patch_px
    z, y, x = settings.extract.cube_zyx
    for row in rows:
        point = points.iloc[row].tolist()
        patch = volume.download_point(point, size=(px, px, 1), mip=0, coord_resolution=(4, 4, 40))
        np.testing.assert_array_equal(images["patch"][row], patch[:, :, 0, 0].T)
        cube = volume.download_point(point, size=(x, y, z), mip=0, coord_resolution=(4, 4, 40))
        np.testing.assert_array_equal(images["cube"][row], cube[..., 0].T)


def test_an_unchanged_tree_rebuilds_nothing(built, house):
    started = time.monotonic()
    assert _recipes(_make(house)) == set()
    assert time.monotonic() - started < 20  # the promise is 3 s on an idle machine
    assert _recipes(_make(house, "-n")) == set()


CODE = "\nUNUSED = 1\n"
SCRIPTS = {"analysis", "figures", "tables", "page"}  # which read all settings
PARTNER_STEPS = {"partner-samples", "partner-networks", "partner-tests", "masks"}
NETWORKS = {"train", "units", "partner-networks", "partner-tests", "masks", "analysis-evidence"}

#: Edits, and the steps whose key they change: a whole folder of scripts by the folder's name.
EDITS = {
    "a comment": ([("pipeline/simulate/render.py", "\n# A remark\n")], set()),
    "a docstring": ([("pipeline/learn/losses.py", '"""', '"""Reworded. ')], set()),
    "where work is done": ([(TINY, "networks_at_once: 2", "networks_at_once: 1")], set()),
    "code that only evidence maps use": ([("pipeline/learn/evidence.py", CODE)], {"analysis-evidence"}),
    "code that only real tissue needs": ([("pipeline/stats/real.py", CODE)], set()),
    "code of the command line": ([("pipeline/__main__.py", CODE)], set()),
    "code of a command for one's own data": ([("pipeline/stages/predict.py", CODE)], set()),
    "code of the simulation": ([("pipeline/simulate/packing.py", CODE)], {"simulate", "partner-tissue"}),
    "the seed of the test tissue": (
        [("pipeline/stages/partner_tissue.py", "TEST_SEED = 2", "TEST_SEED = 3")],
        {"partner-tissue"},
    ),
    "code of the annotation service": ([("pipeline/cave/queries.py", CODE)], {"cohort"}),
    "code of the leakage audit": ([("pipeline/cohort/audit.py", CODE)], {"cohort"}),
    "normalisation layers": ([("pipeline/models/norms.py", CODE)], NETWORKS),
    "code of AVAN's network": (
        [("pipeline/models/rsunet.py", CODE)],
        {"partner-networks", "partner-tests", "masks"},
    ),
    "code of the misread cubes": ([("pipeline/extract/misread.py", CODE)], {"units", "analysis-units"}),
    "a figure's script": ([("figures/neurons.py", CODE)], {"figures-neurons"}),
    "the style of figures": ([("figures/style.py", CODE)], {"figures"}),
    "a table's script": ([("tables/results.py", CODE)], {"tables-results"}),
    "a remark in a notebook": ([("analysis/cohort.py", "\n# A remark\n")], {"analysis-cohort"}),
    "one way to write numbers": ([("pipeline/glue.py", CODE)], {"analysis", "figures", "tables", "atlas"}),
    "a sentence": ([("paper/index.qmd", "\nOne more sentence.\n")], {"page"}),
    "the style of pages": ([("paper/style.css", "\n")], {"page", "companion", "atlas", "queue"}),
    "the renderer": ([("pipeline/render/quarto.lua", "\n")], {"page"}),
    "the template of proofreading": ([("pipeline/render/queue.html", "\n")], {"queue"}),
    "the template of the atlas": ([("pipeline/render/atlas.html", "\n")], {"atlas"}),
    "a reference": (
        [("paper/reference/kasthuri_ac3.json", " ")],
        {"analysis-realism", "analysis-simulation", "analysis-reference", "page"},
    ),
    "synapses of the tissue": (
        [(TINY, "synapses_per_neuron: 7", "synapses_per_neuron: 8")],
        {"simulate", "cohort", *SCRIPTS},
    ),
    "size of the images": (
        [(TINY, "patch_px: 128", "patch_px: 120")],
        {"cohort", "extract", "units", "masks", *SCRIPTS},
    ),
    "epochs of a classifier": ([(TINY, "epochs: 2", "epochs: 3")], {"train", "units", *SCRIPTS}),
    "the test tissue": (
        [(TINY, "n_excitatory: 5", "n_excitatory: 6")],
        {"partner-tissue", "partner-networks", "partner-tests", "masks", *SCRIPTS},
    ),
    "replicates": ([(TINY, "n_bootstrap: 200", "n_bootstrap: 300")], SCRIPTS),
    "the source in flow style": (
        [
            (
                TINY,
                """source:
  kind: simulated
  size_um: [7.0, 7.0, 3.2]
  n_excitatory: 20
  n_inhibitory: 16
  synapses_per_neuron: 7
""",
                """source: {kind: simulated, size_um: [7.0, 7.0, 3.2],
  n_excitatory: 20, n_inhibitory: 16, synapses_per_neuron: 7}
""",
            )
        ],
        set(),
    ),
}


#: Runs `plan` for each edition that it is told, in a copy of itself: imports take longer than the rest.
PLANNER = """
import os, sys
from pipeline import __main__, stages
stages.load()
for line in sys.stdin:
    child = os.fork()
    if not child:
        os._exit(__main__.main(["plan", "--config", line.strip()]))
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture(scope="module")
def planned(built, house):
    """A function that runs `plan` in the house, as Make does first, and returns `{step: key}`."""
    environment = os.environ | {"PYTHONPATH": str(house)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", PLANNER], cwd=house, env=environment, **pipes) as planner:

        def plan():
            print(TINY, file=planner.stdin, flush=True)
            assert planner.stdout.readline() == "0\n"
            return {path.stem: path.read_text() for path in (house / "build" / "tiny" / "keys").glob("*.json")}

        yield plan
        planner.stdin.close()


@pytest.fixture(scope="module")
def keys(planned):
    return planned()


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_makes_stale_what_it_can_change_and_no_more(keys, planned, house, what):
    edits, expected = EDITS[what]
    with edited(house, *edits):
        found = planned()
    assert found.keys() == keys.keys()
    stale = {step for step, key in found.items() if key != keys[step]}
    kinds = ("analysis", "figures", "tables", "companion")
    folders = {folder: {step for step in keys if step.startswith(f"{folder}-")} for folder in kinds}
    assert stale == {step for name in expected for step in folders.get(name, {name})}


def test_facts_of_an_edition_do_not_depend_on_how_its_file_is_written(keys, planned, house):
    edits, _ = EDITS["the source in flow style"]
    included = house / "build" / "make" / "tiny.mk"
    before = included.read_text()
    assert "KIND := simulated\n" in before
    with edited(house, *edits):
        planned()
        assert included.read_text() == before


def test_a_checkout_costs_nothing(built, house):
    """New times of change on every file, the same contents: nothing runs again, and `make -n` says so."""
    for path in house.rglob("*"):
        if path.is_file() and "build" not in path.relative_to(house).parts:
            path.touch()
    assert _recipes(_make(house, "-n")) == set()


def test_what_a_script_reads_is_known_from_the_script_alone(built, house):
    with edited(house, ("figures/neurons.py", "\nstudy.values('cohort')\n")):
        _make(house, "-n")
        (line,) = [x for x in (house / "build/make/tiny.mk").read_text().splitlines() if "figures/neurons.png:" in x]
    assert "analysis/cohort.json" in line
    assert "analysis/performance.json" in line


def test_a_folder_of_real_data_has_results_of_its_own(built, house):
    for data in ("somewhere/first", "somewhere/second"):
        (house / data).mkdir(parents=True)
        (house / data / "synapses.csv").write_text("")
        done = _make(house, "-n", "realism", f"DATA={data}")
        assert {"real-patches", "gallery.py"} <= _recipes(done)
        assert f"build/tiny/real/{Path(data).name}/figures/gallery.png" in done.stdout
        done = _make(house, "-n", "real", f"DATA={data}")
        name = Path(data).name
        assert f"cp build/tiny/real/{name}/statistics.json paper/reference/{name}.json" in done.stdout
    assert "name the folder of real data" in _make(house, "real", check=False).stdout


def test_a_changed_figure_script_rebuilds_its_figure_and_the_page(built, house):
    with edited(house, ("figures/neurons.py", CODE)):
        assert _worked(_make(house)) == {"figures-neurons"}  # the picture is the same, and so is the page
    with edited(house, ("figures/neurons.py", "Accuracy of single neurons", "Accuracy of every neuron")):
        assert _worked(_make(house)) == {"figures-neurons", "page"}
    assert _recipes(_make(house, "-n")) == {"neurons.py", "page"}
    _make(house)


@pytest.fixture
def command(monkeypatch):
    """Runs a command for one's own data in this process: interpreters and workers take seconds to start."""
    monkeypatch.setattr(compute, "workers", lambda settings: contextlib.nullcontext())

    def run(*arguments):
        assert __main__.main([str(argument) for argument in arguments]) == 0

    return run


def test_predict_on_a_folder_agrees_with_the_build(built, command, tmp_path):
    """The command for one's own data, on the simulated volumes as a folder: the same pixels, the same numbers."""
    cohort = pd.read_parquet(built.synapses).head(20)
    rows = cohort[["synapse_id"]].copy()
    for axis, size in zip("xyz", (8, 8, 40), strict=True):
        rows[f"{axis}_vx"] = np.floor(cohort[f"center_{axis}_nm"] / size).astype(int)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    mine = ["--synapses", tmp_path / "mine.csv", "--out", tmp_path / "mine.parquet"]
    command("predict", "--run", built.run("small"), "--volumes", built.source, *mine)
    ours = pd.read_parquet(tmp_path / "mine.parquet").set_index("synapse_id")["p_excitatory"]
    theirs = pd.read_parquet(built.predictions("small")).set_index("synapse_id")["p_excitatory"]
    np.testing.assert_allclose(ours, theirs.loc[ours.index], atol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv", "mine.parquet"]


def test_a_model_that_fails_does_not_stop_the_others(built, tmp_path):
    """The study goes on, keeps what was trained, and names the failure at the end; each model by two processes."""
    text = (REPOSITORY / TINY).read_text()
    entries = "  - {name: broken, network: unet3d, crop: [64, 64, 64]}\n  - {name: last, network: cnn, epochs: 1}\n"
    text = text.replace("models:\n", f"models:\n{entries}", 1).replace(
        "compute:\n", "compute:\n  training_processes: 2\n"
    )
    (tmp_path / "tiny.yaml").write_text(text)
    command = [REPOSITORY / ".venv/bin/python", "-m", "pipeline", "train", "--config", tmp_path / "tiny.yaml"]
    weights = (built.run("small") / "model.safetensors").stat().st_mtime_ns
    done = subprocess.run([*command, "--build", built.root.parent], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert "does not fit into the stored cubes (8, 48, 48)" in done.stderr
    assert "1 of 5 models failed: broken; see above" in done.stderr
    state = {
        cells[1]: cells[2] for line in done.stdout.splitlines() if len(cells := line.replace(" ", "").split("|")) > 2
    }
    assert state["broken"] == "failed"
    assert state["last"] == "trained"
    assert state["small"] == "trained"
    assert len(pd.read_parquet(built.predictions("last"))) == len(pd.read_parquet(built.synapses))
    assert (built.run("small") / "model.safetensors").stat().st_mtime_ns == weights


@pytest.mark.parametrize("name", ["unet3d", "cnn"])
def test_published_models_tell_the_classes_of_tissue_that_they_never_saw(built, command, tmp_path, name):
    truth = pd.read_parquet(built.source / "truth" / "synapses.parquet")
    rows = truth[["synapse_id"]].assign(cell_type=truth["label"].map({1: "excitatory", 0: "inhibitory"}))
    for axis, size in zip("xyz", (8, 8, 40), strict=True):
        rows[f"{axis}_vx"] = np.floor(truth[f"center_{axis}_nm"] / size).astype(int)
    rows.to_csv(tmp_path / "mine.csv", index=False)
    mine = ["--synapses", tmp_path / "mine.csv", "--out", tmp_path / "mine.parquet"]
    command("predict", "--run", REPOSITORY / "pretrained" / name, "--volumes", built.source, *mine)
    found = pd.read_parquet(tmp_path / "mine.parquet")
    assert sorted(found["synapse_id"]) == sorted(truth["synapse_id"])
    assert roc_auc_score(found["label"].astype(int), found["p_excitatory"]) > 0.8


def test_the_published_avan_joins_clefts_of_tissue_that_it_never_saw(built, command, tmp_path):
    """From the folder alone: the clefts are those of `clefts/`, and no truth is read."""
    source = built.partners / "source"
    command("partners", "--volumes", source, "--out", tmp_path / "p.parquet")
    found = pd.read_parquet(tmp_path / "p.parquet").set_index("synapse_id")
    truth = pd.read_parquet(source / "truth" / "synapses.parquet").set_index("synapse_id").loc[found.index]
    assert len(found) == len(pd.read_parquet(source / "truth" / "synapses.parquet"))
    sides = {"pre_segment_id": "pre_neuron_id", "post_segment_id": "post_neuron_id"}
    right = np.all([found[ours].astype("int64") == truth[theirs] for ours, theirs in sides.items()], axis=0)
    assert right.mean() >= 0.85


def test_without_a_token_nothing_starts_and_one_line_says_why(house):
    """An edition that reads the annotation service is checked before anything else, an unrelated analysis included."""
    done = _make(house, "CONFIG=minnie65", check=False)
    assert done.returncode != 0
    assert _recipes(done) == {"check"}
    (error,) = [line for line in done.stderr.splitlines() if not line.startswith(("make", "Makefile"))]
    assert error.startswith("error: no CAVE token; get one at")


# The last ones: they leave targets that Make looks at again, one process each


def test_a_failed_step_fails_the_build_and_leaves_the_old_page(built, house):
    page = built.site / "index.html"
    before = page.read_bytes()
    predictions = built.predictions("small")
    whole = predictions.read_bytes()
    try:
        frame = pd.read_parquet(predictions)
        frame.loc[0, "p_excitatory"] = float("nan")
        frame.to_parquet(predictions, index=False)
        done = _make(house, check=False)
        assert done.returncode != 0
        assert "p_excitatory must lie in [0, 1]" in done.stderr
        assert not (built.analysis / "performance.json").exists()
        assert page.read_bytes() == before
    finally:
        predictions.write_bytes(whole)
    _make(house, "tables/results")
    assert (built.tables / "results.md").is_file()


def test_a_lost_prediction_is_made_again(built, house):
    before = built.predictions("small").read_bytes()
    built.predictions("small").unlink()
    assert "train" in _recipes(_make(house, "tables/results"))
    assert built.predictions("small").read_bytes() == before


def test_a_step_whose_inputs_come_out_as_they_were_is_not_done_again(built, house):
    with edited(house, ("pipeline/cohort/audit.py", CODE)):
        done = _make(house, "extract")
    assert _worked(done) == {"cohort"}
    assert "extract: up to date" in done.stderr
