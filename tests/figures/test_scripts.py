"""Scripts of figures/ and tables/, run alone as a reviewer would."""

import re
import shutil

import pandas as pd
import pytest
from fake_build import MODELS, build_fake, check_picture, run_script, succeed

from pipeline import artefacts

FIGURES = ("question", "performance", "study", "neurons", "examples", "realism", "simulation")
TABLES = ("cohort", "audit", "models", "results", "controls", "study", "realism")


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_picture_and_caption_and_the_same_bytes_again(results, name):
    build, environment = results
    digests = set()
    for _ in range(2 if name in ("performance", "examples") else 1):  # curves and pixels
        succeed(environment, f"figures/{name}.py")
        digests.add(artefacts.sha256(build.figures))
    assert len(digests) == 1
    assert {path.name for path in build.figures.iterdir()} == {
        f"{name}.{s}" for s in ("svg", "webp", "png", "caption.md")
    }
    caption = (build.figures / f"{name}.caption.md").read_text()
    assert caption.endswith(f"Source: `figures/{name}.py`.\n")
    check_picture(build, name)
    svg = (build.figures / f"{name}.svg").read_text()
    assert not re.search(r'href="(?!#|data:)', svg), "it asks for something outside of the file"


@pytest.mark.parametrize("name", TABLES)
def test_a_table_shows_the_same_cells_in_both_formats(results, name):
    build, environment = results
    succeed(environment, f"tables/{name}.py")
    written = pd.read_csv(build.tables / f"{name}.csv", dtype=str, keep_default_na=False)
    lines = (build.tables / f"{name}.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == list(written.columns)
    assert cells[2:] == written.to_numpy().tolist()
    assert "simulated neuropil" in (build.tables / f"{name}.caption.md").read_text()


def test_the_results_table_quotes_the_analysis(results):
    build, environment = results
    succeed(environment, "tables/results.py")
    values = artefacts.read_json(build.analysis / "performance.json")
    rows = pd.read_csv(build.tables / "results.csv").set_index("Metric")
    assert rows.loc["ROC AUC", "UNet3D"] == values["unet3d_roc_auc"]["text"]
    assert rows.loc["F1", "Difference"] == values["difference_f1"]["text"]


def test_the_study_table_has_a_row_a_family_grouped_by_what_it_sees(results):
    build, environment = results
    succeed(environment, "tables/study.py")
    rows = pd.read_csv(build.tables / "study.csv", keep_default_na=False).set_index("Model")
    labels = ["**ResNet-18**", "ResNet-18, untrained", "**ResNet-18, 5 sections**", "**UNet3D**", "UNet3D, untrained"]
    assert list(rows.index) == [*labels, "UNet3D, cross-validated"]
    found = pd.read_parquet(build.analysis / "study.metrics.parquet").set_index(["family", "metric"])["value"]
    sections = rows.loc["**ResNet-18, 5 sections**"]
    assert sections["ROC AUC"].startswith(f"{found['sections', 'roc_auc']:.2f} [")
    assert sections["Seeds: AUC"].startswith("3: ")
    assert rows.loc["ResNet-18, untrained", "AUC minus control"] == "none"
    assert rows.loc["UNet3D, cross-validated", "AUC minus best on one section"] == "none"


def test_where_every_model_has_one_seed_seeds_are_not_mentioned(results):
    build, environment = results
    models = [entry for entry in MODELS if entry["name"] in ("resnet18", "unet3d", "unet3d_untrained")]
    _, root, environment = build_fake(build.root.parent.parent / "one_seed", models)
    scripts = [f"analysis/{name}.py" for name in ("cohort", "performance", "study")]
    for script in (*scripts, "figures/study.py", "tables/study.py", "tables/models.py"):
        succeed(environment, script)
    captions = [path.read_text() for path in (root / "fake").glob("*/*.caption.md")]
    assert len(captions) == 3
    assert not any(word in caption for caption in captions for word in ("seed", "ross-validated"))
    assert "Seeds: AUC" not in (root / "fake" / "tables" / "study.csv").read_text()


def test_a_missing_input_fails_and_removes_the_picture_of_an_earlier_run(results):
    build, environment = results
    succeed(environment, "figures/realism.py")
    (build.analysis / "realism.spectrum.parquet").unlink()
    done = run_script("figures/realism.py", environment)
    assert done.returncode
    assert "realism.spectrum.parquet, which does not exist" in done.stderr
    assert list(build.figures.iterdir()) == []


def test_a_claim_that_does_not_hold_leaves_no_picture(results):
    build, environment = results
    path = build.analysis / "performance.curves.parquet"
    curves = pd.read_parquet(path)
    curves.loc[(curves["model"] == "unet3d") & (curves["curve"] == "roc"), "y"] *= 0.9
    curves.to_parquet(path)
    done = run_script("figures/performance.py", environment)
    assert done.returncode
    assert "the claim does not hold: the ROC curve of UNet3D encloses its AUC" in done.stderr
    assert not build.figures.exists() or list(build.figures.iterdir()) == []


def test_a_shared_presynaptic_neuron_stops_the_audit_table(results):
    build, environment = results
    path = build.analysis / "cohort.audit.parquet"
    pd.read_parquet(path).assign(shared_presynaptic=[0, 1, 0]).to_parquet(path)
    done = run_script("tables/audit.py", environment)
    assert done.returncode
    assert "no presynaptic neuron is in two sets" in done.stderr
    assert not build.tables.exists() or list(build.tables.iterdir()) == []


@pytest.mark.parametrize(("low", "high", "words"), [(0.1, 0.3, "exceeds"), (-0.1, 0.3, "does not clearly differ from")])
def test_the_caption_says_no_more_than_the_interval(results, low, high, words):
    build, environment = results
    path = build.analysis / "performance.difference.parquet"
    pd.read_parquet(path).assign(low=low, high=high).to_parquet(path)
    succeed(environment, "figures/performance.py")
    assert f"Its test AUC {words} that of UNet3D, untrained" in (build.figures / "performance.caption.md").read_text()


def test_the_gallery_shows_both_at_the_same_scale(results):
    build, environment = results
    environment = environment | {"SYNAPSE_EI_DATA": "some_cortex"}
    real = build.on("some_cortex")
    for part in ("patches", "cohort"):
        shutil.copytree(build.root / part, real.root / part)
    succeed(environment, "figures/gallery.py")
    assert "Real: the folder some_cortex" in (real.figures / "gallery.caption.md").read_text()
    artefacts.write_json(real.patches / "manifest.json", {"voxel_nm": [6.0, 6.0, 30.0]})
    done = run_script("figures/gallery.py", environment)
    assert "windows of the same size" in done.stderr
    assert list(real.figures.iterdir()) == []
