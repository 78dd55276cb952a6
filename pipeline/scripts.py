"""What each script of `analysis/`, `figures/` and `tables/` reads, and which of them the manuscript shows.

Scripts say what they read in their own code (`study.values("x")`, `study.build.patches`), and the manuscript says which
figures, tables and values it shows. Both are scanned here, so that neither is said twice, to Make or to readers.
"""

import ast
import dataclasses
import functools
import re
from pathlib import Path

from pipeline.artefacts import REPOSITORY, Build
from pipeline.config import Config

#: Folders of scripts, and the suffix of the file that each script writes last.
FOLDERS = {"analysis": "json", "figures": "png", "tables": "md"}

PAPER = REPOSITORY / "paper"

_INCLUDE = re.compile(r"{{< include (\S+) >}}")
_MADE = re.compile(r"\b(figures|tables)/(\w+)\.")
_VALUE = re.compile(r"{{< var (\w+)\.")


@dataclasses.dataclass(frozen=True)
class Reads:
    """What a script reads, and where it belongs."""

    analyses: frozenset[str]
    if_any: frozenset[str]  # analyses that it reads where an edition has them
    stores: frozenset[str]  # attributes of Build
    of_edition: frozenset[str]  # analyses of the edition, of a script that is about a folder beside it
    edition_stores: frozenset[str]  # stores likewise
    settings: frozenset[str]  # sections of the configuration that it names itself
    on_data: bool  # whether it is about a folder of real data beside an edition (`glue.study(..., on_data=True)`)


def scripts() -> list[Path]:
    """All scripts, as paths in the repository, sorted."""
    found = (path for folder in FOLDERS for path in (REPOSITORY / folder).glob("*.py"))
    return sorted(path.relative_to(REPOSITORY) for path in found if _opens_a_study(path))


@functools.cache
def reads(script: Path) -> Reads:
    """What `script`, a path in the repository, reads, from its own code."""
    named: dict[str, set[str]] = {field.name: set() for field in dataclasses.fields(Reads)}
    called = {
        "study.values": "analyses",
        "study.rows": "analyses",
        "study.values_if_any": "if_any",
        "study.edition.values": "of_edition",
        "study.edition.rows": "of_edition",
    }
    owners = {
        "study.build": "stores",
        "study": "stores",
        "study.edition.build": "edition_stores",
        "study.edition": "edition_stores",
        "study.config": "settings",
    }
    on_data = False
    for node in ast.walk(_tree(REPOSITORY / script)):
        if isinstance(node, ast.Attribute) and (owner := ast.unparse(node.value)) in owners:
            named[owners[owner]].add(node.attr)
        elif isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            on_data |= function == "glue.study" and any(keyword.arg == "on_data" for keyword in node.keywords)
            if function in called:
                if not (node.args and isinstance(node.args[0], ast.Constant)):
                    raise ValueError(f"{script}:{node.lineno}: {function} needs a literal name, for Make to know of it")
                named[called[function]].add(str(node.args[0].value))
    return Reads(**{name: frozenset(found) for name, found in named.items() if name != "on_data"}, on_data=on_data)


def scope(script: Path, edition: Config, build: Build) -> Build:
    """The build that a script writes to: the edition's, or that of the folder of real data beside it."""
    return build.on(edition.data) if reads(script).on_data and edition.data else build


def made_by(script: Path, build: Build) -> Path:
    """The file in `build`, its scope, whose presence says that `script` ran."""
    return build.root / script.parent / f"{script.stem}.{FOLDERS[script.parent.name]}"


def prerequisites(script: Path, edition: Config, build: Build) -> list[Path]:
    """Files that stand, for Make, for all that `script` reads: its prerequisites beside its key."""
    found, own = reads(script), scope(script, edition, build)
    names = found.analyses | (found.if_any & shown(edition)["analysis"])
    paths = {own.analysis / f"{name}.json" for name in names}
    paths |= {build.analysis / f"{name}.json" for name in found.of_edition}
    paths |= {path for store in found.stores for path in own.files_of(store)}
    paths |= {path for store in found.edition_stores for path in build.files_of(store)}
    if edition.data and "data" in found.settings:
        paths |= set(edition.data.glob("*.parquet"))
    return sorted(paths)


def inputs(script: Path, edition: Config, build: Build) -> list[Path]:
    """All files of the build that `script` reads: the tables of an analysis come with its values."""
    paths = prerequisites(script, edition, build)
    tables = {
        table
        for path in paths
        if path.parent.name == "analysis"
        for table in path.parent.glob(f"{path.stem}.*.parquet")
    }
    return sorted({*paths, *tables})


def literal_files(script: Path) -> list[Path]:
    """Files of the repository that `script` names in its code, such as a reference beside the analyses."""
    texts = {node.value for node in ast.walk(_tree(REPOSITORY / script)) if isinstance(node, ast.Constant)}
    named = (REPOSITORY / text for text in texts if isinstance(text, str) and "/" in text and "\n" not in text)
    return sorted(path for path in named if path.is_file() and path.suffix != ".py")


def manuscript(edition: Config) -> list[Path]:
    """Folders of `paper/editions` that `edition/` stands for in the manuscript; files of later ones take precedence."""
    names: list[str] = [edition.source.kind]
    if edition.source.kind == "simulated" and not edition.partners.networks:
        names.append("without_partners")
    return [path for name in names if (path := PAPER / "editions" / name).is_dir()]


def shown(edition: Config) -> dict[str, set[str]]:
    """`{folder: names}` of the scripts whose results the manuscript shows, with all that they read, if it has one."""
    return _shown(tuple(manuscript(edition)))


@functools.cache
def _shown(layers: tuple[Path, ...]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {folder: set() for folder in FOLDERS}
    for path in _sources(layers) if layers else ():
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


def files_of(stage: str) -> list[Path]:
    """Files that a stage reads beside the build's, such as the manuscript and templates."""
    render = REPOSITORY / "pipeline" / "render"
    found = {
        "page": [*PAPER.rglob("*"), *render.glob("[!c]*.lua"), *render.glob("*.typ"), REPOSITORY / "CITATION.cff"],
        "companion": [
            *(PAPER / name for name in ("style.css", "head.html")),
            render / "companion.lua",
            *(PAPER / "editions").glob("*/companions.md"),
        ],
        "queue": render.glob("*.html"),
    }
    return sorted(path for path in found.get(stage, ()) if path.is_file())


def _sources(layers: tuple[Path, ...]) -> set[Path]:
    """`index.qmd` and all that it includes, `edition/` being the last of `layers` that has the file."""
    found, waiting = set(), [PAPER / "index.qmd"]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            if not name.startswith(("figures/", "tables/")):
                own = [path for layer in layers if (path := layer / name.removeprefix("edition/")).is_file()]
                waiting.append(own[-1] if name.startswith("edition/") else PAPER / name)
    return found


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _opens_a_study(path: Path) -> bool:
    return any(isinstance(n, ast.Call) and ast.unparse(n.func) == "glue.study" for n in ast.walk(_tree(path)))
