"""Wiring: a module a group of stages of `python -m pipeline`, and the only place where the packages meet.

A stage is a command; a step is one run of it, which makes one artefact and leaves one provenance record. Imports are
inside the functions, so that training on a bare GPU machine never needs caveclient or cloud-volume. The code that a
step depends on is what its module imports: modules are divided so that an edit redoes what it can change, and no more.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from pipeline import artefacts, config, freshness, locks
from pipeline.artefacts import Build
from pipeline.errors import PipelineError

#: What a script of `analysis/`, `figures/` or `tables/` may read of the settings: all but where work is done.
ALL = tuple(name for name in config.Config.model_fields if name not in ("compute", "data", "seed"))


PRETRAINED = artefacts.REPOSITORY / "pretrained"


class StageError(PipelineError):
    """A stage that cannot run as asked; the text says what to do."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage declares of itself: where its code begins and which part of the settings it reads."""

    name: str
    entry: Path
    settings: tuple[str, ...]

    def key(self, edition: config.Config, script: Path | None = None, files: Iterable[Path] = ()) -> dict[str, Any]:
        """All that a step of it depends on beside its inputs (see `freshness.key`); `script` is one that it runs."""
        names = {"seed", *self.settings} | ({"data"} if edition.reads_folder else set())
        own = freshness.key(self.entry, {name: _setting(edition, name) for name in names}, files)
        return own | {"script": freshness.key(script, None)["code"]} if script else own


def _setting(edition: config.Config, name: str) -> Any:
    """The value of `section` or `section.key`, as JSON has it; a path as the absolute one that it stands for."""
    if name == "data":
        return str(edition.data.resolve()) if edition.data else None
    values: Any = edition.model_dump(mode="json")
    for part in name.split("."):
        values = values and values[part]
    return values


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of a stage: the edition, and its build tree."""

    stage: Stage
    config: config.Config
    build: Build

    @property
    def data(self) -> Path:
        """The folder of real data that the command line names; StageError where it names none."""
        if self.config.data is None:
            raise StageError(f"`{self.stage.name}` reads a folder of real data: `make ... DATA=<folder>` or `--data`")
        return self.config.data

    @contextlib.contextmanager
    def step(
        self,
        inputs: Iterable[Path],
        outputs: Iterable[Path],
        shown: str | Path,
        name: str | None = None,
        script: Path | None = None,
        files: Iterable[Path] = (),
        settings: dict[str, Any] | None = None,
        build: Build | None = None,
        divides: bool = False,
    ) -> Iterator[artefacts.Step]:
        """`artefacts.step` under this stage's key; `shown` is the file that a reviewer should open.

        `name` is the stage's where it makes a single artefact; `settings` replace what of the settings this artefact
        depends on, where that is less than the stage reads, or an argument of the command line; `build` is the tree
        that it belongs to, where that is one of a folder beside the edition. StageError where an input is missing,
        LockError where another process makes the same artefact, unless the step `divides` its work with others.
        """
        inputs = list(inputs)
        if missing := [path for path in inputs if not Path(path).exists()]:
            what, more = name or self.stage.name, f" (nor do {len(missing) - 1} more)" if missing[1:] else ""
            advice = ": `make` builds what a step needs" if self.build.root in Path(missing[0]).parents else ""
            raise StageError(f"{what} needs {missing[0]}, which does not exist{more}{advice}")
        key = self.stage.key(self.config, script, files)
        narrowed = key | {"settings": key["settings"] | (settings or {})}
        tree, name = build or self.build, name or self.stage.name
        step = artefacts.step(tree, name, shown, narrowed, inputs, outputs)
        alone = contextlib.nullcontext() if divides else locks.locked(tree.root / "locks" / name)
        with alone, step as running:
            running.facts["stage_key_hash"] = artefacts.key_hash(key)  # what `plan` compares Make's key file with
            yield running


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def commands() -> None:
    """Every step that the Makefile runs, and the commands for one's own data."""


def stage(settings: tuple[str, ...] | None = None) -> Callable:
    """Makes a function `(run: Run, ...)` a command of the same name, for the edition that the command line names.

    `settings` are the sections, or `section.key`, that its steps depend on; None where it has no steps. Processes that
    the stage starts find the edition in their environment, as `glue.study` does.
    """

    def register(function: Callable) -> Callable:
        name = function.__name__.replace("_", "-")
        found = Stage(name, Path(inspect.getfile(function)), settings or ())

        @click.option(
            "--config", "edition", envvar="SYNAPSE_EI_CONFIG", default="demo", show_default=True,
            help="Name in pipeline/configs, or a YAML file.",
        )  # fmt: skip
        @click.option("--data", envvar="SYNAPSE_EI_DATA", type=Path, help="Folder of real data, where one is read.")
        @click.option(
            "--build", envvar="SYNAPSE_EI_BUILD", type=Path, default="build", show_default=True,
            help="Root of what is made.",
        )  # fmt: skip
        @functools.wraps(function)
        def call(edition: str, data: Path | None, build: Path, **arguments: Any) -> None:
            os.environ |= {"SYNAPSE_EI_CONFIG": edition, "SYNAPSE_EI_BUILD": str(build)}
            os.environ |= {"SYNAPSE_EI_DATA": str(data)} if data else {}
            loaded = config.load(edition, data)
            function(Run(found, loaded, Build(loaded.name, build)), **arguments)

        if settings is not None:
            STAGES[name] = found
        return commands.command(name, **_help(function))(call)

    return register


#: All stages that have steps, by name.
STAGES: dict[str, Stage] = {}


def command(function: Callable) -> Callable:
    """Makes a function a command that needs no edition."""
    return commands.command(function.__name__.replace("_", "-"), **_help(function))(function)


def load() -> None:
    """Import every stage module, so that `commands` and `STAGES` are complete."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def _help(function: Callable) -> dict[str, str]:
    text = inspect.cleandoc(function.__doc__ or "")
    return {"help": text, "short_help": text.partition("\n\n")[0]}
