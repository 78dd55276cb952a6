"""Where every file of a build lives, how it is written, and what is recorded about it.

Files are written beside their target and renamed, so that a reader or an interrupted `make` never meets half a file.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("pipeline")

REPOSITORY = Path(__file__).resolve().parent.parent


class Build:
    """The tree `build/<config>/`: one attribute or method per file of the design's contract."""

    def __init__(self, name: str, root: Path | str = "build"):
        self.root = Path(root) / name
        self.source = self.root / "source"
        self.cave = self.root / "cave"  # answers of the annotation service, see `pipeline.cave.pages`
        self.cohort = self.root / "cohort"
        self.synapses = self.cohort / "synapses.parquet"
        self.patches = self.root / "patches"
        self.models = self.root / "models.json"  # names of the trained models, written when all of them are
        self.partners = self.root / "partners"
        self.masks = self.partners / "masks"  # AVAN's, in the format of `patches`
        self.detected_clefts = self.partners / "clefts.zarr"  # those that `partners/volume.parquet` lists
        self.queue = self.partners / "queue"
        self.units = self.root / "faults" / "units"
        self.transfer = self.root / "transfer"
        self.analysis = self.root / "analysis"
        self.figures = self.root / "figures"
        self.tables = self.root / "tables"
        self.paper = self.root / "paper"
        self.site = self.root / "site"
        self.provenance = self.root / "provenance.json"

    def store(self, channel: str) -> Path:
        """The folder of a channel of the classifiers' images."""
        return {"em": self.patches, "presynaptic": self.masks}[channel]

    def run(self, model: str) -> Path:
        return self.root / "runs" / model

    def predictions(self, model: str) -> Path:
        return self.root / "predictions" / f"{model}.parquet"

    def record(self, step: str) -> Path:
        """Where the provenance of a step is."""
        return self.root / "provenance" / f"{step}.json"

    def key(self, step: str) -> Path:
        """What Make compares to know whether a step's settings or code changed."""
        return self.root / "keys" / f"{step}.json"

    def partner_run(self, network: str) -> Path:
        return self.partners / "runs" / network

    def on(self, data: Path | str) -> "Build":
        """The tree of what this edition's models make of a folder of real data, named by that folder."""
        return Build(Path(data).resolve().name, self.root / "real")

    def files_of(self, store: str) -> list[Path]:
        """The files whose presence says that `store`, an attribute of this class, is made."""
        manifest = "manifest.json"
        models = (
            [self.models, *(self.predictions(name) for name in read_json(self.models))]
            if self.models.is_file()
            else [self.models]
        )
        return {
            "source": [self.source / manifest],
            "cohort": [self.synapses],
            "synapses": [self.synapses],
            "patches": [self.patches / manifest],
            "predictions": models,
            "run": models,
            "models": models,
            "partners": [self.partners / "assignments.parquet"],
            "units": [self.units / "model.json"],
            "transfer": [self.transfer / "volume.json"],
        }.get(store, [])


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it replaces `path`, on an error it is removed.

    The temporary name keeps the suffix, for writers that choose a format by it. An unwritable folder or a full disk
    raises OSError that names the target.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        os.chmod(name, 0o644)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from None
    try:
        yield Path(name)
        os.replace(name, path)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}; nothing was changed") from error
    finally:
        Path(name).unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh temporary folder beside `path`; on success it replaces `path`, on an error it is removed."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        temporary.chmod(0o755)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from None
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as sorted, indented JSON, atomically; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_parquet(path: Path, table: "pd.DataFrame") -> None:
    """Write a DataFrame without its index, atomically."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False)


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a folder's relative names and contents in sorted order."""
    path = Path(path)
    digest = hashlib.sha256()
    if path.is_file():
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    for child in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(str(child.relative_to(path)).encode() + b"\0" + bytes.fromhex(sha256(child)))
    return digest.hexdigest()


@functools.cache
def commit() -> str:
    """The commit of this code, with "+changes" where files differ from it; "unknown" outside a repository."""
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout.strip()
    return head + ("+changes" if changed else "") or "unknown"


@functools.cache
def _surroundings() -> dict[str, Any]:
    """Commit, package versions and device of this process, for provenance."""
    packages = ("torch", "torchvision", "numpy", "pandas", "scikit-learn", "zarr", "cloud-volume", "caveclient")
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "commit": commit(),
        "packages": versions,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def key_hash(key: dict[str, Any]) -> str:
    """Digest of a step's key, as its provenance record holds it."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class Step:
    """One run of a stage that makes one artefact; see `step`."""

    def __init__(self, is_current: bool):
        self.is_current = is_current
        self.facts: dict[str, Any] = {}


@contextlib.contextmanager
def step(
    build: Build, name: str, script: Path | str, key: dict[str, Any], inputs: Iterable[Path], outputs: Iterable[Path]
) -> Iterator[Step]:
    """Do the work of a step unless it was done before: from the same key and inputs, with all its outputs there.

    `name` is unique in the build (`extract`, `train-unet3d`, `figures-performance`, ...); `script` is the file in the
    repository that a reviewer should open; `key` is what the work depends on beside its inputs (`freshness.key`);
    `inputs` and `outputs` are paths, whose contents are hashed. Yields a `Step`: where it `is_current`, the caller
    leaves at once. Else the work is timed and, on success, recorded in `build/<config>/provenance/<name>.json` with the
    step's `facts` (data source, materialization version, device), and one line is logged.
    """
    record = build.record(name)
    wanted = {
        "key_hash": key_hash(key),
        "inputs": {_relative(path, build): sha256(path) for path in inputs},
    }
    found = read_json(record) if record.is_file() else {}
    same = all(found.get(part) == value for part, value in wanted.items())
    if same and all(Path(path).exists() for path in outputs):
        yield Step(is_current=True)
        log.info("%s: up to date", name)
        return
    record.unlink(missing_ok=True)  # what an interrupted step leaves is no result
    started = time.monotonic()
    running = Step(is_current=False)
    yield running
    seconds = time.monotonic() - started
    config_text = json.dumps(key["settings"], sort_keys=True)
    write_json(
        record,
        wanted
        | {
            "script": str(script),
            "outputs": {_relative(path, build): sha256(path) for path in outputs},
            "config_hash": hashlib.sha256(config_text.encode()).hexdigest(),
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "seconds": round(seconds, 2),
        }
        | _surroundings()
        | running.facts,
    )
    log.info("%s: done in %.1f s", name, seconds)


def _relative(path: Path, build: Build) -> str:
    """A path as the reader of `provenance.json` knows it: in the build folder, in the repository, or by name."""
    path = Path(path).resolve()
    for base in (build.root.resolve(), REPOSITORY):
        if path.is_relative_to(base):
            return str(path.relative_to(base))
    return path.name


def merge_provenance(build: Build) -> None:
    """Write `provenance.json`, `{step: record}`, from the records of all steps."""
    records = {path.stem: read_json(path) for path in sorted((build.root / "provenance").glob("*.json"))}
    write_json(build.provenance, records)
