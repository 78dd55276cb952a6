"""Pandoc (from pypandoc_binary) and the promise that a page loads nothing from outside."""

import re
import subprocess
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import pypandoc
import yaml

#: Options of pandoc that every page shares, on top of those of the manuscript's `_quarto.yml`.
COMMON = {"to": "html5", "standalone": True, "fail-if-warnings": True, "wrap": "preserve"}


class RenderError(ValueError):
    """A page that cannot be rendered; the text names each file with its line, or the key, that is at fault."""


def convert(source, page, folder, defaults):
    """Make the HTML file `page` of the file `source` in `folder`, with the options `defaults` (the keys of pandoc's
    defaults files). RenderError says what pandoc, or a filter, objects to, and what the page would load from outside.
    """
    options = COMMON | defaults | {"input-files": [str(source)], "output-file": str(Path(page).resolve())}
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(options, file)
        file.flush()
        command = [pypandoc.get_pandoc_path(), "--defaults", file.name]
        run = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if run.returncode:
        raise RenderError(f"{Path(folder) / source} cannot be rendered:\n{_message(run.stderr)}")
    require_self_contained(page, Path(folder) / source)


def _message(stderr):
    """Pandoc's complaint without the frame that it puts around errors of a Lua filter."""
    text = stderr.split("\nstack traceback:")[0]
    return re.sub(r"^Error running filter .*:\n", "", text, flags=re.MULTILINE).strip()


def require_self_contained(page, source):
    """Raise RenderError if the HTML file `page`, made of `source`, would fetch anything when it is opened."""
    parser = _Fetches()
    parser.feed(Path(page).read_text(encoding="utf-8"))
    if parser.found:
        listed = "\n".join(f"  <{tag}> loads {address[:200]}" for tag, address in parser.found)
        raise RenderError(f"the page of {source} is not self-contained:\n{listed}")


class _Fetches(HTMLParser):
    """Collects `(tag, address)` of everything that a browser would load; links that a reader follows are not."""

    ATTRIBUTES = ("src", "srcset", "poster", "data", "background", "action")
    REFERENCES = ("link", "image", "use", "script")  # elements whose href is loaded, unlike that of <a>

    def __init__(self):
        super().__init__()
        self.found = []
        self._style = False

    def handle_starttag(self, tag, attributes):
        self._style = tag == "style"
        for name, value in attributes:
            value = (value or "").strip()
            loads = name in self.ATTRIBUTES or (tag in self.REFERENCES and name in ("href", "xlink:href"))
            if loads and value and not value.startswith(("data:", "#")):
                self.found.append((tag, value))
            if name == "style":
                self._css(tag, value)

    def handle_endtag(self, tag):
        self._style = False

    def handle_data(self, data):
        if self._style:
            self._css("style", data)

    def _css(self, tag, text):
        for address in re.findall(r"(?:url\(\s*|@import\s+)[\"']?([^\"')\s;]+)", text):
            if not address.startswith(("data:", "#")):
                self.found.append((tag, address))
