"""From the annotation service, or a folder's `synapses.csv`, to the cohort; and the service of a simulation."""

import contextlib
from collections.abc import Iterator
from typing import Any

import click
import numpy as np

from pipeline import artefacts, config
from pipeline.artefacts import Build
from pipeline.space import VoxelFrame, zyx
from pipeline.stages import Run, StageError, stage


@stage(settings=("source", "cohort", "extract"))
def cohort(run: Run) -> None:
    """Query the annotation service (or read synapses.csv): labels, filters, splits, leakage audit."""
    edition, build = run.config, run.build
    if edition.source.kind == "connectome":
        raise StageError(f"config {edition.name!r} has no images: `make connectivity DATA=<folder>` is all it makes")
    inputs = []
    if edition.source.kind == "simulated":
        inputs = [build.source / "manifest.json", build.source / "tables"]
    elif edition.source.kind == "folder":
        if edition.data is None:
            raise StageError(
                f"config {edition.name!r} reads a folder: name it, `make ... DATA=<folder>` or `--data <folder>`"
            )
        inputs = [edition.data / "synapses.csv"]
    with run.step(inputs, [build.synapses], "pipeline/cohort/assemble.py") as step:
        if step.is_current:
            return
        cube_nm = VoxelFrame(edition.extract.voxel_nm).to_nm(zyx(edition.extract.cube_zyx))
        read = _of_folder if edition.source.kind == "folder" else _of_service
        found, volume = read(edition, build, cube_nm)
        step.facts |= {
            name: volume[name] for name in ("kind", "datastack", "materialization_version") if name in volume
        }
        artefacts.write_json(build.cohort / "volume.json", volume)
        artefacts.write_json(build.cohort / "flow.json", found.flow)
        artefacts.write_json(build.cohort / "audit.json", found.audit)
        with artefacts.atomic(build.cohort / "conflicts.csv") as path:
            found.conflicts.to_csv(path, index=False)
        artefacts.write_parquet(build.cohort / "neurons.parquet", found.neurons)
        artefacts.write_parquet(build.synapses, found.synapses)


@stage()
@click.option("--port", type=int, default=0, help="Port on loopback (default: any that is free).")
def sandbox(run: Run, port: int) -> None:
    """Serve the simulated annotation tables to a caveclient on loopback, until interrupted."""
    from pipeline.cave import sandbox as server

    if run.config.source.kind != "simulated":
        raise StageError(f"config {run.config.name!r} reads real data; the sandbox serves a simulated edition")
    server.run(run.build.source, run.config.source, port)


def _of_folder(edition: config.Config, build: Build, cube_nm: np.ndarray) -> tuple[Any, dict[str, Any]]:
    from pipeline.cohort import assemble
    from pipeline.stages.folders import read_synapses

    rows, volume = read_synapses(edition.data, edition.data / "synapses.csv")
    return assemble.assemble_folder(rows, edition.cohort, cube_nm, edition.seed), volume


def _of_service(edition: config.Config, build: Build, cube_nm: np.ndarray) -> tuple[Any, dict[str, Any]]:
    from pipeline.cave.queries import Annotations
    from pipeline.cohort import assemble

    source, names = edition.source, edition.source.tables
    with _service(source, build) as (address, token):
        service = Annotations(source, address, token)
        tables = [service.table(name) for name in (names.aibs_columns, names.aibs_metamodel, names.baylor)]
        proofreading = service.table(names.proofreading)
        limit = source.max_neurons_per_class if source.kind == "cave" else None
        candidates = assemble.candidates(*tables, proofreading, edition.cohort, edition.seed, limit)
        synapses = service.synapses(candidates.neurons["pre_neuron_id"])
        found = assemble.assemble(candidates, synapses, edition.cohort, cube_nm, edition.seed)
        volume = {
            "kind": source.kind,
            "em_path": service.image_source,
            "segmentation_path": service.segmentation_source,
            "datastack": source.datastack,
            "materialization_version": source.materialization_version,
            "timestamp": service.timestamp,
        }
    return found, volume


@contextlib.contextmanager
def _service(source: config.Simulated | config.Cave, build: Build) -> Iterator[tuple[str, str | None]]:
    """Address and token of the annotation service: the sandbox's for a simulation, else the real one's."""
    from pipeline.cave import sandbox as server

    if source.kind == "cave":
        yield source.server_address, None
        return
    with server.serve(build.source, source) as address:
        yield address, server.TOKEN
