"""Staging, merging of values, and what a failed or a Quarto rendering leaves behind."""

import os
import re
from pathlib import Path

import pytest
import yaml

from pipeline import artefacts, config
from pipeline.render import page
from pipeline.render.pandoc import RenderError, make_accessible, require_self_contained


@pytest.fixture
def build(tmp_path):
    return artefacts.Build("small", tmp_path)


def value(text):
    return {"value": 1, "text": text}


def test_a_value_that_is_no_longer_written_does_not_survive(build):
    artefacts.write_json(build.analysis / "cohort.json", {"n": value("1"), "old": value("2")})
    artefacts.write_json(build.analysis / "performance.json", {"auc": value("0.9")})
    assert set(page.values(build)) == {"cohort.n", "cohort.old", "performance.auc"}
    artefacts.write_json(build.analysis / "cohort.json", {"n": value("3")})
    (build.analysis / "performance.json").unlink()
    assert page.values(build) == {"cohort.n": value("3")}
    assert artefacts.read_json(build.analysis / "values.json") == {"cohort.n": value("3")}


@pytest.mark.parametrize("entry", [3, {"value": 3}, {"value": 3, "text": 3}, {"value": 3, "text": "3", "unit": "nm"}])
def test_a_malformed_value_is_named(build, entry):
    artefacts.write_json(build.analysis / "cohort.json", {"n": entry})
    with pytest.raises(RenderError, match=r"cohort\.json: key 'n' must be"):
        page.values(build)


@pytest.mark.parametrize("kind", ["simulated", "cave"])
def test_staging_gives_values_settings_and_the_words_of_the_edition(stage, kind):
    _, build = stage(kind)
    variables = yaml.safe_load((build.paper / "_variables.yml").read_text(encoding="utf-8"))
    assert variables["cohort"]["n_synapses"] == "⟨cohort.n_synapses⟩"
    assert variables["config"]["extract"]["voxel_nm"] == "8 × 8 × 40"
    assert variables["config"]["stats"] == {"n_bootstrap": "10,000", "confidence": "0.95", "n_test_sets": "600"}
    assert variables["config"]["source"]["materialization_version"] == "1300"
    assert ("simulated" in variables["edition"]["data"]) == (kind == "simulated")
    assert (build.paper / "figures" / "performance.svg").is_file()


def test_staging_again_forgets_what_is_gone(stage):
    settings, build = stage("simulated")
    (build.tables / "results.md").unlink()
    page.stage(build, settings)
    assert not (build.paper / "tables" / "results.md").exists()
    with pytest.raises(RenderError, match=r"index\.qmd:\d+: included file tables/results\.md does not exist"):
        page.render(build)


def test_an_edition_without_a_paper_says_so(build):
    with pytest.raises(RenderError, match="there is no paper for config 'kasthuri'"):
        page.stage(build, config.load("kasthuri"))


def test_the_same_manuscript_gives_the_same_bytes(stage, rendered):
    _, build = stage("simulated")
    page.render(build)
    assert (build.site / "index.html").read_bytes() == rendered("simulated").read_bytes()


@pytest.fixture
def small(build):
    """A build with a staged manuscript of one sentence, and its page."""
    artefacts.write_text(build.paper / "_quarto.yml", "format: {html: {embed-resources: true, toc-depth: 2}}\n")
    artefacts.write_text(build.paper / "callouts.lua", (page.PAPER / "callouts.lua").read_text())
    artefacts.write_text(build.paper / "index.qmd", "---\ntitle: Small\n---\n\nA sentence.\n")
    page.render(build)
    return build


def test_a_failed_rendering_leaves_the_old_page(small):
    before = (small.site / "index.html").read_bytes()
    artefacts.write_text(small.paper / "index.qmd", "It was {{< var performance.none >}}.\n")
    with pytest.raises(RenderError, match=r"unknown variable performance\.none"):
        page.render(small)
    assert (small.site / "index.html").read_bytes() == before
    assert [path.name for path in small.site.iterdir()] == ["index.html"]


@pytest.fixture
def quarto(tmp_path, monkeypatch):
    """Put a stand-in for `quarto` on the PATH: it runs the given shell commands in the folder of the manuscript."""

    def install(commands):
        script = tmp_path / "bin" / "quarto"
        script.parent.mkdir()
        script.write_text(f'#!/bin/sh\n[ "$*" = "render index.qmd --to html" ] || exit 9\n{commands}\n')
        script.chmod(0o755)
        monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")

    return install


def test_quarto_is_used_where_it_is_on_the_path(small, quarto):
    quarto("echo '<p>by quarto</p>' > index.html")
    page.render(small)
    assert (small.site / "index.html").read_text() == "<p>by quarto</p>\n"


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ("echo 'no such format' >&2; exit 1", "no such format"),
        (
            "echo '<script src=\"https://cdn.example/x.js\"></script>' > index.html",
            "<script> loads https://cdn.example",
        ),
    ],
)
def test_a_failure_of_quarto_leaves_the_old_page(small, quarto, commands, message):
    before = (small.site / "index.html").read_bytes()
    quarto(commands)
    with pytest.raises(RenderError, match=re.escape(message)):
        page.render(small)
    assert (small.site / "index.html").read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        '<img src="https://example.org/a.png">',
        '<img src="a.png">',
        '<img srcset="//example.org/a.png 2x">',
        '<link rel="stylesheet" href="style.css">',
        '<script src="x.js"></script>',
        '<iframe src="http://example.org"></iframe>',
        "<style>@import 'https://example.org/a.css';</style>",
        "<style>p { background: url(https://example.org/a.png) }</style>",
        '<p style="background: url(a.png)">',
        '<svg><image xlink:href="http://example.org/a.png"/></svg>',
    ],
)
def test_anything_that_a_browser_would_load_is_found(tmp_path, wrong):
    (tmp_path / "page.html").write_text(f'<a href="https://example.org">a link is not loaded</a>{wrong}')
    with pytest.raises(RenderError, match="is not self-contained"):
        require_self_contained(tmp_path / "page.html", Path("page.md"))


def test_headers_say_what_they_head_and_boxes_that_scroll_can_be_focused(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        "<table><thead><tr><th></th><th style='x'>A</th></tr></thead><tbody><tr><th>1</th><td>2</td></tr></tbody>"
        '</table><table><thead><tr><th>B</th></tr></thead></table><span id="eq-a">x</span>'
    )
    for _ in range(2):  # nothing more where all is said
        make_accessible(page)
        assert page.read_text() == (
            "<table><thead><tr><td></td><th scope=\"col\" style='x'>A</th></tr></thead><tbody><tr>"
            '<th scope="row">1</th><td>2</td></tr></tbody></table><table><thead><tr><th scope="col">B</th></tr></thead>'
            '</table><span id="eq-a" tabindex="0">x</span>'
        )


def test_links_and_embedded_data_are_no_requests(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://example.org">out</a><a href="cohort.html">near</a><link rel="icon" href="data:,">'
        '<img src="data:image/png;base64,AA=="><style>p { background: url("data:image/png;base64,AA==") }</style>'
        '<p>In prose, url(x) is text.</p><svg><use href="#shape"/></svg>'
    )
    require_self_contained(tmp_path / "page.html", Path("page.md"))


def test_an_edition_without_partner_networks_has_a_paper_too(rendered):
    page = rendered("without_partners").read_text(encoding="utf-8")
    assert "trains no network of partner assignment" in page
    assert "⟨partners." not in page
    assert "partners.html" not in page
