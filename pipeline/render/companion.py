"""Executed notebooks as companion pages of the paper, in its style."""

import json
import re
import tempfile
from pathlib import Path

from pipeline import artefacts
from pipeline.render.pandoc import RenderError, convert
from pipeline.scripts import PAPER

BEFORE = '<nav class="back" aria-label="Paper"><a href="index.html">← The paper</a></nav>\n<main>\n'
AFTER = "</main>\n"
FILTER = Path(__file__).with_name("companion.lua")


def render(notebook: Path, page: Path, links: str) -> None:
    """Render an executed notebook (.ipynb) to the self-contained HTML file `page`, with the list `links` at its end.

    The heading that opens the first cell becomes the title. Code is folded, and headers have spaces for
    underscores. `links` is Markdown. RenderError names a code cell that was not run or that
    ended with an error; the page of an earlier run is then left as it was.
    """
    content = artefacts.read_json(notebook)
    cells = content["cells"]
    for number, cell in enumerate(cells, start=1):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        if cell["execution_count"] is None:
            raise RenderError(f"{notebook}: code cell {number} was not run; execute the notebook first")
        failed = [output for output in cell["outputs"] if output["output_type"] == "error"]
        if failed:
            raise RenderError(f"{notebook}: code cell {number} ended with {failed[0]['ename']}: {failed[0]['evalue']}")
    title, _, rest = "".join(cells[0]["source"]).partition("\n") if cells else ("", "", "")
    if not title.startswith("# ") or cells[0]["cell_type"] != "markdown":
        raise RenderError(f"{notebook}: the first cell must be Markdown that begins with a title, `# ...`")
    cells[0]["source"] = rest.strip()
    for output in (output for cell in cells for output in cell.get("outputs", ())):
        if "text/html" in output.get("data", {}):
            table = "".join(output["data"]["text/html"])
            readable = re.sub(r"(?<=<th>)[^<]*", lambda name: name[0].replace("_", " "), table)
            output["data"]["text/html"] = readable
    cells.append({"cell_type": "markdown", "metadata": {}, "source": f"## All companion pages\n\n{links}"})
    with tempfile.TemporaryDirectory() as folder, artefacts.atomic(page) as temporary:
        (Path(folder) / notebook.name).write_text(json.dumps(content), encoding="utf-8")
        (Path(folder) / "before.html").write_text(BEFORE, encoding="utf-8")
        (Path(folder) / "after.html").write_text(AFTER, encoding="utf-8")
        defaults = {
            "from": "ipynb",
            "filters": [str(FILTER)],
            "metadata": {"title": title.removeprefix("# ").strip(), "lang": "en"},
            "css": [str(PAPER / "style.css")],
            "include-in-header": [str(PAPER / "head.html")],
            "include-before-body": ["before.html"],
            "include-after-body": ["after.html"],
            "html-math-method": {"method": "mathml"},
            "embed-resources": True,
        }
        convert(notebook.name, temporary, Path(folder), defaults)
