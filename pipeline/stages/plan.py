"""What Make includes: an edition's facts, what each script reads, and a key file for each step."""

import json
import os
from pathlib import Path
from typing import Any

from pipeline import artefacts, freshness, scripts
from pipeline.stages import STAGES, Run, stage

#: The stage that runs the scripts of a folder; each script is a step with a key of its own.
RUNNERS = {"analysis": "analyse", "figures": "draw", "tables": "draw"}
#: Stages without a key of their own name, since they make several artefacts.
SEVERAL = {*RUNNERS.values(), "companion"}


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
        "MASKS": "yes" if any(model.reads_mask for model in edition.models) else "",
        "PREDICTIONS": " ".join(str(build.predictions(name)) for name in _trained(build)),
        **{folder.upper(): " ".join(sorted(names)) for folder, names in scripts.shown(edition).items()},
    }
    lines = [f"{name} := {value}" for name, value in facts.items()]
    for name, found in STAGES.items():
        if name in SEVERAL:
            continue
        scope = build if "data" not in found.settings else build.on(beside) if beside else None
        if scope:
            _write_key(scope, name, found.key(edition, files=scripts.files_of(name)))
    for script in scripts.scripts():
        if scripts.reads(script).on_data and not beside:
            continue
        step = f"{script.parent}-{script.stem}"
        runner = STAGES[RUNNERS[script.parent.name]]
        scope = scripts.scope(script, edition, build)
        _write_key(scope, step, runner.key(edition, script, scripts.literal_files(script)))
        if script.parent.name == "analysis":
            name = f"companion-{script.stem}"
            _write_key(scope, name, STAGES["companion"].key(edition, files=scripts.files_of("companion")))
        target = scripts.made_by(script, scope)
        needed = " ".join(map(str, scripts.prerequisites(script, edition, build)))
        lines.append(f"{target}: {scope.key(step)} {needed}")
    name = f"{build.root.name}-{beside.resolve().name}" if beside else build.root.name
    _write_where_changed(build.root.parent / "make" / f"{name}.mk", "\n".join(lines) + "\n")
    freshness.remember()


def _trained(build: artefacts.Build) -> list[str]:
    return artefacts.read_json(build.models) if build.models.is_file() else []


def _write_key(build: artefacts.Build, step: str, key: dict[str, Any]) -> None:
    """Write a step's key where it changed; one that the step was last made from is as old as that, even if put back."""
    path, record = build.key(step), build.record(step)
    changed = _write_where_changed(path, json.dumps(key, indent=1, sort_keys=True) + "\n")
    if changed and record.is_file() and artefacts.read_json(record).get("stage_key_hash") == artefacts.key_hash(key):
        made = record.stat().st_mtime_ns
        os.utime(path, ns=(made, made))


def _write_where_changed(path: Path, text: str) -> bool:
    changed = not path.is_file() or path.read_text(encoding="utf-8") != text
    if changed:
        artefacts.write_text(path, text)
    return changed
