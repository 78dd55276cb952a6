"""PDF, Word and JATS say what the page says, and the box for citations what CITATION.cff says."""

import re
import zipfile
from xml.etree import ElementTree

import pytest
import yaml
from pypdf import PdfReader

from pipeline.artefacts import REPOSITORY
from pipeline.render import formats
from pipeline.render.pandoc import RenderError


@pytest.fixture(scope="module")
def site(tmp_path_factory, stage_in):
    """The folder with all formats of the simulated edition, with made-up results."""
    _, build = stage_in("simulated", tmp_path_factory.mktemp("formats"))
    formats.render(build)
    return build.site


def captions(text):
    return re.findall(r"((?:Figure|Table)\s?S?\d+): Caption of (\w+)", text)


@pytest.fixture(scope="module")
def on_page(rendered):
    """Numbers and names of the floats on the page, which another writer of pandoc made."""
    text = re.sub(r"<[^>]+>", "", rendered("simulated").read_text(encoding="utf-8")).replace("\xa0", " ")
    return sorted(captions(text))


def test_the_pdf_is_the_main_text_with_the_numbers_of_the_page(site, on_page):
    reader = PdfReader(site / "paper.pdf")
    text = "\n".join(page.extract_text() for page in reader.pages).replace("\xa0", " ")
    assert sorted(captions(text)) == [entry for entry in on_page if " S" not in entry[0]]
    assert "\u27e8performance.best_roc_auc\u27e9" in text
    assert "{{<" not in text
    assert "Methods in detail" not in text, "a heading whose text is left out"
    assert reader.metadata.title.startswith("How much of a neuron")


def test_word_holds_everything(site, on_page):
    with zipfile.ZipFile(site / "paper.docx") as file:
        root = ElementTree.fromstring(file.read("word/document.xml"))
    text = "".join(root.itertext()).replace("\xa0", " ")
    assert sorted(captions(text)) == on_page


def test_jats_holds_everything_and_its_pictures_lie_beside_it(site, on_page):
    root = ElementTree.parse(site / "paper.xml").getroot()
    assert sorted(captions("".join(root.itertext()).replace("\xa0", " "))) == on_page
    pictures = [graphic.get("{http://www.w3.org/1999/xlink}href") for graphic in root.iter("graphic")]
    assert len(pictures) == sum("Figure" in number for number, _ in on_page)
    assert all((site / picture).is_file() for picture in pictures)


def test_what_is_unresolved_stops_every_format(stage):
    _, build = stage("simulated")
    with (build.paper / "index.qmd").open("a") as file:
        file.write("\nSee @fig-none.\n")
    with pytest.raises(RenderError, match="unknown cross-reference @fig-none"):
        formats.render(build)
    assert not build.site.exists() or list(build.site.iterdir()) == []


def test_the_box_for_citations_agrees_with_citation_cff(rendered):
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    page = rendered("simulated").read_text(encoding="utf-8")
    box = page[page.index('id="cite"') : page.index("<h2", page.index('id="cite"'))]
    box = " ".join(re.sub(r"<[^>]+>", "", box).split())
    year = str(cited["date-released"])[:4]
    assert f"{cited['authors'][0]['name']} ({year}). {cited['title']}. Version {cited['version']}, commit" in box
    assert re.search(r"commit ([0-9a-f]{40}|unknown)", box)
    assert f'version = "{cited["version"]}"' in (REPOSITORY / "pyproject.toml").read_text()


def test_the_page_links_every_format(rendered):
    page = rendered("simulated").read_text(encoding="utf-8")
    assert all(f'href="{name}"' in page for name in formats.FORMATS)
