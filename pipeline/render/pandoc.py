"""Pandoc (from pypandoc_binary), and the check that a page loads nothing from outside."""

import re
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pypandoc
import yaml

from pipeline.errors import PipelineError

#: Options of pandoc for every document, in addition to those of the manuscript's `_quarto.yml`.
COMMON = {"standalone": True, "fail-if-warnings": True, "wrap": "preserve"}


class RenderError(PipelineError):
    """A page that cannot be rendered; the text names the file and line, or the key, of each problem."""


def convert(source: str, page: Path, folder: Path, defaults: dict[str, Any]) -> None:
    """Convert the file `source` in `folder` to the HTML file `page`; `defaults` has keys of defaults files.

    RenderError repeats what pandoc or a filter objected to, or lists what the page would load from outside.
    """
    run_pandoc(source, page, folder, defaults | {"to": "html5"})
    make_accessible(page)
    require_self_contained(page, folder / source)


def run_pandoc(source: str, output: Path, folder: Path, defaults: dict[str, Any]) -> None:
    """Convert the file `source` in `folder` to the file `output`, whose format is `to` of `defaults`.

    RenderError repeats what pandoc or a filter objected to.
    """
    options = COMMON | defaults | {"input-files": [source], "output-file": str(output.resolve())}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(options, file)
        file.flush()
        command = [pypandoc.get_pandoc_path(), "--defaults", file.name]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if run.returncode:
        raise RenderError(f"{folder / source} cannot be rendered:\n{_message(run.stderr)}")


def _message(stderr: str) -> str:
    """Pandoc's message, without the traceback that it adds to errors of a Lua filter."""
    text = stderr.split("\nstack traceback:")[0]
    return re.sub(r"^Error running filter .*:\n", "", text, flags=re.MULTILINE).strip()


def make_accessible(page: Path) -> None:
    """Add to an HTML file what neither pandoc nor Quarto writes: the scope of table headers, and the keyboard's access
    to boxes that scroll sideways. Corners of tables without text become cells."""
    scope = "col"

    def with_scope(found: re.Match[str]) -> str:
        nonlocal scope
        if found[1] != "th":
            scope = "col" if found[1] == "thead" else "row"
            return found[0]
        return f'<th scope="{scope}"'

    text = re.sub(r"<th([^>]*)></th>", r"<td\1></td>", page.read_text(encoding="utf-8"))
    text = re.sub(r"<(thead|tbody|th)\b(?! scope=)", with_scope, text)
    boxes = r'<(span id="eq-[^"]*"|div class="output[^>]*|div aria-describedby="s?(?:tbl|fig)-[^"]*")>'
    page.write_text(re.sub(boxes, r'<\1 tabindex="0">', text), encoding="utf-8")


def require_self_contained(page: Path, source: Path) -> None:
    """Raise RenderError if the HTML file `page`, made from `source`, would load anything when it is opened."""
    parser = _Fetches()
    parser.feed(page.read_text(encoding="utf-8"))
    if parser.found:
        listed = "\n".join(f"  <{tag}> loads {address[:200]}" for tag, address in parser.found)
        raise RenderError(f"the page of {source} is not self-contained:\n{listed}")


class _Fetches(HTMLParser):
    """Collects `(tag, address)` of everything that a browser would load, but not the links that a reader follows."""

    ATTRIBUTES = ("src", "srcset", "poster", "data", "background", "action")
    REFERENCES = ("link", "image", "use", "script")  # elements whose href is loaded, unlike that of <a>

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._style = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        for name, value in attributes:
            value = (value or "").strip()
            loads = name in self.ATTRIBUTES or (tag in self.REFERENCES and name in ("href", "xlink:href"))
            if loads and value and not value.startswith(("data:", "#")):
                self.found.append((tag, value))
            if name == "style":
                self._css(tag, value)

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self._css("style", data)

    def _css(self, tag: str, text: str) -> None:
        for address in re.findall(r"(?:url\(\s*|@import\s+)[\"']?([^\"')\s;]+)", text):
            if not address.startswith(("data:", "#")):
                self.found.append((tag, address))
