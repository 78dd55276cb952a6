"""From the annotation service, or a folder's `synapses.csv`, to the cohort; and the service of a simulation."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import artefacts, config
from pipeline.artefacts import Build
from pipeline.stages import Run, StageError, stage

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.cave.queries import Annotations
    from pipeline.cohort.assemble import Candidates, Cohort


@stage(settings=("source", "cohort", "extract"))
def cohort(run: Run) -> None:
    """Query the annotation service (or read synapses.csv): labels, filters, splits, leakage audit."""
    from pipeline.space import VoxelFrame, zyx

    edition, build, source = run.config, run.build, run.config.source
    if isinstance(source, config.Connectome):
        raise StageError(f"config {edition.name!r} has no images: `make real DATA=<folder>` is all it makes")
    inputs = []
    if isinstance(source, config.Simulated):
        inputs = [build.source / "manifest.json", build.source / "tables"]
    elif isinstance(source, config.Folder):
        inputs = [run.data / "synapses.csv"]
    with run.step(inputs, [build.synapses], "pipeline/cohort/assemble.py") as step:
        if step.is_current:
            return
        cube_nm = VoxelFrame(edition.extract.voxel_nm).to_nm(zyx(edition.extract.cube_zyx)).tolist()
        if isinstance(source, config.Folder):
            found, volume = _of_folder(run.data, edition, cube_nm)
        else:
            found, volume = _of_service(source, edition, build, cube_nm)
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
@click.option(
    "--failure",
    "failures",
    type=(str, str, int),
    metavar="PATH WHAT TIMES",
    multiple=True,
    help="So many requests whose path contains PATH meet WHAT; may be given several times.",
)
def sandbox(run: Run, port: int, failures: tuple[tuple[str, str, int], ...]) -> None:
    """Serve the simulated annotation tables to a caveclient on loopback, until interrupted."""
    from pipeline.cave import sandbox as server
    from pipeline.cave.failures import Failure

    if run.config.source.kind != "simulated":
        raise StageError(f"config {run.config.name!r} reads real data; the sandbox serves a simulated edition")
    try:
        scripted = [Failure(*failure) for failure in failures]
    except ValueError as error:
        raise StageError(str(error)) from None
    server.run(run.build.source, run.config.source, port, scripted)


def _of_folder(data: Path, edition: config.Config, cube_nm: list[float]) -> tuple["Cohort", dict[str, Any]]:
    from pipeline.cohort import assemble
    from pipeline.stages.folders import read_synapses

    rows, volume = read_synapses(data, data / "synapses.csv")
    return assemble.assemble_folder(rows, edition.cohort, cube_nm, edition.seed), volume


def _of_service(
    source: config.Simulated | config.Cave, edition: config.Config, build: Build, cube_nm: list[float]
) -> tuple["Cohort", dict[str, Any]]:
    from pipeline.cohort import assemble

    with annotations(source, build) as service:
        found = candidates(service, source, edition)
        synapses = service.synapses(found.neurons["pre_neuron_id"])
        volume: dict[str, Any] = {
            "kind": source.kind,
            "em_path": service.image_source,
            "segmentation_path": service.segmentation_source,
            "datastack": source.datastack,
            "materialization_version": source.materialization_version,
            "timestamp": service.timestamp,
        }
    # real tissue is too dear to leave a synapse out for a corner of its image; a simulation just grows larger
    is_within = _within(volume["em_path"], edition) if isinstance(source, config.Simulated) else None
    return assemble.assemble(found, synapses, edition.cohort, cube_nm, edition.seed, is_within), volume


def _within(em_path: str, edition: config.Config) -> Callable[["pd.DataFrame"], "pd.Series"]:
    """What says of which synapses no image would be padded by mirrored tissue."""
    from pipeline.extract import plan
    from pipeline.extract.volume import Volume

    volume = Volume(em_path, edition.extract.voxel_nm)
    return lambda synapses: (plan.padded_fractions(synapses, edition.extract, volume) == 0).all(axis=1)


def candidates(service: "Annotations", source: config.Simulated | config.Cave, edition: config.Config) -> "Candidates":
    """The neurons whose synapses the edition wants, from the tables of cell types and of proofreading."""
    from pipeline.cohort import assemble, labels

    names = source.tables
    tables = {"column": names.aibs_columns, "metamodel": names.aibs_metamodel, "baylor": names.baylor}
    cells = {
        kind: service.table(name, ["target_id", labels.SOURCES[kind]], of_target=["pt_root_id", "pt_position"])
        for kind, name in tables.items()
    }
    return assemble.candidates(
        **cells,
        proofreading=service.table(names.proofreading, ["pt_root_id", "status_axon"]),
        settings=edition.cohort,
        seed=edition.seed,
        max_neurons_per_class=source.max_neurons_per_class if isinstance(source, config.Cave) else None,
    )


@contextlib.contextmanager
def annotations(source: config.Simulated | config.Cave, build: Build) -> Iterator["Annotations"]:
    """The annotation service: the sandbox for a simulation, else the real one, whose answers are kept in the build."""
    from pipeline.cave import sandbox as server
    from pipeline.cave.queries import Annotations

    if isinstance(source, config.Cave):
        yield Annotations(source, source.server_address, pages=build.cave)
        return
    with server.serve(build.source, source) as address:
        yield Annotations(source, address, server.TOKEN)
