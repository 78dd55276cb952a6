"""The atlas in a real browser: addresses, filters, one threshold that moves all, a game, and pictures on demand."""

import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import confusion_matrix, roc_curve
from test_browser import AXE, CHECKS, browse, needs_browser, reports  # noqa: F401

from pipeline.render import atlas

VOXEL_NM = (8.0, 8.0, 40.0)
VOLUMES = {
    "simulated": {"kind": "simulated", "em_path": "precomputed://file:///nowhere"},
    "cave": {"kind": "cave", "em_path": "precomputed://https://em.example/minnie65"},
}
MODELS = {"cnn": 1.6, "unet3d": 1.0, "control": 0.2}  # effect of the class on the score

#: Runs `work`, which fills `found`, once the page is there, and reports what it found.
PROBE = """<script>
addEventListener("load", async () => {
  const found = {};
  const change = (target, value) => {
    target.value = value;
    for (const type of ["input", "change"]) target.dispatchEvent(new Event(type, { bubbles: true }));
  };
  const settled = () => new Promise((resolve) => setTimeout(resolve, 60));
  const texts = (table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent));
  const matrix = () => ["tn", "fp", "fn", "tp"].map((id) => Number(element(id).textContent));
  const cards = () => [...document.querySelectorAll("#list li:not([hidden])")];
  const marked = (text) => cards().filter((item) => item.textContent.includes(text)).length;
  await (async () => { WORK })();
  const report = document.createElement("pre");
  report.className = "probe";
  report.textContent = JSON.stringify(found);
  document.body.append(report);
});
</script>"""


def look(synapse_id):
    """Sections whose grey level is ten times their number."""
    return np.broadcast_to(10 * np.arange(16, dtype=np.uint8)[:, None, None], (16, 32, 32)) + np.uint8(synapse_id % 7)


def synapses(n):
    rng = np.random.default_rng(3)
    label = (np.arange(n) // 4 % 3 > 0).astype(int)
    rows = pd.DataFrame(
        {"synapse_id": 500 + np.arange(n), "pre_neuron_id": 2**59 + 3 + np.arange(n) // 4, "label": label}
    )
    for axis, at in zip("xyz", (1000.0, 2000.0, 4000.0), strict=True):
        rows[f"center_{axis}_nm"] = at + 8 * np.arange(n)
    for name, effect in MODELS.items():
        rows[name] = 1 / (1 + np.exp(-effect * (2 * label - 1) - rng.normal(size=n)))
    return rows


def cells(rows, model, threshold):
    """`tn, fp, fn, tp` by scikit-learn."""
    return confusion_matrix(rows["label"], rows[model] >= threshold, labels=[0, 1]).ravel().tolist()


def scores(rows):
    thresholds, tau = [], 0.4321
    for model in MODELS:
        for threshold in np.union1d(np.arange(101) / 100, tau):
            tn, fp, fn, tp = cells(rows, model, threshold)
            value = (tp / (tp + fn) + tn / (tn + fp)) / 2
            of = {"model": model, "threshold": threshold, "tp": tp, "fn": fn, "fp": fp, "tn": tn}
            thresholds.append(of | {"value": value, "low": value - 0.1, "high": value + 0.1})
    runs = pd.DataFrame({"model": list(MODELS), "label": ["CNN", "UNet3D", "CNN, untrained"], "tau": tau})
    aucs = pd.DataFrame({"model": list(MODELS), "value": [0.9, 0.8, 0.6], "low": 0.5, "high": 1.0})
    runs = runs.assign(sections=[1, 12, 1], side_px=16)
    return atlas.Scores(runs, pd.DataFrame(thresholds), aucs, "cnn", "control")


def write(folder, n=48, kind="simulated"):
    """(rows, page) of an atlas of n synapses, the first of which has evidence maps."""
    rows = synapses(n)
    y, x = np.indices((16, 16)).reshape(2, -1)
    evidence = {"synapse_id": 500, "dimensionality": "2D", "y": y, "x": x, "grey": 200.0}
    evidence = pd.DataFrame(evidence | {"occlusion": np.where(x < 8, 1.0, -1.0), "grad_cam": np.where(y < 8, 4.0, 0.0)})
    page = folder / "site" / "atlas.html"
    atlas.write(rows, n, scores(rows), look, evidence, VOXEL_NM, VOLUMES[kind], page)
    return rows, page


def probed(page, work):
    """The page with a probe that does `work`."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", PROBE.replace("WORK", work) + "</body>"), encoding="utf-8")
    return page


def test_a_picture_holds_the_sections_of_its_synapse(tmp_path):
    _, page = write(tmp_path)
    picture = Image.open(io.BytesIO((page.parent / "atlas" / "503.webp").read_bytes())).convert("L")
    assert picture.size == (32, 16 * 32)
    inner = np.asarray(picture).reshape(16, 32, 32)[:, 3:-3]  # the compression smears the seam between two sections
    np.testing.assert_allclose(inner, look(503)[:, 3:-3], atol=2)


def test_an_evidence_map_is_bright_where_the_evidence_for_the_true_class_is(tmp_path):
    _, page = write(tmp_path)
    occlusion, grad_cam = (
        np.asarray(Image.open(page.parent / "atlas" / f"500-2D-{method}.webp").convert("L"), float)
        for method in ("occlusion", "grad_cam")
    )
    assert occlusion[:, :6].mean() > 190
    assert occlusion[:, 10:].mean() < 10, "evidence against the true class is not shown as evidence for it"
    assert grad_cam[:6].mean() > 190
    assert grad_cam[10:].mean() < 10


def test_a_larger_test_set_is_sampled_from_all_neurons_and_the_page_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(atlas, "MAX_SYNAPSES", 14)
    rows = synapses(48)  # 12 neurons with 4 synapses each
    drawn = atlas.sample(rows, seed=1)
    assert sorted(drawn["pre_neuron_id"].value_counts()) == [1] * 10 + [2] * 2
    page = tmp_path / "atlas.html"
    atlas.write(drawn, 48, scores(rows), look, None, VOXEL_NM, VOLUMES["simulated"], page)
    text = page.read_text(encoding="utf-8")
    assert "14 of the 48 test synapses, drawn at random" in text
    assert "Calls of all 48 test synapses" in text


@needs_browser
def test_one_threshold_moves_the_matrix_the_curve_the_score_and_the_marks(tmp_path, browse):  # noqa: F811
    rows, page = write(tmp_path)
    work = """
      const look = () => [element("at").textContent, matrix(), marked("✓ right"), marked("✗ wrong"),
        ["cx", "cy"].map((name) => Number(element("point").getAttribute(name))), element("balanced").textContent];
      found.first = look();
      change(element("model"), 1);
      change(element("threshold"), 81);
      found.moved = look();
      found.spoken = element("threshold").getAttribute("aria-valuetext");
      found.curve = element("roc").getAttribute("points");
      change(element("filters").elements.label, "0");
      change(element("filters").elements.right, "false");
      found.filtered = cards().length;
      element("filters").reset();
      await settled();
      found.all = cards().length;
      change(element("filters").elements.neuron, String(2n ** 59n + 5n));
      found.ofNeuron = cards().map((item) => item.firstChild.hash);
      element("filters").reset();
      await settled();
      change(element("filters").elements.order, "score");
      found.ordered = cards().map((item) => item.firstChild.hash.slice(9));
      element("chosen").click();
      found.back = look();
    """
    (found,) = reports(browse, probed(page, work))
    for looked, model, threshold in ((found["first"], "cnn", 0.4321), (found["moved"], "unet3d", 0.8)):
        at, matrix, right, wrong, point, balanced = looked
        tn, fp, fn, tp = expected = cells(rows, model, threshold)
        assert matrix == expected
        assert (right, wrong) == (tn + tp, fp + fn)
        assert point == pytest.approx([100 * fp / (fp + tn), 100 - 100 * tp / (tp + fn)])
        assert balanced.startswith(f"{(tp / (tp + fn) + tn / (tn + fp)) / 2:.2f} [")
        assert ("validation" in at) == (threshold == 0.4321)
    assert found["spoken"] == "0.80"
    drawn = {tuple(round(float(part), 6) for part in point.split(",")) for point in found["curve"].split()}
    curve = zip(*roc_curve(rows["label"], rows["unet3d"], drop_intermediate=False)[:2], strict=True)
    assert drawn <= {(round(100 * x, 6), round(100 - 100 * y, 6)) for x, y in curve}
    assert found["filtered"] == cells(rows, "unet3d", 0.8)[1]
    assert found["all"] == 48
    assert found["ofNeuron"] == [f"#synapse-{n}" for n in range(508, 512)], "ids beyond 2**53 are exact"
    assert found["ordered"] == rows.sort_values("unet3d")["synapse_id"].astype(str).tolist()
    assert found["back"][1] == cells(rows, "unet3d", 0.4321)


@needs_browser
def test_every_synapse_has_an_address_and_the_keyboard_reaches_all(tmp_path, browse):  # noqa: F811
    rows, page = write(tmp_path, kind="cave")
    work = """
      const hashes = cards().map((item) => item.firstChild.hash);
      found.addresses = new Set(hashes).size;
      location.hash = "#synapse-500";
      await settled();
      const slider = document.querySelector("#one .section input");
      const box = (one) => one.getBoundingClientRect();
      const drawn = () => { // the section that the stack shows, from how far its picture is shifted
        const [picture, stack] = [box(element("shown")), box(element("shown").parentNode)];
        return Math.round((stack.top - picture.top) / stack.height);
      };
      await element("shown").decode();
      const focused = document.activeElement === slider;
      found.opened = [element("one").open, element("one-title").textContent, focused, drawn()];
      found.rows = texts(element("scores"));
      found.seen = !element("seen").hidden;
      change(slider, 3);
      found.scrolled = [drawn(), !element("seen").hidden];
      found.maps = element("evidence").querySelectorAll("img").length;
      const link = element("facts").querySelector("a[href^=https]");
      found.link = decodeURIComponent(link.hash.slice(2));
      element("next").click();
      await settled();
      found.next = [location.hash, element("previous").disabled, element("evidence").childElementCount];
      const closing = new Promise((resolve) => element("one").addEventListener("close", resolve));
      element("one").close();
      await closing;
      found.closed = [element("one").open, location.hash];
      location.hash = "#synapse-9";
      await settled();
      found.unknown = element("one").open;
      const controls = [...document.querySelectorAll("a, button, select, input, summary")];
      found.reachable = controls.every((one) => one.tabIndex === 0);
    """
    (found,) = reports(browse, probed(page, work))
    assert found["addresses"] == 48
    assert found["opened"] == [True, "Synapse 500: inhibitory", True, 8]
    assert [row[0] for row in found["rows"]] == ["CNN", "UNet3D", "CNN, untrained"]
    for row, model in zip(found["rows"], MODELS, strict=True):
        p = rows[model][0]
        assert row[1:] == [f"{p:.2f}", "0.43", "excitatory ✗" if p >= 0.4321 else "inhibitory ✓"]
    assert found["seen"]
    assert found["scrolled"] == [3, False], "a network of one section does not see the fourth"
    assert found["maps"] == 2
    state = json.loads(found["link"])
    assert state["position"] == [1000, 2000, 4000]
    assert {axis: size for axis, (size, _) in state["dimensions"].items()} == dict.fromkeys("xyz", 1e-9)
    assert state["layers"][0]["source"] == VOLUMES["cave"]["em_path"]
    assert found["next"] == ["#synapse-501", False, 0]
    assert found["closed"] == [False, "#all"]
    assert not found["unknown"]
    assert found["reachable"]


@needs_browser
def test_a_reader_is_scored_beside_the_network_and_the_control(tmp_path, browse):  # noqa: F811
    rows, page = write(tmp_path)
    work = """
      element("begin").click();
      for (let n = 0; n < 12; n++) document.querySelector("#quiz button[value='1']").click();
      found.words = element("outcome").firstChild.textContent;
      found.rows = texts(element("outcome").querySelector("tbody"));
    """
    (found,) = reports(browse, probed(page, work))
    ids = [int(row[0]) for row in found["rows"]]
    asked = rows.set_index("synapse_id").loc[ids]
    assert len(set(ids)) == 12
    called = (asked[["cnn", "control"]] >= 0.4321).assign(you=True)
    right = [(called[name] == asked["label"]).sum() for name in ("you", "cnn", "control")]
    assert found["words"].startswith(f"Right, of 12: you {right[0]}, CNN {right[1]}, CNN, untrained {right[2]}.")
    assert [row[1] for row in found["rows"]] == ["excitatory" if label else "inhibitory" for label in asked["label"]]


@needs_browser
def test_two_thousand_synapses_load_no_more_than_is_looked_at_and_nothing_from_a_network(tmp_path, browse):  # noqa: F811
    _, page = write(tmp_path, n=2000)
    work = """
      await settled();
      found.cards = cards().length;
      found.loaded = [...document.querySelectorAll("#list img")].filter((image) => image.naturalWidth).length;
      found.lazy = getComputedStyle(cards()[0]).contentVisibility;
      scrollTo(0, element("gallery").offsetTop);
      await new Promise((resolve) => setTimeout(resolve, 500));
      const first = [...document.querySelectorAll("#list img")].slice(0, 8);
      found.inView = first.every((image) => image.naturalWidth === 32);
    """
    document, requested = browse(probed(page, work))
    (found,) = [json.loads(html.unescape(text)) for text in re.findall(r'<pre class="probe">(.*?)</pre>', document)]
    assert found["cards"] == 2000
    assert found["loaded"] < 500
    assert found["lazy"] == "auto"
    assert found["inView"], "pictures beside the page load from disk"
    assert not [address for address in requested if not address.startswith("file:")]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_atlas_is_accessible_and_fits_with_a_synapse_open_or_not(tmp_path, browse, scheme):  # noqa: F811
    _, page = write(tmp_path)
    text = page.read_text(encoding="utf-8")
    checks = f"<script>{AXE.read_text(encoding='utf-8')}</script>{CHECKS}"
    opened = page.with_name("opened.html")
    opened.write_text(text.replace("</body>", "<script>location.hash = '#synapse-500';</script>" + checks + "</body>"))
    page.write_text(text.replace("</body>", checks + "</body>"), encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    assert reports(browse, page, *dark) == [[]]
    assert reports(browse, opened, *dark) == [[]]


@needs_browser
def test_the_atlas_fits_phones_tablets_and_desktops(tmp_path, browse):  # noqa: F811
    _, page = write(tmp_path)
    report = """<script>addEventListener("load", () => {
      const opened = element("one").open ? element("one").scrollWidth - element("one").clientWidth : 0;
      const beyond = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      parent.postMessage([innerWidth, location.hash, beyond, opened], "*");
    });</script>"""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", report + "</body>"), encoding="utf-8")
    frames = [
        f'<iframe src="{page.name}{part}" width="{width}" height="900" style="border: 0"></iframe>'
        for width in (380, 768, 1440)
        for part in ("", "#synapse-500")
    ]
    collect = """<script>const got = []; addEventListener("message", ({ data }) => {
      got.push(data);
      if (got.length < 6) return;
      const report = document.createElement("pre");
      report.className = "probe";
      report.textContent = JSON.stringify(got);
      document.body.append(report);
    });</script>"""
    page.with_name("frames.html").write_text("<!doctype html><body>" + collect + "".join(frames), encoding="utf-8")
    (found,) = reports(browse, page.with_name("frames.html"))
    assert sorted(found) == sorted([width, part, 0, 0] for width in (380, 768, 1440) for part in ("", "#synapse-500"))
