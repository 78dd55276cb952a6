"""The proofreading pages: what they draw, how large they are, and decisions by keyboard in a real browser."""

import base64
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from test_browser import AXE, CHECKS, browse, needs_browser, reports  # noqa: F401

from pipeline.render import queue

VOXEL_NM = (8.0, 8.0, 40.0)
PRE, POST = 2**63, 2**63 + 1

#: Appended to a copy of a page: presses keys, clicks, and shows the CSV where `--dump-dom` prints it.
PROBE = """<script>
const press = (...keys) => keys.forEach((key) => document.dispatchEvent(new KeyboardEvent("keydown", { key })));
const decided = () => items.map((item) => decisions[fields(item)[0]] ?? "").join();
press("a", "n", "k", "k", "B", "j", "j");
items[3].querySelector("[value='cannot tell']").click();
press("j", "s");
const before = decided();
press("z");
element("undo").click();
const undone = [decided(), items.indexOf(document.querySelector("[aria-current]"))].join();
press("c", "j", "s");
element("shortcuts").click();
press("a", "h", "z");
const off = decided();
element("shortcuts").click();
press("k", ".", ".", ",", "h");
const slider = items[3].querySelector(".section input");
const shown = [...items[3].querySelectorAll(".stack")].map((stack) => {
  const picture = stack.querySelector("img").getBoundingClientRect();
  return Math.round((stack.getBoundingClientRect().top - picture.top) / (picture.height / 9));
});
const report = document.createElement("pre");
report.id = "probe";
report.className = "probe";
const rest = { before, undone, off, section: slider.value, shown,
  visible: items.filter((item) => item.offsetParent).length };
report.textContent = [csv(), JSON.stringify(rest), localStorage.getItem(queue),
  element("progress").textContent, getComputedStyle(document.querySelector(".view img")).opacity,
  [...document.images].every((image) => image.naturalWidth > 0),
  document.documentElement.scrollWidth <= innerWidth].join("|");
document.body.append(report);
</script>"""

#: Reports what a page shows of decisions made before.
RELOADED = """<script>
const report = document.createElement("pre");
report.className = "probe";
report.textContent = JSON.stringify({ progress: element("progress").textContent,
  checked: document.querySelectorAll("[type=radio]:checked").length,
  current: items.indexOf(document.querySelector("[aria-current]")) });
document.body.append(report);
</script>"""


def look(item):
    """Two cells that meet at x = 20, and a cleft between them."""
    z, y, x = np.indices((9, 40, 48))
    em = np.random.default_rng(item.cleft_id).integers(0, 255, z.shape).astype(np.uint8)
    segments = np.where(x < 20, np.uint64(PRE), np.uint64(POST))
    return (em, segments, (abs(x - 20) < 3) & (abs(y - 18) < 9) & (abs(z - 4) < 2)), (4, 18, 20)


def proposals(n):
    items = pd.DataFrame({"cleft_id": np.arange(n) + 11, "disagreement": "reversed"})
    items["a_method"], items["b_method"] = np.where(np.arange(n) % 2, "avan", "pruner"), "avan"
    items.loc[items["a_method"] == "avan", "b_method"] = "pruner"
    for name, value in (("a_pre", PRE), ("a_post", POST), ("b_pre", POST), ("b_post", PRE)):
        items[name] = np.full(n, value, np.uint64)
    return items


def pictures(page):
    """RGBA arrays of the overlays of a page, in its order: XY (all sections), YZ and XZ of A, then of B."""
    sources = re.findall(r'<img alt="[^"]+" src="data:image/webp;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(source))).convert("RGBA")) for source in sources]


def test_the_two_proposals_are_drawn_over_the_right_cells(tmp_path):
    (path,) = queue.write(proposals(1), look, VOXEL_NM, tmp_path / "queue")
    overlays = pictures(path.read_text())
    assert [overlay.shape[:2] for overlay in overlays] == 2 * [(9 * 40, 48), (40, 45), (45, 48)], "40 nm are 5 pixels"
    sections = [overlay.reshape(9, 40, 48, 4) for overlay in (overlays[0], overlays[3])]
    assert (sections[0][0, 18, 21:] != queue.PALETTE[queue.CLEFT]).any(axis=-1).all(), "the cleft is in three sections"
    orange, blue = queue.PALETTE[queue.PRE], queue.PALETTE[queue.POST]
    for (*_, overlay), left, right in ((sections[0][:5], orange, blue), (sections[1][:5], blue, orange)):
        assert tuple(overlay[5, 9]) == left, "left of the cleft"
        assert tuple(overlay[5, 40]) == right
        assert tuple(overlay[18, 21]) == right, "the cleft is outlined, not covered"
        assert tuple(overlay[18, 17]) == tuple(overlay[18, 23]) == queue.PALETTE[queue.CLEFT]
    y, x = 5, 31  # on a hatched line, in the postsynaptic cell of A
    assert tuple(sections[0][4][y, x]) == queue.PALETTE[queue.POST_BORDER]


def test_a_proposal_without_a_pair_is_drawn_as_none(tmp_path):
    items = proposals(1).assign(b_pre=np.uint64(0), b_post=np.uint64(0), disagreement="no pair")
    (path,) = queue.write(items, look, VOXEL_NM, tmp_path / "queue")
    seen = {tuple(colour) for overlay in pictures(path.read_text())[3:] for colour in overlay.reshape(-1, 4)}
    assert seen == {queue.PALETTE[queue.NOTHING], queue.PALETTE[queue.CLEFT]}
    assert "<b>B</b>: no pair" in path.read_text()
    assert "1 of 1, disagreement: no pair" in path.read_text()


def test_pages_are_bounded_complete_and_replace_those_of_a_longer_queue(tmp_path, monkeypatch):
    monkeypatch.setattr(queue, "CLEFTS_PER_PAGE", 3)
    paths = queue.write(proposals(7), look, VOXEL_NM, tmp_path / "queue")
    assert [path.name for path in paths] == ["queue-1.html", "queue-2.html", "queue-3.html"]
    texts = [path.read_text() for path in paths]
    assert [len(re.findall("<article", text)) for text in texts] == [3, 3, 1]
    assert [int(n) for text in texts for n in re.findall(r"<h2 id=\"cleft-(\d+)", text)] == list(range(11, 18))
    assert len({re.search('data-queue="(.*?)"', text).group(1) for text in texts}) == 3, "pages do not mix decisions"
    queue.write(proposals(2), look, VOXEL_NM, tmp_path / "queue")
    assert [path.name for path in (tmp_path / "queue").iterdir()] == ["queue-1.html"]


def test_methods_are_not_shown_and_nothing_is_loaded(tmp_path):
    (path,) = queue.write(proposals(2), look, VOXEL_NM, tmp_path / "queue")
    page = path.read_text()
    shown = re.sub(r"<script.*?</script>|<style.*?</style>|<[^>]*>", "", page, flags=re.DOTALL)
    assert "avan" not in shown.lower()
    assert "pruner" not in shown.lower()
    assert not re.search(r"""(?:src|href)="(?!data:|queue-|\.\./index\.html)|url\((?!data:)|https?://|<!-- """, page)
    assert all(alt for alt in re.findall(r'<img alt="([^"]*)"', page))


def test_a_queue_without_disagreements_says_so(tmp_path):
    (path,) = queue.write(proposals(0), look, VOXEL_NM, tmp_path / "queue")
    assert "agree on every cleft" in path.read_text()


@needs_browser
def test_decisions_by_keyboard_and_click_end_in_the_csv_and_outlive_the_page(tmp_path, browse):  # noqa: F811
    (path,) = queue.write(proposals(5), look, VOXEL_NM, tmp_path / "queue")
    path.write_text(path.read_text().replace("</body>", PROBE + "</body>"))
    document, requested = browse(path, "--window-size=500,900")
    (text,) = re.findall(r'<pre id="probe" class="probe">(.*?)</pre>', document, re.DOTALL)
    written, rest, kept, progress, opacity, drawn, fits = html.unescape(text).split("|")
    rows = pd.read_csv(io.StringIO(written), dtype=str, keep_default_na=False)
    # a decides the 1st, n the 2nd; two steps back, B for the 1st after all; two steps on, a click on the 4th, s on the
    # 5th; both are taken back; c on the 4th, s on the 5th; keys that are off; on the 4th one section on
    assert rows["decision"].tolist() == ["B", "neither", "", "cannot tell", "not a synapse"]
    assert rows["chosen"].tolist() == ["avan", "neither", "", "cannot tell", "not a synapse"]
    rest = json.loads(rest)
    assert rest["before"] == rest["off"] == "B,neither,,cannot tell,not a synapse"
    assert rest["undone"] == "B,neither,,,,3", "the cleft whose decision was taken back is shown"
    assert (rest["section"], rest["shown"]) == ("5", [5, 5]), "both proposals show the same section"
    assert rest["visible"] == 1, "one card at a time where the screen is small"
    assert set(rows["a_pre"]) == {str(PRE)}, "ids are exact"
    assert set(rows["b_pre"]) == {str(POST)}
    assert '"14":"cannot tell"' in kept
    assert progress == "4 of 5 decided on this page"
    assert (opacity, drawn, fits) == ("0", "true", "true")
    assert requested == set()
    (again,) = queue.write(proposals(5), look, VOXEL_NM, tmp_path / "queue")  # the same page, opened anew
    again.write_text(again.read_text().replace("</body>", RELOADED + "</body>"))
    assert reports(browse, again) == [{"progress": progress, "checked": 4, "current": 2}]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_queue_is_accessible(tmp_path, browse, scheme):  # noqa: F811
    (path,) = queue.write(proposals(3), look, VOXEL_NM, tmp_path / "queue")
    checks = f"<script>{AXE.read_text(encoding='utf-8')}</script>{CHECKS}"
    path.write_text(path.read_text().replace("</body>", checks + "</body>"))
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    assert reports(browse, path, *dark) == [[]]
