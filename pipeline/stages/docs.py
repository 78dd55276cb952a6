"""The parts of README.md and docs/ that the code knows: what scripts read, stages and their options, Make's targets."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import click

from pipeline import artefacts, config, scripts
from pipeline.artefacts import REPOSITORY, Build
from pipeline.stages import command, commands

#: `<!-- generated: options predict -->` begins a part, `<!-- end -->` ends it.
_PART = re.compile(r"(<!-- generated: (\w+)([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
_TARGET = re.compile(r"^([a-z-]+):.*?## (.*)$", re.MULTILINE)


@command
def docs() -> None:
    """Write the generated parts of README.md and docs/ again; they stand between markers."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (new := generated(text)) != text:
            artefacts.write_text(path, new)
            print(f"{path.relative_to(REPOSITORY)}: written")


def pages() -> list[Path]:
    """README.md and the pages of docs/."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def generated(text: str) -> str:
    """A page with each part between markers replaced by what the code says now."""
    return _PART.sub(lambda part: part[1] + _PARTS[part[2]](*part[3].split()) + part[4], text)


def _shown(folder: str) -> str:
    """Figures or tables: what each shows, its script, what that reads, and the editions whose report shows it."""
    editions = {name: scripts.shown(config.load(edition)) for name, edition in _EDITIONS.items()}
    rows = []
    for script in _scripts(folder):
        shows = [name for name, found in editions.items() if script.stem in found[folder]]
        rows.append([_title(script), f"`{script}`", _read(script), ", ".join(shows) or "not in a report"])
    return _table(["what it shows", "script", "reads (for a script: what it wrote)", "report"], rows)


def _analyses() -> str:
    """Analyses: the question of each, its script, and what it reads."""
    rows = [[_title(script), f"`{script}`", _read(script)] for script in _scripts("analysis")]
    return _table(["analysis", "script", "reads"], rows)


def _stages() -> str:
    """All stages, with the first paragraph of their help."""
    rows = [[f"`{name}`", _line(stage.short_help or "")] for name, stage in sorted(commands.commands.items())]
    return _table(["stage", "what it does"], rows)


def _options(stage: str) -> str:
    """The options of one stage."""
    options = [option for option in commands.commands[stage].params if isinstance(option, click.Option)]
    rows = [[f"`{found.opts[0]}`", _line(found.help or ""), "yes" if found.required else ""] for found in options]
    return _table(["option", "meaning", "required"], rows)


def _failures() -> str:
    """What the sandbox can be told to fail with."""
    from pipeline.cave import failures  # imports Flask, which other stages need not wait for

    return _table(["what", "what happens"], [[f"`{name}`", _line(what)] for name, what in failures.KINDS.items()])


def _targets() -> str:
    """Make's targets, from the comments that `make help` prints."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    return _table(
        ["command", "what it makes"], [[f"`make {name}`", _line(what)] for name, what in _TARGET.findall(makefile)]
    )


#: Kinds of sources that have a manuscript, by the name that readers know.
_EDITIONS = {"simulated": "demo", "minnie65": "minnie65"}

_PARTS: dict[str, Callable[..., str]] = {
    "shown": _shown,
    "analyses": _analyses,
    "stages": _stages,
    "options": _options,
    "failures": _failures,
    "targets": _targets,
}


def _scripts(folder: str) -> list[Path]:
    return [script for script in scripts.scripts() if script.parent.name == folder]


def _read(script: Path) -> str:
    """Analyses, files of a build (as paths in `build/<config>/`) and of the repository that a script reads."""
    found, build = scripts.reads(script), Build("<config>")
    analyses = [f"analysis/{name}.py" for name in sorted(found.analyses | found.if_any | found.of_edition)]
    stores = [getattr(build, store) for store in found.stores | found.edition_stores if build.files_of(store)]
    paths = {(store("<name>") if callable(store) else store).relative_to(build.root) for store in stores}
    whole = [path for path in sorted(paths) if path.parent not in paths]
    made = [f"{path}{'' if path.suffix else '/'}" for path in whole]
    files = [str(path.relative_to(REPOSITORY)) for path in scripts.literal_files(script)]
    folder = ["the folder `DATA`"] if found.on_data or "data" in found.settings else []
    return ", ".join([*(f"`{name}`" for name in analyses + made + files), *folder])


def _title(script: Path) -> str:
    """What a script says it shows: the first line of its docstring, or of a notebook its title."""
    text = (REPOSITORY / script).read_text(encoding="utf-8")
    heading = re.search(r"^# # (.+)$", text, re.MULTILINE)
    docstring = ast.get_docstring(ast.parse(text)) or (heading[1] if heading else "")
    return _line(docstring.partition("\n")[0])


def _line(text: str) -> str:
    """A text as a cell of a table: one line, with no full stop and nothing that Markdown would read as a tag."""
    prose = re.sub(r"(?<!\.)\.$", "", " ".join(text.split()))
    return re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", prose)


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, ["---"] * len(head), *rows])
