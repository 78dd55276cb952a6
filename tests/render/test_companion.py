"""An executed notebook becomes a companion page; one that did not run, or failed, is refused by cell."""

import base64
import re

import nbformat.v4
import pandas as pd
import pytest

from pipeline import artefacts, glue
from pipeline.render import companion
from pipeline.render.pandoc import RenderError


def executed(outputs=(), count=1, source="print('one')", title="# Cohort\n\nWhat *this* page counts, $x^2$."):
    cells = [
        nbformat.v4.new_markdown_cell(title),
        nbformat.v4.new_code_cell(source, execution_count=count, outputs=list(outputs)),
        nbformat.v4.new_markdown_cell("## Part\n\nText."),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=cells, metadata=kernel)


@pytest.fixture
def render(tmp_path):
    def run(notebook):
        path = tmp_path / "cohort.ipynb"
        artefacts.write_text(path, nbformat.writes(notebook))
        companion.render(path, tmp_path / "site" / "cohort.html", "- [Performance](performance.html)")
        return (tmp_path / "site" / "cohort.html").read_text(encoding="utf-8")

    return run


def test_code_outputs_tables_and_pictures_are_on_the_page(render, png_bytes):
    table = "<table><thead><tr><th>n_synapses</th></tr></thead><tbody><tr><td>287</td></tr></tbody></table>"
    picture = base64.b64encode(png_bytes).decode()
    outputs = [
        nbformat.v4.new_output("stream", name="stdout", text="one\n"),
        nbformat.v4.new_output("execute_result", {"text/html": table, "text/plain": "287"}, execution_count=1),
        nbformat.v4.new_output("display_data", {"image/png": picture, "text/plain": "<Figure>"}),
    ]
    page = render(executed(outputs))
    assert '<h1 class="title">Cohort</h1>' in page
    assert "<em>this</em>" in page
    assert "<math" in page
    assert '<h2 id="part">Part</h2>' in page
    assert "print" in page
    assert "<td>287</td>" in page
    assert f"data:image/png;base64,{picture}" in page
    assert '<a href="index.html">' in page
    assert '<a href="performance.html">Performance</a>' in page


def test_code_is_folded_and_results_are_not(render):
    outputs = [nbformat.v4.new_output("stream", name="stdout", text="a result\n")]
    page = render(executed(outputs))
    folds = re.findall(r"<details>.*?</details>", page, re.DOTALL)
    assert len(folds) == 1
    assert "<summary>Code</summary>" in folds[0]
    assert "print" in folds[0]
    assert "a result" not in folds[0]


def test_tables_have_readable_names_and_rounded_numbers(render):
    assert pd.options.display.float_format, f"{glue.__name__} says how notebooks write numbers"
    table = pd.DataFrame({"pre_neuron_id": [7], "share_low": [0.123456789], "n": [123456.7]}, index=["roc_auc"])
    html = {"text/html": table.to_html(), "text/plain": ""}
    page = render(executed([nbformat.v4.new_output("execute_result", html, execution_count=1)]))
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", page)
    assert [cell for cell in cells if cell] == ["pre neuron id", "share low", "n", "roc auc", "7", "0.1235", "123,457"]


@pytest.mark.parametrize(
    ("notebook", "message"),
    [
        (executed(count=None), "cohort.ipynb: code cell 2 was not run"),
        (
            executed([nbformat.v4.new_output("error", ename="KeyError", evalue="'x'", traceback=[])]),
            "cohort.ipynb: code cell 2 ended with KeyError: 'x'",
        ),
        (executed(title="No heading"), "cohort.ipynb: the first cell must be Markdown that begins with a title"),
    ],
)
def test_a_notebook_that_cannot_be_trusted_is_refused(render, tmp_path, notebook, message):
    render(executed())
    before = (tmp_path / "site" / "cohort.html").read_bytes()
    with pytest.raises(RenderError, match=message):
        render(notebook)
    assert (tmp_path / "site" / "cohort.html").read_bytes() == before


def test_a_page_that_would_load_something_is_refused(render):
    outputs = [nbformat.v4.new_output("display_data", {"text/html": '<iframe src="https://example.org"></iframe>'})]
    with pytest.raises(RenderError, match="cannot be rendered|is not self-contained"):
        render(executed(outputs))
