"""The page in a real browser: it asks the network for nothing, fits a phone, and its figures can be enlarged."""

import html
import json
import re
import shutil
import subprocess
from importlib import resources

import nbformat.v4
import pandas as pd
import pytest

from pipeline import artefacts
from pipeline.render import companion as companions
from pipeline.render import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium binary on the PATH: the page is not opened here"
)
pytestmark = needs_browser

QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--no-default-browser-check"]

#: Enlarges a figure and closes it again, then reports where `--dump-dom` shows it.
WORKS = """<script>
addEventListener("load", async () => {
  const image = document.querySelector("figure img");
  image.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  const dialog = document.querySelector("dialog");
  const enlarged = dialog.open;
  const closing = new Promise((resolve) => dialog.addEventListener("close", resolve));
  dialog.click();
  await closing;
  const report = document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify({
    broken: [...document.images].filter((image) => !image.naturalWidth).length,
    images: document.images.length,
    enlarged,
    closed: !document.querySelector("dialog"),
    mathHeight: document.querySelector("math[display=block]").getBoundingClientRect().height,
    measure: document.querySelector("p").getBoundingClientRect().width,
  });
  document.body.append(report);
});
</script>"""

#: Reports, from a frame to the document around it, how far the content runs off its window and what scrolls by itself.
FITS = """<script>
addEventListener("load", () => {
  const wide = (element) => element.scrollWidth > element.clientWidth;
  const report = parent.document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify({
    width: innerWidth,
    beyond: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scrolling: [...document.querySelectorAll("figure > div, span")].filter(wide).length,
    picture: document.querySelector("figure img")?.getBoundingClientRect().width,
  });
  parent.document.body.append(report);
});
</script>"""

#: Follows a link into folded details, then reports what it opened and what the contents mark.
FOLLOWS = """<script>
addEventListener("load", async () => {
  const target = document.getElementById("sfig-confidence");
  const fold = target.closest("details");
  const before = fold.open;
  const scrolled = new Promise((resolve) => addEventListener("scroll", () => requestAnimationFrame(resolve)));
  location.hash = "#sfig-confidence";
  await scrolled;
  await new Promise((resolve) => setTimeout(resolve, 100));
  const report = document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify({
    before,
    after: fold.open,
    current: [...document.querySelectorAll("nav [aria-current]")].map((link) => link.hash),
    contents: document.querySelector("details.contents").open,
  });
  document.body.append(report);
});
</script>"""

#: Opens all that is folded, then reports what axe-core, whose source precedes it, objects to.
CHECKS = """<script>
addEventListener("load", async () => {
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  const { violations } = await axe.run();
  const report = document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify(violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]));
  document.body.append(report);
});
</script>"""
AXE = resources.files("axe_core_python") / "axe.min.js"

#: Focuses a link and reports its preview, before and after Escape.
PREVIEWS = """<script>
addEventListener("load", async () => {
  const later = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  const preview = document.querySelector("#preview");
  const shown = {};
  for (const hash of ["#fig-question", "#eq-auc", "#sec-partners", "#ref-gray1959"]) {
    const link = document.querySelector(`a:is(.quarto-xref, [role=doc-biblioref])[href="${hash}"]`);
    link.dispatchEvent(new FocusEvent("focus"));
    const box = preview.getBoundingClientRect();
    shown[hash] = preview.matches(":popover-open") && box.left >= 0 && box.right <= innerWidth && preview.textContent;
    if (link.getAttribute("aria-describedby") !== "preview") shown[hash] = "not described";
  }
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
  await later(50);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const report = document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify({
    shown,
    closed: !preview.matches(":popover-open"),
    twice: ids.filter((id, place) => ids.indexOf(id) !== place),
  });
  document.body.append(report);
});
</script>"""

WIDTHS = [380, 768, 1440]

#: A wide table and a long equation in the markup of Quarto 1.10 with `theme: none`, as its filters
#: `customnodes/floatreftarget.lua` and `crossref/equations.lua` write it.
QUARTO_FLOATS = """<div id="tbl-wide" class="quarto-float">
<figure class="quarto-float quarto-float-tbl">
<figcaption class="table quarto-float-caption quarto-float-tbl" id="tbl-wide-caption">Table&nbsp;1: Wide.</figcaption>
<div aria-describedby="tbl-wide-caption"><table><thead><tr>CELLS</tr></thead><tbody><tr>CELLS</tr></tbody></table></div>
</figure>
</div>
<p><span id="eq-long"><math display="block"><mrow>TERMS</mrow></math></span></p>
""".replace("CELLS", "<td>performance</td>" * 20).replace("TERMS", "<mi>x</mi><mo>+</mo>" * 60)


def reports(browse, path, *flags):
    """What the probes in a page wrote. The browser's clock runs ahead, and may end before they have: then once more."""
    for _ in range(10):
        if found := re.findall(r'<pre class="probe">(.*?)</pre>', browse(path, *flags)[0]):
            break
    return [json.loads(html.unescape(report)) for report in found]


@pytest.fixture(scope="module")
def paper(rendered):
    """The page of the simulated edition, with made-up results."""
    return rendered("simulated")


@pytest.fixture(scope="module")
def companion(tmp_path_factory):
    """A companion page with code, text and a table."""
    folder = tmp_path_factory.mktemp("companion")
    html = pd.DataFrame({"n_synapses": [287]}, index=["all"]).to_html()
    output = nbformat.v4.new_output("execute_result", {"text/html": html, "text/plain": "287"}, execution_count=1)
    cells = [
        nbformat.v4.new_markdown_cell("# Cohort\n\nWhat this page counts."),
        nbformat.v4.new_code_cell("rows  # a table", execution_count=1, outputs=[output]),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    artefacts.write_text(folder / "cohort.ipynb", nbformat.writes(notebook))
    companions.render(folder / "cohort.ipynb", folder / "cohort.html", "- [Performance](performance.html)")
    return folder / "cohort.html"


@pytest.fixture
def browse(tmp_path):
    """Open a file in a fresh browser; returns its document after loading, and the addresses that it requested.

    Requests end at a closed port of loopback. Those of the browser itself, which have no origin, are left out.
    """

    def run(path, *more):
        log = tmp_path / "net.json"
        flags = [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1440,900", f"--log-net-log={log}", *more]
        flags += ["--proxy-server=http://127.0.0.1:9", "--proxy-bypass-list=<-loopback>", "--virtual-time-budget=2000"]
        command = [CHROMIUM, *QUIET, *flags, "--dump-dom", path.as_uri()]
        document = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        events = [event.get("params", {}) for event in artefacts.read_json(log)["events"]]
        return document, {
            event["url"] for event in events if event.get("initiator", "not an origin") != "not an origin"
        }

    return run


def test_the_page_asks_the_network_for_nothing(paper, browse):
    document, requested = browse(paper)
    assert "Abstract" in document
    assert requested == set()


def test_that_a_request_would_have_been_seen(tmp_path, browse):
    (tmp_path / "page.html").write_text('<img src="http://outside.example/a.png">')
    assert browse(tmp_path / "page.html")[1] == {"http://outside.example/a.png"}


def test_the_page_works(paper, browse, tmp_path):
    text = paper.read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", WORKS + "</body>"), encoding="utf-8")
    (report,) = reports(browse, tmp_path / "page.html")
    assert report["images"] >= 3
    assert report["broken"] == 0
    assert report["enlarged"]
    assert report["closed"]
    assert report["mathHeight"] > 10
    assert report["measure"] < 800


@pytest.mark.parametrize("markup", ["as rendered here", "as Quarto writes it"])
def test_the_page_fits_phones_tablets_and_desktops(paper, browse, tmp_path, markup):
    """Wide tables and equations scroll in a box of their own. Frames, since no window is narrower than 500 pixels."""
    text = paper.read_text(encoding="utf-8")
    if markup == "as Quarto writes it":
        style = (page.PAPER / "style.css").read_text(encoding="utf-8")
        text = f"<!doctype html><style>{style}</style><body>{QUARTO_FLOATS}</body>"
    text = html.escape(text.replace("</body>", FITS + "</body>"))
    frames = [f'<iframe srcdoc="{text}" width="{width}" height="900" style="border: 0"></iframe>' for width in WIDTHS]
    (tmp_path / "frames.html").write_text("<!doctype html>" + "".join(frames), encoding="utf-8")
    found = sorted(reports(browse, tmp_path / "frames.html"), key=lambda report: report["width"])
    assert [report["width"] for report in found] == WIDTHS
    assert [report["beyond"] for report in found] == [0, 0, 0]
    if markup == "as rendered here":
        smallest = 8 / 72 / 7  # texts have at least 8 points in figures 7 inches wide
        assert min(report["picture"] for report in found) * smallest >= 9
    else:
        assert found[0]["scrolling"] == 2


def test_a_link_opens_what_is_folded_and_the_contents_follow(paper, browse, tmp_path):
    text = paper.read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", FOLLOWS + "</body>"), encoding="utf-8")
    (report,) = reports(browse, tmp_path / "page.html")
    assert report == {"before": False, "after": True, "current": ["#sec-faults-details"], "contents": True}


def test_links_show_what_they_lead_to(paper, browse, tmp_path):
    text = paper.read_text(encoding="utf-8")
    (tmp_path / "page.html").write_text(text.replace("</body>", PREVIEWS + "</body>"), encoding="utf-8")
    (report,) = reports(browse, tmp_path / "page.html")
    shown = report["shown"]
    assert "Caption of question." in shown["#fig-question"]
    assert shown["#eq-auc"]
    assert re.search(r"Partners of a cleft\s*A wiring diagram has to find", shown["#sec-partners"])
    assert "Gray" in shown["#ref-gray1959"]
    assert report["closed"]
    assert report["twice"] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("which", ["paper", "companion"])
def test_the_page_is_accessible(request, browse, tmp_path, which, scheme):
    text = request.getfixturevalue(which).read_text(encoding="utf-8")
    probe = f"<script>{AXE.read_text(encoding='utf-8')}</script>{CHECKS}"
    (tmp_path / "page.html").write_text(text.replace("</body>", probe + "</body>"), encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    assert reports(browse, tmp_path / "page.html", *dark) == [[]]
