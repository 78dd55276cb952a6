"""What a step depends on beside its input files: the content of its code and of its part of the settings.

The code of a step is the import closure of the file that it enters by, read from the import statements at any depth.
Modules are compared by their syntax tree without docstrings, so that neither a comment nor a checkout makes a step run
again; scripts of `analysis/` are shown to readers as they are written, and compared so.
"""

import ast
import contextlib
import functools
import hashlib
import json
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pipeline.artefacts import REPOSITORY, read_json, write_json

_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def key(entry: Path, settings: Any, files: Iterable[Path] = ()) -> dict[str, Any]:
    """All that a step depends on beside its inputs, as JSON; `files` are read as they are (templates, manuscript)."""
    return {
        "code": {_name(path): digest(path) for path in closure(entry)},
        "files": {_name(path): _sha256(path.read_bytes()) for path in sorted(files)},
        "settings": settings,
        "packages": packages(),
    }


def code_hash(entry: Path) -> str:
    """One digest of the code that `entry` is and imports."""
    digests = {_name(path): digest(path) for path in closure(entry)}
    return _sha256(json.dumps(digests, sort_keys=True).encode())


def closure(entry: Path) -> list[Path]:
    """`entry` and the files of this repository that it imports, directly or not, sorted."""
    return list(_closure(Path(entry).resolve()))


@functools.cache
def _closure(entry: Path) -> tuple[Path, ...]:
    found, waiting = set(), [entry]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting.extend(_imported(path))
    return tuple(sorted(found))


def digest(path: Path) -> str:
    """Digest of a Python file: of its syntax tree, of a script of `analysis/` of its text."""
    return _sha256(path.read_bytes()) if path.parent == REPOSITORY / "analysis" else parsed(path, _parse)[0]


@functools.cache
def _imported(path: Path) -> tuple[Path, ...]:
    bases = (REPOSITORY, path.parent)
    ours = ((base, name) for name in parsed(path, _parse)[1] for base in bases if _holds(base, name.partition(".")[0]))
    stems = (base.joinpath(*name.split(".")) for base, name in ours)
    files = (file for stem in stems for file in (stem.with_suffix(".py"), stem / "__init__.py"))
    return tuple(sorted({file for file in files if file.is_file()}))


@functools.cache
def _holds(folder: Path, name: str) -> bool:
    """Whether a folder has a module or package of that name: most imports are of other software."""
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


#: What was parsed before, by content: parsing all of the code takes longer than the rest of what Make asks each time.
_MEMORY = Path(__file__).parent / "__pycache__" / "freshness.json"
_used: dict[str, Any] = {}


def remember() -> None:
    """Keep what this process parsed for the next one, where the folder can be written."""
    with contextlib.suppress(OSError):
        write_json(_MEMORY, _used)


@functools.cache
def _remembered() -> dict[str, Any]:
    try:
        return read_json(_MEMORY)
    except (OSError, ValueError):
        return {}


@functools.cache
def parsed(path: Path, parse: Callable[[bytes], Any]) -> Any:
    """`parse` of a file's content, which gives JSON; what an earlier process remembered of the same is not done again.

    `parse` is a function of a module, and depends on nothing but the code of that module.
    """
    content = path.read_bytes()
    state = _sha256(f"{sys.version} {_sha256(Path(parse.__code__.co_filename).read_bytes())}".encode() + content)
    _used[state] = _remembered().get(state) or parse(content)
    return _used[state]


def _parse(content: bytes) -> list[Any]:
    """`[digest of the syntax tree without docstrings, dotted names that it imports]` of a Python file."""
    tree = ast.parse(content)
    names = sorted(set(_names(tree)))
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return [_sha256(ast.dump(tree).encode()), names]


def _names(tree: ast.AST) -> Iterator[str]:
    """Dotted names that may be modules: what is imported, each package on the way, and what is imported from it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in full:
            parts = name.split(".")
            yield from (".".join(parts[:n]) for n in range(1, len(parts) + 1))


@functools.cache
def packages() -> str:
    """Digest of the pinned packages that this project runs on, those of its tests excluded."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return _sha256("\n".join(sorted(project["dependencies"])).encode())


@functools.cache
def _name(path: Path) -> str:
    path = path.resolve()
    return str(path.relative_to(REPOSITORY)) if path.is_relative_to(REPOSITORY) else str(path)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
