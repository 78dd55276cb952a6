"""Pages on which a person decides between two proposed pairs of partners, cleft by cleft.

Each page is one file that opens from disk and loads nothing. Proposals are called A and B, whichever method made them;
the methods' names appear only in the CSV file of decisions. Micrographs are embedded once and proposals as transparent
overlays of few colours, so that a page stays small. All sections in the plane can be scrolled through; beside them are
the two planes across it, through the centre of the cleft.
"""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from scipy.ndimage import binary_dilation, binary_erosion

from pipeline import artefacts
from pipeline.render import template

CLEFTS_PER_PAGE = 20
CSS_PIXELS_PER_VOXEL = 1.3  # where there is room
BAR_NM = 500

#: The first columns of the CSV file of decisions.
COLUMNS = ("cleft_id", "disagreement", "a_method", "a_pre", "a_post", "b_method", "b_pre", "b_post")

#: Overlay colours (RGBA) from Okabe and Ito's palette: nothing, presynaptic, postsynaptic, their borders, the cleft.
PALETTE = ((0, 0, 0, 0), (230, 159, 0, 90), (86, 180, 233, 110), (230, 159, 0, 255), (86, 180, 233, 255), (255,) * 4)
NOTHING, PRE, POST, PRE_BORDER, POST_BORDER, CLEFT = range(len(PALETTE))

#: The planes across the sections: name, the axis that the plane cuts (index into ZYX), and whether the picture is
#: transposed. XZ lies below the section and YZ to its right, on the same scale.
PLANES = (("YZ", 2, True), ("XZ", 1, False))

#: What a reader can decide, and its key.
DECISIONS = {"A": "a", "B": "b", "neither": "n", "not a synapse": "s", "cannot tell": "c"}

#: EM (uint8), segment ids (uint64) and the cleft (bool), `[Z, Y, X]` on one grid.
Boxes = tuple[np.ndarray, np.ndarray, np.ndarray]

#: Gives the boxes around an item's cleft, and the ZYX index of the cleft's centre in them.
Look = Callable[[Any], tuple[Boxes, Sequence[int]]]


def write(items: pd.DataFrame, look: Look, voxel_nm: Sequence[float], folder: Path) -> list[Path]:
    """Write `<folder>/queue-1.html`, `queue-2.html`, ..., replacing the folder; returns their paths.

    `items` holds COLUMNS in the order of reading; segment ids are uint64, 0 = none. `voxel_nm` (XYZ) is that of the
    boxes that `look` gives. It is called for one item at a time, so that memory holds one page.
    """
    parts = [items[start : start + CLEFTS_PER_PAGE] for start in range(0, max(len(items), 1), CLEFTS_PER_PAGE)]
    names = [f"queue-{number}.html" for number in range(1, len(parts) + 1)]
    places = (f"{place} of {len(items):,}" for place in range(1, len(items) + 1))
    with artefacts.atomic_folder(folder) as temporary:
        for name, part in zip(names, parts, strict=True):
            rows = part.itertuples(index=False)
            articles = [_article(item, *look(item), voxel_nm, next(places)) for item in rows]
            (temporary / name).write_text(_page(part, articles, name, names), encoding="utf-8")
    return [folder / name for name in names]


def _page(part: pd.DataFrame, articles: list[str], name: str, names: list[str]) -> str:
    links = "".join(
        f'<a href="{other}"{" aria-current=page" if other == name else ""}>{number}</a> '
        for number, other in enumerate(names, start=1)
    )
    proposals = part[list(COLUMNS)].to_csv(index=False)
    fields = {
        "columns": ",".join(COLUMNS),
        "keys": template.as_json({key: decision for decision, key in DECISIONS.items()}),
        "queue": hashlib.sha256(proposals.encode()).hexdigest()[:16],  # decisions belong to exactly these proposals
        "file": name.removesuffix(".html") + ".csv",
        "pages": f"<nav aria-label=Pages>Pages: {links}</nav>" if len(names) > 1 else "",
        "items": "\n".join(articles) or "<p>The two methods agree on every cleft: there is nothing to decide.</p>",
    }
    return template.fill("queue", fields)


def _article(item: Any, boxes: Boxes, center: Sequence[int], voxel_nm: Sequence[float], place: str) -> str:
    em, _, cleft = boxes
    depth, height, width = em.shape
    planes = {name: _plane(boxes, center, voxel_nm, axis, transposed) for name, axis, transposed in PLANES}
    pictures = {"XY": em} | {name: grey[None] for name, (grey, *_) in planes.items()}
    style = [f"--{name.lower()}:url({template.uri(template.strip(grey))})" for name, grey in pictures.items()]
    style += [f"--section:{center[0]}", f"--sections:{depth}", f"--aspect:{width / height:.4f}"]
    style += [f"--side:{planes['YZ'][2].shape[1] / width:.4f}", f"--width:{width * CSS_PIXELS_PER_VOXEL:.0f}px"]
    bar = f'<span class="bar" style="width:{100 * BAR_NM / (width * voxel_nm[0]):.2f}%">{BAR_NM} nm</span>'
    proposals = [
        _proposal(letter, getattr(item, f"{letter}_pre"), getattr(item, f"{letter}_post"), boxes, planes, bar)
        for letter in "ab"
    ]
    choices = "".join(
        f'<label><input type="radio" name="cleft-{item.cleft_id}" value="{decision}"> '
        f"{decision[0].upper()}{decision[1:]} <kbd>{key}</kbd></label>"
        for decision, key in DECISIONS.items()
    )
    row = ",".join(str(getattr(item, name)) for name in COLUMNS)
    return (
        f'<article tabindex="-1" aria-labelledby="cleft-{item.cleft_id}" data-row="{template.escape(row)}" '
        f'style="{";".join(style)}"><h2 id="cleft-{item.cleft_id}">Cleft {item.cleft_id} '
        f"<small>{place}, disagreement: {item.disagreement}</small></h2>"
        f'<label class="section">Section <input type="range" min="0" max="{depth - 1}" value="{center[0]}">'
        f" <output>{center[0] + 1} of {depth}</output></label>"
        f'<div class="proposals">{"".join(proposals)}</div>'
        f"<fieldset><legend>Which proposal is right?</legend>{choices}</fieldset></article>"
    )


def _plane(
    boxes: Boxes, center: Sequence[int], voxel_nm: Sequence[float], axis: int, transposed: bool
) -> list[np.ndarray]:
    """`[em, segments, cleft]` in the plane through the centre that cuts `axis` (index into ZYX).

    Labels are repeated along the coarser axis, so that lines drawn on them are equally thin along both.
    """
    sizes_nm = np.delete(voxel_nm[::-1], axis)
    em, *labels = (np.take(box, center[axis], axis=axis) for box in boxes)
    for at, size_nm in enumerate(sizes_nm):
        labels = [label.repeat(round(size_nm / sizes_nm.min()), axis=at) for label in labels]
    return [plane.T for plane in (em, *labels)] if transposed else [em, *labels]


def _proposal(letter: str, pre: int, post: int, boxes: Boxes, planes: dict[str, list[np.ndarray]], bar: str) -> str:
    """One proposal over the sections and the planes across them; the micrographs are in the article's style."""
    name = letter.upper()

    def overlay(segments: np.ndarray, cleft: np.ndarray) -> np.ndarray:
        return _overlay((segments == pre) & bool(pre), (segments == post) & bool(post), cleft)

    strip = np.concatenate([overlay(segments, cleft) for segments, cleft in zip(*boxes[1:], strict=True)])
    pictures = {"XY": strip} | {plane: overlay(*labels) for plane, (_, *labels) in planes.items()}
    views = [
        f'<span class="view {plane.lower()}{" stack" if plane == "XY" else ""}">'
        f'<img alt="{plane} plane, proposal {name}" src="{_uri(picture)}">{bar if plane == "XY" else ""}</span>'
        for plane, picture in pictures.items()
    ]
    pair = f"presynaptic {pre}, postsynaptic {post}" if pre else "no pair"
    return f'<figure><figcaption><b>{name}</b>: {pair}</figcaption><div class="views">{"".join(views)}</div></figure>'


def _overlay(pre: np.ndarray, post: np.ndarray, cleft: np.ndarray) -> np.ndarray:
    """Two masks `[Y, X]` and the cleft's outline, as indices into PALETTE.

    The postsynaptic mask is also hatched, for readers who cannot distinguish the colours.
    """
    y, x = np.indices(cleft.shape)
    picture = np.full(cleft.shape, NOTHING, np.uint8)
    picture[pre], picture[post] = PRE, POST
    picture[post & ((x + y) % 12 == 0)] = POST_BORDER
    for mask, border in ((pre, PRE_BORDER), (post, POST_BORDER)):
        picture[mask & ~binary_erosion(mask, border_value=1)] = border
    picture[binary_dilation(cleft) & ~cleft] = CLEFT
    return picture


def _uri(picture: np.ndarray) -> str:
    """Indices into PALETTE as a picture in a `data:` address."""
    colours = np.array(PALETTE, np.uint8)[picture]
    return template.uri(template.webp(Image.fromarray(colours), lossless=True, exact=True))
