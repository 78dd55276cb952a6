"""What each script of `analysis/`, `figures/` and `tables/` reads, and which of them the manuscript shows.

Scripts say what they read in their own code (`study.values("x")`, `study.build.patches`), and the manuscript says which
figures, tables and values it shows. Both are scanned here, so that neither is said a second time, to Make or to readers.
"""

import ast
import dataclasses
import functools
import re
from collections.abc import Container
from pathlib import Path

from pipeline.artefacts import REPOSITORY, Build

#: Folders of scripts, and the suffix of the file that each script writes last.
FOLDERS = {"analysis": "json", "figures": "png", "tables": "md"}

PAPER = REPOSITORY / "paper"

_INCLUDE = re.compile(r"{{< include (\S+) >}}")
_MADE = re.compile(r"\b(figures|tables)/(\w+)\.")
_VALUE = re.compile(r"{{< var (\w+)\.")

#: Methods of a study that read a store of the build, by the attribute of Build that holds it.
_READERS = {"patches": "patches", "predictions": "predictions"}


@dataclasses.dataclass(frozen=True)
class Reads:
    """What a script reads; `analyses` and `stores` of its own build, `of_edition` of the edition's where they differ."""

    analyses: frozenset[str]
    if_any: frozenset[str]  # analyses that it reads where an edition has them
    stores: frozenset[str]  # attributes of Build
    of_edition: frozenset[str]
    on_data: bool  # whether it is about a folder of real data beside an edition (`glue.study(..., on_data=True)`)


def scripts() -> list[Path]:
    """All scripts, as paths in the repository, sorted."""
    found = (path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.py"))
    return sorted(path.relative_to(REPOSITORY) for path in found if _opens_a_study(path))


@functools.cache
def reads(script: Path) -> Reads:
    """What `script`, a path in the repository, reads, from its own code."""
    analyses, if_any, of_edition, stores, on_data = set(), set(), set(), set(), False
    for node in ast.walk(_tree(REPOSITORY / script)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner in ("study.build", "study.edition.build"):
                stores.add(node.attr)
            elif owner in ("study", "study.edition") and node.attr in _READERS:
                stores.add(_READERS[node.attr])
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called == "glue.study":
            on_data |= any(keyword.arg == "on_data" for keyword in node.keywords)
        sets = {"study.values": analyses, "study.rows": analyses, "study.values_if_any": if_any}
        sets |= {"study.edition.values": of_edition, "study.edition.rows": of_edition}
        if called in sets:
            if not (node.args and isinstance(node.args[0], ast.Constant)):
                raise ValueError(f"{script}:{node.lineno}: {called} needs a literal name, from which Make learns of it")
            sets[called].add(node.args[0].value)
    return Reads(*(frozenset(found) for found in (analyses, if_any, stores, of_edition)), on_data)


def outputs_of(script: Path, build: Build, data: Path | None) -> Path:
    """The file of `script` whose presence says that it ran; `data` is the folder beside the edition, if any."""
    return scope(script, build, data).root / script.parent / f"{script.stem}.{FOLDERS[script.parent.name]}"


def scope(script: Path, build: Build, data: Path | None) -> Build:
    """The build that a script writes to: the edition's, or that of a folder of real data under it."""
    return build.on(data) if reads(script).on_data and data else build


def inputs(script: Path, build: Build, data: Path | None, shown: Container[str] = ()) -> list[Path]:
    """Files of the build that `script` reads, sorted; analyses that are read if any count where `shown` has them."""
    found, own = reads(script), scope(script, build, data)
    names = found.analyses | {name for name in found.if_any if name in shown}
    paths = {own.analysis / f"{name}.json" for name in names}
    paths |= {build.analysis / f"{name}.json" for name in found.of_edition}
    for store in found.stores:
        paths |= set(own.files_of(store) if store in ("transfer", "partners", "patches") else build.files_of(store))
    if data and "data" in _settings_read(script):
        paths |= set(data.glob("*.parquet"))
    return sorted(paths)


def literal_files(script: Path) -> list[Path]:
    """Files of the repository that `script` names in its code, such as a reference beside the analyses."""
    texts = {node.value for node in ast.walk(_tree(REPOSITORY / script)) if isinstance(node, ast.Constant)}
    named = (REPOSITORY / text for text in texts if isinstance(text, str) and "/" in text and "\n" not in text)
    return sorted(path for path in named if path.is_file() and path.suffix != ".py")


def shown(kind: str) -> dict[str, set[str]]:
    """`{folder: names}` of the scripts whose results the manuscript shows, for a kind of source, with all they read."""
    found: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for path in _sources(kind):
        text = path.read_text(encoding="utf-8")
        for folder, name in _MADE.findall(text):
            found[folder].add(name)
        found["analysis"] |= {name for name in _VALUE.findall(text) if (REPOSITORY / f"analysis/{name}.py").is_file()}
    waiting = [Path(folder, f"{name}.py") for folder, names in found.items() for name in names]
    while waiting:
        for name in reads(waiting.pop()).analyses - found["analysis"]:
            found["analysis"].add(name)
            waiting.append(Path("analysis", f"{name}.py"))
    return found


def manuscript_files() -> list[Path]:
    """Files that the page is made from beside the build's: the manuscript, and the renderer's templates."""
    render = REPOSITORY / "pipeline" / "render"
    return sorted(path for path in [*PAPER.rglob("*"), *render.glob("*.lua"), *render.glob("*.html")] if path.is_file())


def _sources(kind: str) -> set[Path]:
    """The manuscript of an edition: `index.qmd` and all that it includes, `edition/` being that of its source."""
    found, waiting = set(), [PAPER / "index.qmd"]
    while waiting:
        path = waiting.pop()
        found.add(path)
        for name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            included = PAPER / name.replace("edition/", f"editions/{kind}/", 1)
            if not name.startswith(("figures/", "tables/")) and included not in found:
                waiting.append(included)
    return found


@functools.cache
def _settings_read(script: Path) -> set[str]:
    nodes = ast.walk(_tree(REPOSITORY / script))
    return {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "study.config"}


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _opens_a_study(path: Path) -> bool:
    return any(isinstance(n, ast.Call) and ast.unparse(n.func) == "glue.study" for n in ast.walk(_tree(path)))
