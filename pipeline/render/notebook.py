"""Run a percent-format script of `analysis/` as a notebook and keep the executed notebook."""

import logging
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbclient
import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from pipeline import artefacts
from pipeline.errors import PipelineError

log = logging.getLogger("pipeline")

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookError(PipelineError):
    """A script that failed; the text shows the cell with its traceback, or names the file that was not written."""


class _ThisInterpreter(KernelSpecManager):
    """Starts the running Python as kernel, whichever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def run(script: Path, build: artefacts.Build) -> None:
    """Execute `script` in the repository's root, for the edition that the environment names (see `glue.study`).

    Writes `analysis/<script>.ipynb` of `build` atomically. The same results give the same bytes: nothing that changes
    from run to run (times, random cell ids) is kept. Raises NotebookError if a cell fails or if the script did not
    write `analysis/<script>.json`.
    """
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = nbformat.from_dict({})
    values = build.analysis / f"{script.stem}.json"
    values.unlink(missing_ok=True)  # so that a file found afterwards comes from this run

    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            kernel = AsyncKernelManager(
                kernel_spec_manager=_ThisInterpreter(),
                transport="ipc",  # sockets that only this user can open, instead of ports
                ip=f"{sockets}/socket",
            )
            client = nbclient.NotebookClient(
                notebook, km=kernel, timeout=None, record_timing=False, coalesce_streams=True
            )
            client.execute(cwd=str(artefacts.REPOSITORY), cleanup_kc=True)
    except nbclient.exceptions.CellExecutionError as error:
        raise NotebookError(f"{script} failed:\n{_ANSI.sub('', str(error))}") from None
    except nbclient.exceptions.DeadKernelError as error:
        raise NotebookError(f"{script}: its Python process died, most likely for lack of memory ({error})") from None
    if not values.is_file():
        raise NotebookError(f"{script} ended without writing {values}; its last cell must call study.save")
    notebook.metadata.pop("language_info", None)  # holds the interpreter's patch version
    artefacts.write_text(build.analysis / f"{script.stem}.ipynb", nbformat.writes(notebook) + "\n")
    log.info("%s: executed", script)
