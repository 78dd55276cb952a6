"""Scripts executed as notebooks."""

import sys

import nbformat
import pytest

from pipeline import artefacts
from pipeline.render import notebook

GOOD = """# %% [markdown]
# # A title

# %%
import sys
from pipeline import glue
study = glue.study("analysis/good.py")
sys.executable

# %%
study.save({"n": glue.count(3)})
"""


def _run(fake, tmp_path, name, text):
    build, environment = fake
    script = tmp_path / f"{name}.py"
    script.write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        for variable, setting in environment.items():
            patch.setenv(variable, setting)
        notebook.run(script, build)
    return build.analysis / f"{name}.ipynb"


def test_a_script_runs_in_this_interpreter_and_twice_gives_the_same_bytes(fake, tmp_path):
    path = _run(fake, tmp_path, "good", GOOD)
    first = path.read_bytes()
    assert _run(fake, tmp_path, "good", GOOD).read_bytes() == first
    executed = nbformat.reads(first.decode(), as_version=4)
    nbformat.validate(executed)
    assert [cell.cell_type for cell in executed.cells] == ["markdown", "code", "code"]
    assert executed.cells[1].outputs[0].data["text/plain"] == repr(sys.executable)
    assert artefacts.read_json(path.with_suffix(".json")) == {"n": {"value": 3, "text": "3"}}


def test_a_failing_cell_is_shown_and_nothing_is_left(fake, tmp_path):
    _run(fake, tmp_path, "good", GOOD)
    with pytest.raises(notebook.NotebookError) as caught:
        _run(fake, tmp_path, "good", GOOD + "\n# %%\nsynapses = 3\nsynapses / 0\n")
    text = str(caught.value)
    assert "good.py failed" in text
    assert "synapses / 0" in text
    assert "ZeroDivisionError" in text
    assert "\x1b" not in text
    assert not (fake[0].analysis / "good.ipynb").exists()


def test_a_script_that_saves_nothing_is_an_error(fake, tmp_path):
    (fake[0].analysis).mkdir(exist_ok=True)
    (fake[0].analysis / "idle.json").write_text("{}")
    with pytest.raises(notebook.NotebookError, match=r"without writing .*idle\.json"):
        _run(fake, tmp_path, "idle", "# %%\n1 + 1\n")
    assert not (fake[0].analysis / "idle.ipynb").exists()
