"""One colour has one meaning, and readers with any common colour vision can tell the meanings apart."""

import itertools
import re
import sys

import numpy as np
import pandas as pd
import pytest
from colorspacious import cspace_convert
from matplotlib.text import Text

from pipeline.artefacts import REPOSITORY

#: Distance in CIE Lab; about 2.3 is the least that is seen (Mahy et al. 1994).
FAR, FAR_WITH_DICHROMACY = 30, 18


@pytest.fixture(scope="module")
def style():
    sys.path.insert(0, str(REPOSITORY / "figures"))
    import style

    yield style
    sys.path.remove(str(REPOSITORY / "figures"))


def lab(colour, vision):
    """A colour `#RRGGBB` in CIE Lab, as seen with a full deficiency by the model of Machado et al. (2009)."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    if vision != "normal":
        rgb = cspace_convert(rgb, {"name": "sRGB1+CVD", "cvd_type": vision, "severity": 100}, "sRGB1")
    return cspace_convert(np.clip(rgb, 0, 1), "sRGB1", "CIELab")


@pytest.mark.parametrize("vision", ["normal", "deuteranomaly", "protanomaly", "tritanomaly"])
def test_every_two_meanings_have_distant_colours(style, vision):
    seen = {meaning: lab(colour, vision) for meaning, colour in style.COLOURS.items()}
    for one, other in itertools.combinations(seen, 2):
        distance = np.linalg.norm(seen[one] - seen[other])
        assert distance >= (FAR if vision == "normal" else FAR_WITH_DICHROMACY), (one, other, distance)


def test_that_red_and_green_would_be_too_near():
    assert np.linalg.norm(lab("#B85450", "deuteranomaly") - lab("#7A8B3C", "deuteranomaly")) < FAR_WITH_DICHROMACY


def test_models_differ_without_colour_too(style):
    models = [
        {"dimensionality": seen, "trained": trained} for seen in ("2D", "2.5D", "3D") for trained in (True, False)
    ]
    looks = [style.network(model) for model in models]
    assert len({(look["marker"], look.get("markerfacecolor"), str(look["linestyle"])) for look in looks}) == len(looks)


def test_no_script_has_a_colour_or_a_small_text_of_its_own():
    """Greys, black and white mean nothing; texts of 8 points have 9 pixels at 0.84 of their natural size."""
    for path in sorted((REPOSITORY / "figures").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        if path.name != "style.py":
            assert re.findall(r"#[0-9a-fA-F]{6}|\"(?:C\d|tab:\w+|red|green|blue|orange|yellow)\"", text) == [], path
        assert [size for size in re.findall(r"font_?size\"?[=:] ?([\d.]+)", text) if float(size) < 8] == [], path


def test_an_interval_without_width_is_said_to_be_missing(style):
    _, axes = style.plt.subplots()
    rows = pd.DataFrame({"value": [0.5, 1.0], "low": [0.4, 1.0], "high": [0.6, 1.0]})
    style.estimates(axes, rows["value"], [0, 1], rows, horizontal=True)
    assert [(text.get_text(), text.xy) for text in axes.texts] == [("no interval", (1.0, 1.0))]


def test_labels_at_the_ends_of_lines_do_not_overlap(style):
    figure, axes = style.plt.subplots(figsize=(style.WIDTH, 3.2))
    axes.set(xlim=(0, 1), ylim=(0.4, 1.02))
    style.end_labels(axes, {"one": (1, 0.9), "two": (1, 0.9), "three": (1.1, 0.89), "four": (1, 0.5)})
    figure.canvas.draw()
    boxes = [Text.get_window_extent(text) for text in axes.texts]  # without the leaders
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
