"""Pages with scripts of their own: HTML templates beside this file, filled with styles, scripts, data and pictures."""

import base64
import html
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.render.pandoc import RenderError
from pipeline.scripts import PAPER

_FOLDER = Path(__file__).parent
_FIELD = re.compile(r"<!-- ([\w.]+) -->")

#: Lossy quality of micrographs: at half of it the vesicles blur, and at twice the files are three times as large.
_QUALITY = 55


def fill(name: str, fields: Mapping[str, str]) -> str:
    """The template `<name>.html` with each `<!-- field -->` replaced, in the style of the paper.

    A field is one of `fields`, a file beside the template (`sections.js`) or `style.css`. RenderError names one that is
    neither.
    """

    def value(found: re.Match[str]) -> str:
        field = found[1]
        path = PAPER / field if field == "style.css" else _FOLDER / field
        if field in fields:
            return fields[field]
        if path.is_file():
            return path.read_text(encoding="utf-8").strip()
        raise RenderError(f"{name}.html has a field {field!r}, for which there is neither text nor file")

    return _FIELD.sub(value, (_FOLDER / f"{name}.html").read_text(encoding="utf-8"))


def as_json(value: Any) -> str:
    """JSON for a `script` element: nothing in it can end the element."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def strip(sections: np.ndarray) -> bytes:
    """Micrographs `[Z, Y, X]` uint8 as one WebP picture, section below section."""
    return webp(Image.fromarray(sections.reshape(-1, sections.shape[-1])), quality=_QUALITY)


def webp(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format="WebP", method=4, **options)
    return file.getvalue()


def uri(content: bytes) -> str:
    """A WebP picture as a `data:` address."""
    return "data:image/webp;base64," + base64.b64encode(content).decode()


def escape(text: Any) -> str:
    return html.escape(str(text))
