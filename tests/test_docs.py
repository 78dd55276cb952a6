"""README.md and docs/: every command, path, link, setting and error text in them is one that exists."""

import ast
import contextlib
import os
import re
import shlex
import socket
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import click
import distributed
import pandas as pd
import pytest
import yaml

from pipeline import __main__, artefacts, compute, config, stages
from pipeline.artefacts import REPOSITORY
from pipeline.partners import assign

stages.load()
from pipeline.stages import docs  # noqa: E402 (the stages above are what it describes)
from pipeline.stages import tune as tuning  # noqa: E402

PAGES = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in docs.pages()}
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
FOLDERS = {path.name for path in REPOSITORY.iterdir() if path.is_dir()} - {"build", ".venv"}
SIMULATED = {"source": {"kind": "simulated"}}

each_page = pytest.mark.parametrize("page", PAGES)


def blocks(page, language):
    """The code blocks of a page in a language."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for text in found]


def inline(page):
    """What stands between single backticks outside of code blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL))


def commands(page, program):
    """`[[argument, ...], ...]` of each call of a program in a page, in blocks and in sentences."""
    lines = [*"\n".join(blocks(page, "sh")).splitlines(), *inline(page)]
    split = [shlex.split(line, comments=True) for line in lines if line.startswith(f"{program} ")]
    return [words[len(program.split()) :] for words in split]


def created(page):
    """Scripts that the page has its reader write."""
    return set(re.findall(r'glue\.study\("(.+?)"\)', "\n".join(blocks(page, "python"))))


@each_page
def test_generated_parts_are_what_the_code_says(page):
    assert docs.generated(PAGES[page]) == PAGES[page], "run `python -m pipeline docs`"


@each_page
def test_targets_and_variables_of_make_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    variables = set(re.findall(r"^([A-Z_]+) *\?=", MAKEFILE, re.MULTILINE))
    for word in [word for arguments in commands(page, "make") for word in arguments if word != "-n"]:
        name, is_variable, value = word.partition("=")
        if is_variable:
            assert name in variables, word
            if name == "CONFIG":
                assert value.endswith(".yaml") or config.load(value), word
        elif "/" in word:
            assert (REPOSITORY / f"{word}.py").is_file() or f"{word}.py" in created(page), word
        else:
            assert word in targets, word


@each_page
def test_stages_are_called_as_they_can_be(page):
    for name, *arguments in commands(page, ".venv/bin/python -m pipeline"):
        with contextlib.suppress(click.exceptions.Exit):  # of --help
            stages.commands.commands[name].make_context(name, arguments)


@each_page
def test_links_and_paths_lead_somewhere(page):
    folder = (REPOSITORY / page).parent
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert target.startswith("https://") or (folder / target).exists(), target
    for words in commands(page, ".venv/bin/python"):
        assert words[0] == "-m" or (REPOSITORY / words[0]).is_file() or words[0] in created(page), words
    for text in inline(page):
        is_path = re.fullmatch(r"[\w.-]+/[\w./-]*", text) and text.partition("/")[0] in FOLDERS
        assert not is_path or (REPOSITORY / text).exists() or text in created(page), text


@each_page
def test_settings_are_valid(page, tmp_path):
    editions = [yaml.safe_load(text) for text in blocks(page, "yaml")]
    for text in inline(page):
        key, is_setting, _ = text.partition(": ")
        if is_setting and key in config.Config.model_fields:
            editions.append(SIMULATED | yaml.safe_load(text))
        elif is_setting and key in config.Model.model_fields:
            editions.append(SIMULATED | {"models": [{"name": "a", "network": "resnet18"} | yaml.safe_load(text)]})
    for edition in editions:
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(edition))
        config.load(path)


def _texts():
    """String literals of the code and lines of the Makefile, with `…` where a value is filled in."""
    for path in (REPOSITORY / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield from MAKEFILE.splitlines()


def test_error_texts_are_those_of_the_code():
    texts = list(_texts())
    rows = re.findall(r"^\| (`.+?) \|", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(rows) > 30
    for wanted in [text for row in rows for text in re.findall(r"`(.+?)`", row)]:
        pattern = re.compile(".*".join(map(re.escape, wanted.split("…"))), re.DOTALL)
        assert any(pattern.search(text) for text in texts), wanted


def test_outcomes_of_partner_assignment_are_all_explained():
    table = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGES["docs/own-clefts.md"].split("| outcome |")[1], re.MULTILINE)
    assert {name for row in table for name in re.findall(r"`(\w+)`", row)} == {*assign.ASSIGNED, *assign.NO_PAIR}


# --- The examples, run ----------------------------------------------------------------------------------------------


def run_examples(page):
    """The tables that the calls of `--out` in a page wrote, in order."""
    tables = []
    for arguments in commands(page, ".venv/bin/python -m pipeline"):
        assert __main__.main(arguments) == 0
        tables.append(pd.read_parquet(arguments[arguments.index("--out") + 1]))
    return tables


def test_synapses_of_a_folder_are_classified_as_the_page_says(my_tissue):
    (found,) = run_examples("docs/own-synapses.md")
    assert found["synapse_id"].tolist() == [1]
    assert found["p_excitatory"].between(0, 1).all()


def test_a_network_is_tuned_on_labels_and_applied_as_the_page_says(my_tissue, monkeypatch):
    """One epoch, on noise: the files are those that the page lists."""
    of_card = tuning.settings_of
    monkeypatch.setattr(tuning, "settings_of", lambda *card: of_card(*card).model_copy(update={"epochs": 1}))
    rows = [f"{n},{60 + 3 * n},{90 - 2 * n},20,{('excitatory', 'inhibitory')[n % 2]},{n}" for n in range(12)]
    text = "\n".join(["synapse_id,x_vx,y_vx,z_vx,cell_type,axon_id", *rows])
    (my_tissue / "my_tissue" / "labelled.csv").write_text(text)
    for arguments in commands("docs/tuning.md", ".venv/bin/python -m pipeline"):
        assert __main__.main(arguments) == 0
    rows = re.findall(r"^\| `(\S+?)`", PAGES["docs/tuning.md"].split("| in `my_tissue/tuned` |")[1], re.MULTILINE)
    made = {path.name for path in (my_tissue / "my_tissue" / "tuned").iterdir()}
    assert {name.rstrip("/") for name in rows} <= made <= {*(name.rstrip("/") for name in rows), "fold1", "fold2"}
    assert pd.read_parquet("tuned.parquet")["synapse_id"].tolist() == [1]


def test_the_readme_shows_an_example_that_is_run():
    program = ".venv/bin/python -m pipeline"
    assert commands("README.md", program) == commands("docs/own-synapses.md", program)


def test_clefts_of_a_folder_get_partners_as_the_page_says(my_tissue):
    for found in run_examples("docs/own-clefts.md"):
        assert found["synapse_id"].tolist() == [1]
        assert set(found.loc[0, ["pre_segment_id", "post_segment_id"]]) == {2**63 + 1, 7}
        assert found["outcome"].isin(assign.ASSIGNED).all()


def test_the_figure_of_the_page_can_be_drawn(tmp_path):
    (code,) = blocks("docs/adding-a-figure.md", "python")
    script = tmp_path / "spread.py"
    script.write_text(code)
    build = artefacts.Build("demo", tmp_path)
    artefacts.write_json(build.analysis / "performance.json", {"n_test_synapses": {"value": 3, "text": "3"}})
    artefacts.write_parquet(build.analysis / "performance.neurons.parquet", pd.DataFrame({"synapses": [1, 2]}))
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "figures")])
    environment = os.environ | {"PYTHONPATH": paths, "SYNAPSE_EI_CONFIG": "demo", "SYNAPSE_EI_BUILD": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "3 in all" in (build.figures / "spread.caption.md").read_text()


#: What the page asks of Slurm, all of which dask-jobqueue 0.9 takes.
SLURM_OPTIONS = {"account", "cores", "processes", "memory", "walltime", "worker_extra_args", "job_script_prologue"}


def test_a_cluster_does_the_work_as_the_page_says(monkeypatch):
    """With a stand-in for Slurm: its workers come when there is work, on a scheduler that listens as the page says."""
    (code,), (edition,) = blocks("docs/cluster.md", "python"), blocks("docs/cluster.md", "yaml")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = config.Compute(**yaml.safe_load(edition.replace("8786", str(port)))["compute"])

    class Cluster(distributed.LocalCluster):
        def __init__(self, *, scheduler_options, **of_slurm):
            assert set(of_slurm) == SLURM_OPTIONS
            worker = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "protocol": "tcp"}
            super().__init__(
                **worker, host="127.0.0.1", scheduler_port=scheduler_options["port"], dashboard_address=":0"
            )

        def adapt(self, maximum_jobs):
            super().adapt(maximum=2)

    def run(command, **options):
        if command[0] != "make":
            return real(command, **options)
        with compute.workers(settings) as client:
            return found.extend(compute.run(client, abs, range(-20, 0), "work"))

    found, real = [], subprocess.run
    monkeypatch.setitem(sys.modules, "dask_jobqueue", SimpleNamespace(SLURMCluster=Cluster))
    monkeypatch.setattr(subprocess, "run", run)
    exec(code.replace("8786", str(port)))
    assert sorted(found) == list(range(1, 21))
