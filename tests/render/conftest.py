"""A build with made-up results for whatever the real manuscript asks for; no made-up result is ever committed."""

import functools
import io
import re
import struct
import zlib

import pytest
from PIL import Image

from pipeline import artefacts, config, scripts
from pipeline.render import page

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
EDITIONS = {
    "simulated": config.load("demo"),
    "cave": config.load("minnie65"),
    "without_partners": config.load("demo").model_copy(update={"partners": config.Partners()}),
}


def manuscript(kind):
    """`{path: text}` of the manuscript with the files of one edition."""
    paths = [*sorted(page.PAPER.glob("*.qmd")), *sorted(page.PAPER.glob("*.md"))]
    own = {path.name: path for layer in scripts.manuscript(EDITIONS[kind]) for path in layer.glob("*.md")}
    paths += sorted(own.values())
    return {path: path.read_text(encoding="utf-8") for path in paths}


def png():
    """A white pixel."""
    chunks = [(b"IHDR", struct.pack(">2I5B", 1, 1, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\xff")), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def webp():
    """A white pixel."""
    encoded = io.BytesIO()
    Image.new("L", (1, 1), 255).save(encoded, "webp")
    return encoded.getvalue()


def fill_build(build, kind):
    """Write every value, figure, table and caption that the manuscript of an edition names."""
    text = "\n".join(manuscript(kind).values())
    values = {}
    for script, name in re.findall(r"\{\{< var (\w+)\.([\w.]+) >\}\}", text):
        if script not in ("edition", "config", "citation"):
            values.setdefault(script, {})[name] = {"value": 0, "text": f"⟨{script}.{name}⟩"}
    for script, entries in values.items():
        artefacts.write_json(build.analysis / f"{script}.json", entries)
    for name, suffix in re.findall(r"figures/(\w+)\.(webp|svg)", text):
        path = build.figures / f"{name}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SVG if suffix == "svg" else webp())
        path.with_suffix(".png").write_bytes(png())
    for folder, name in re.findall(r"(figures|tables)/(\w+)\.caption\.md", text):
        artefacts.write_text(build.root / folder / f"{name}.caption.md", f"Caption of {name}.\n")
    for name in re.findall(r"tables/(\w+)\.md", text):
        artefacts.write_text(build.tables / f"{name}.md", f"| row | {name} |\n|---|--:|\n| a | 1 |\n")


def staged(kind, root):
    """(config, build) of an edition, its manuscript staged with made-up results."""
    settings = EDITIONS[kind]
    build = artefacts.Build(settings.name, root)
    fill_build(build, kind)
    page.stage(build, settings)
    return settings, build


@pytest.fixture
def stage(tmp_path):
    """Stage the edition of a kind of source in a folder of the test's own; returns its config and build."""
    return lambda kind: staged(kind, tmp_path / "build")


@pytest.fixture(scope="session")
def stage_in():
    """`staged`: the config and build of an edition, in a folder of the caller's."""
    return staged


@pytest.fixture(scope="session")
def rendered(tmp_path_factory):
    """The page of an edition, by its kind of source, from the renderer that `make paper` would use here."""

    @functools.cache
    def render(kind):
        _, build = staged(kind, tmp_path_factory.mktemp(kind))
        page.render(build)
        return build.site / "index.html"

    return render


@pytest.fixture
def png_bytes():
    return png()


@pytest.fixture
def manuscript_of():
    return manuscript
