"""What Make includes: an edition's facts, what each script reads, and a key file for each step."""

import json
import logging
from pathlib import Path
from typing import Any

from pipeline import artefacts, scripts
from pipeline.stages import STAGES, Run, stage

log = logging.getLogger("pipeline")


@stage()
def plan(run: Run) -> None:
    """Write what Make includes: facts of the edition, what each step reads, and its key file where the key changed."""
    edition, build, kind = run.config, run.build, run.config.source.kind
    beside = None if edition.reads_folder else edition.data
    facts = {
        "B": build.root,
        "K": "$(B)/keys",
        "KIND": kind,
        "R": build.on(beside).root if beside else "",
        "MASKS": "yes" if any(model.attention for model in edition.models) else "",
        "PREDICTIONS": " ".join(str(build.predictions(name)) for name in _trained(build)),
        **{folder.upper(): " ".join(sorted(names)) for folder, names in scripts.shown(kind).items()},
    }
    lines = [f"{name} := {value}" for name, value in facts.items()]
    for name, found in STAGES.items():
        _write_key(build, name, found.key(edition, files=scripts.manuscript_files() if name == "page" else ()))
    for script in scripts.scripts():
        if scripts.reads(script).on_data and not beside:
            continue
        step = f"{script.parent}-{script.stem}"
        runner = STAGES["analyse" if script.parent.name == "analysis" else "draw"]
        key = runner.key(edition, script, scripts.literal_files(script))
        _write_key(build, step, key | ({"data": str(beside)} if scripts.reads(script).on_data else {}))
        target = scripts.made_by(script, scripts.scope(script, edition, build))
        needed = " ".join(map(str, scripts.prerequisites(script, edition, build)))
        lines.append(f"{target}: $(K)/{step}.json {needed}")
    name = f"{build.root.name}-{beside.resolve().name}" if beside else build.root.name
    _write_where_changed(build.root.parent / "make" / f"{name}.mk", "\n".join(lines) + "\n")


def _trained(build: artefacts.Build) -> list[str]:
    return artefacts.read_json(build.models) if build.models.is_file() else []


def _write_key(build: artefacts.Build, step: str, key: dict[str, Any]) -> None:
    path = build.root / "keys" / f"{step}.json"
    _write_where_changed(path, json.dumps(key, indent=1, sort_keys=True) + "\n")


def _write_where_changed(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        artefacts.write_text(path, text)
