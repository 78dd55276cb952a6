"""The paper as PDF, Word and JATS beside the page, from the same staged manuscript and by the same filter."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import typst

from pipeline import artefacts
from pipeline.render.page import FILTER, settings_of
from pipeline.render.pandoc import RenderError, run_pandoc

HERE = Path(__file__).parent

#: Files beside the page, and pandoc's name of their format. Pictures of the JATS file lie in `figures/` beside it.
FORMATS = {"paper.pdf": "typst", "paper.docx": "docx", "paper.xml": "jats"}

TYPST = {
    "variables": {
        "papersize": "a4",
        "fontsize": "9.5pt",
        "margin": {"x": "2cm", "y": "2cm"},
        "section-numbering": "1.1",
    },
    "include-in-header": [str(HERE / "formats.typ")],
}


def render(build: artefacts.Build) -> None:
    """Write FORMATS and `figures/` into `build/<config>/site/`. Problems raise RenderError."""
    for name, writer in FORMATS.items():
        with artefacts.atomic(build.site / name) as temporary:
            _convert(build.paper, temporary, writer)
    with artefacts.atomic_folder(build.site / "figures") as folder:
        for path in sorted((build.paper / "figures").glob("*.png")):
            shutil.copy(path, folder)


def _convert(folder: Path, output: Path, writer: str) -> None:
    """Convert the manuscript in `folder` to the file `output` in pandoc's format `writer`, Typst's as PDF."""
    options: dict[str, Any] = {
        "to": writer,
        "from": "markdown",
        "filters": [str(FILTER), {"type": "citeproc"}, str(HERE / "formats.lua")],
        "metadata": settings_of(folder),
        "number-sections": True,
    }
    if writer != "typst":
        run_pandoc("index.qmd", output, folder, options)
        return
    with tempfile.NamedTemporaryFile(suffix=".typ", dir=folder) as source:
        run_pandoc("index.qmd", Path(source.name), folder, options | TYPST)
        try:
            typst.compile(source.name, output=str(output), format="pdf", root=str(folder), ignore_system_fonts=True)
        except typst.TypstError as error:
            raise RenderError(f"Typst cannot make a PDF of {folder}: {error}") from None
