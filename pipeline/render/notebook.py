"""Run a percent-format script of `analysis/` as a notebook, and keep the executed notebook."""

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

log = logging.getLogger("pipeline")

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class NotebookError(RuntimeError):
    """A script that failed; the text holds the cell and its traceback, or says what it did not write."""


class _ThisInterpreter(KernelSpecManager):
    """The kernel is this very Python, whatever kernels the user has installed."""

    def get_kernel_spec(self, kernel_name):
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


def run(script, build):
    """Execute `script` in the repository's root, for the edition that the environment names (see `glue.study`).

    Writes `analysis/<script>.ipynb` of `build` (an `artefacts.Build`) atomically; the same results give the same
    bytes, for nothing that changes from run to run (times, random cell ids) is kept. Raises NotebookError
    if a cell fails, or if the script did not write `analysis/<script>.json`.
    """
    script = Path(script)
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell["metadata"] = nbformat.from_dict({})
    values = build.analysis / f"{script.stem}.json"
    values.unlink(missing_ok=True)  # so that one found afterwards is this run's

    try:
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            kernel = AsyncKernelManager(
                kernel_spec_manager=_ThisInterpreter(),
                transport="ipc",  # files that only this user can open, and no port
                ip=f"{sockets}/socket",
            )
            client = nbclient.NotebookClient(
                notebook, km=kernel, timeout=None, record_timing=False, coalesce_streams=True
            )
            client.execute(cwd=str(artefacts.REPOSITORY), cleanup_kc=True)
    except nbclient.exceptions.CellExecutionError as error:
        raise NotebookError(f"{script} failed:\n{_ANSI.sub('', str(error))}") from None
    except nbclient.exceptions.DeadKernelError as error:
        raise NotebookError(f"{script}: its Python process died, most likely for want of memory ({error})") from None
    if not values.is_file():
        raise NotebookError(f"{script} ended without writing {values}; its last cell must call study.save")
    notebook.metadata.pop("language_info", None)  # names the interpreter's patch version
    artefacts.write_text(build.analysis / f"{script.stem}.ipynb", nbformat.writes(notebook) + "\n")
    log.info("%s: executed", script)
