"""The manuscript: stage `paper/` with a build's figures, tables and values, and render it to one HTML file.

The embedded renderer is pandoc with the filter `quarto.lua`. Where `quarto` is on the PATH, `quarto render` makes the
page, and the embedded renderer runs first as a check: it stops where Quarto only warns of something unresolved.
"""

import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from pipeline import artefacts, scripts
from pipeline.config import Config
from pipeline.render.pandoc import RenderError, convert, make_accessible, require_self_contained
from pipeline.scripts import PAPER

log = logging.getLogger("pipeline")

FILTER = Path(__file__).with_name("quarto.lua")

#: Keys under `format: html:` that only Quarto knows; all others are options of pandoc.
QUARTO_ONLY = ("theme", "minimal", "appendix-style")


def values(build: artefacts.Build) -> dict[str, dict[str, Any]]:
    """Merge `analysis/<script>.json` into `analysis/values.json` under keys `<script>.<name>`, and return it.

    The file is rewritten whole, so that a value that its script no longer writes does not survive. Each value is
    `{"value": raw, "text": formatted}`; RenderError names the file and key of one that is not.
    """
    merged = {}
    for path in sorted(build.analysis.glob("*.json")):
        if path.name == "values.json":
            continue
        for name, entry in artefacts.read_json(path).items():
            if not isinstance(entry, dict) or entry.keys() != {"value", "text"} or not isinstance(entry["text"], str):
                raise RenderError(f'{path}: key {name!r} must be {{"value": ..., "text": "..."}}, not {entry!r}')
            merged[f"{path.stem}.{name}"] = entry
    artefacts.write_json(build.analysis / "values.json", merged)
    return merged


def stage(build: artefacts.Build, config: Config) -> None:
    """Write `build/<config>/paper/`, everything that a renderer needs: the manuscript, the figures and tables, and
    `_variables.yml` with the results of the analysis, the settings (`config.*`) and the words that say which data
    these are (`edition.*`, from `paper/editions/<kind of source>/`).
    """
    edition = scripts.manuscript(config)
    if not edition:
        raise RenderError(f"there is no paper for config {config.name!r}: paper/editions has no {config.source.kind}/")
    words = yaml.safe_load((edition[0] / "words.yml").read_text(encoding="utf-8"))
    settings = _settings(config.model_dump(mode="json"))
    variables: dict[str, dict[str, Any]] = {
        "edition": {"name": config.name} | words,
        "config": settings,
        "citation": _citation(),
    }
    for key, entry in values(build).items():
        script, name = key.split(".", 1)
        variables.setdefault(script, {})[name] = entry["text"]
    with artefacts.atomic_folder(build.paper) as folder:
        for path in PAPER.iterdir():
            if path.is_file():
                shutil.copy(path, folder)
        for layer in edition:
            shutil.copytree(layer, folder / "edition", dirs_exist_ok=True)
        for made in (build.figures, build.tables):
            if made.is_dir():
                shutil.copytree(made, folder / made.name)
        text = yaml.safe_dump(variables, default_style='"', allow_unicode=True, width=10**6)
        (folder / "_variables.yml").write_text(text, encoding="utf-8")


def _citation() -> dict[str, str]:
    """What `CITATION.cff` says, and the commit of the code that renders."""
    cited = yaml.safe_load((artefacts.REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    return {
        "authors": ", ".join(author["name"] for author in cited["authors"]),
        "title": cited["title"],
        "version": cited["version"],
        "year": str(cited["date-released"])[:4],
        "commit": artefacts.commit().replace("+", " with "),
    }


def _settings(section: dict[str, Any]) -> dict[str, Any]:
    """The scalar settings as text, sections nested: `config.extract.voxel_nm` is `8 × 8 × 40`.

    Counts, and only counts, are named `n_...`; they get thousands separators.
    """
    texts: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, dict):
            texts[key] = _settings(value)
        elif isinstance(value, list):
            if not any(isinstance(item, dict) for item in value):
                texts[key] = " × ".join(item if isinstance(item, str) else f"{item:g}" for item in value)
        elif isinstance(value, float):
            texts[key] = f"{value:g}"
        elif value is not None:
            texts[key] = f"{value:,}" if key.startswith("n_") else str(value)
    return texts


def render(build: artefacts.Build) -> None:
    """Render the staged manuscript to `build/<config>/site/index.html`, self-contained.

    Unresolved variables, includes, figures, cross-references and citations, and duplicate ids, raise RenderError
    with file and line; the page of an earlier run is then left as it was.
    """
    page = build.site / "index.html"
    with artefacts.atomic(page) as temporary:
        render_embedded(build.paper, temporary)
        if shutil.which("quarto"):
            _render_with_quarto(build.paper, temporary)
    log.info("page: %s", page)


def render_embedded(folder: Path, page: Path) -> None:
    """Render the manuscript in `folder` to the HTML file `page` without Quarto."""
    defaults: dict[str, Any] = {
        "from": "markdown",
        "filters": [str(FILTER), {"type": "citeproc"}],
        "metadata": settings_of(folder),
    }
    options = _quarto_yml(folder)["format"]["html"]
    defaults |= {key: value for key, value in options.items() if key not in QUARTO_ONLY}
    defaults["toc-depth"] += 1  # the filter begins the sections at h2, under the title; Quarto leaves them at h1
    convert("index.qmd", page, folder, defaults)


def settings_of(folder: Path) -> dict[str, Any]:
    """What `_quarto.yml` of the manuscript in `folder` says for all formats, as pandoc's metadata."""
    return {key: value for key, value in _quarto_yml(folder).items() if key not in ("project", "format", "filters")}


def _quarto_yml(folder: Path) -> dict[str, Any]:
    settings: dict[str, Any] = yaml.safe_load((folder / "_quarto.yml").read_text(encoding="utf-8"))
    return settings


def _render_with_quarto(folder: Path, page: Path) -> None:
    """Replace `page` by what `quarto render` makes of the manuscript in `folder`."""
    run = subprocess.run(["quarto", "render", "index.qmd", "--to", "html"], cwd=folder, capture_output=True, text=True)
    if run.returncode:
        raise RenderError(f"quarto render failed in {folder}:\n{run.stderr.strip()}")
    make_accessible(folder / "index.html")
    require_self_contained(folder / "index.html", folder / "index.qmd")
    shutil.move(folder / "index.html", page)
