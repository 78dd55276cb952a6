"""The page in a real browser: it asks the network for nothing, fits a phone, and its figures can be enlarged."""

import html
import json
import re
import shutil
import subprocess

import pytest

from pipeline import artefacts, config
from pipeline.render import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary on the PATH: the page is not opened here")

QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--no-default-browser-check"]

#: Appended to a copy of the page; writes what it finds where `--dump-dom` shows it.
PROBE = """<script>
addEventListener("load", async () => {
  const image = document.querySelector("figure img");
  image.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  const dialog = document.querySelector("dialog");
  const enlarged = dialog.open;
  const closing = new Promise((resolve) => dialog.addEventListener("close", resolve));
  dialog.click();
  await closing;
  const report = document.createElement("pre");
  report.id = "probe";
  report.textContent = JSON.stringify({
    width: innerWidth,
    content: document.documentElement.scrollWidth,
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


@pytest.fixture(scope="module")
def paper(tmp_path_factory, fill):
    """The page of the simulated edition, with made-up results."""
    settings = config.load("demo")
    build = artefacts.Build(settings.name, tmp_path_factory.mktemp("build"))
    fill(build, settings.source.kind)
    page.stage(build, settings)
    page.render(build)
    return build.site / "index.html"


@pytest.fixture
def browse(tmp_path):
    """Open a file in a fresh browser; returns its document after loading, and the addresses that it requested.

    Requests end at a closed port of loopback. Those of the browser itself, which have no origin, are left out.
    """

    def run(path, width=1200):
        log = tmp_path / "net.json"
        flags = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900", f"--log-net-log={log}"]
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


@pytest.mark.parametrize("width", [500, 1200])  # chromium's windows are not narrower than 500 px
def test_the_page_fits_its_window_and_works(paper, browse, width):
    probed = paper.with_name("probe.html")
    probed.write_text(paper.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>"), encoding="utf-8")
    found = re.search(r'<pre id="probe">(.*?)</pre>', browse(probed, width)[0]).group(1)
    report = json.loads(html.unescape(found))
    assert report["content"] <= report["width"] == width
    assert report["images"] >= 3
    assert report["broken"] == 0
    assert report["enlarged"]
    assert report["closed"]
    assert report["mathHeight"] > 10
    assert report["measure"] < 800
