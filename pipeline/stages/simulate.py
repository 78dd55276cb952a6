"""Simulated neuropil: volumes and annotation tables."""

from pipeline.stages import Run, StageError, stage


@stage(settings=("source",))
def simulate(run: Run) -> None:
    """Simulate neuropil: precomputed volumes, their truth, and the annotation tables that the sandbox serves."""
    from pipeline import compute
    from pipeline.simulate import neuropil, tables

    edition, source = run.config, run.build.source
    if edition.source.kind != "simulated":
        raise StageError(f"config {edition.name!r} reads real data; there is nothing to simulate")
    with run.step([], [source / "manifest.json"], "pipeline/simulate/neuropil.py") as step:
        if step.is_current:
            return
        (source / "manifest.json").unlink(
            missing_ok=True
        )  # last to be written again: without it a source is unfinished
        with compute.workers(edition.compute) as client:
            neuropil.generate(edition.source, edition.seed, source, client)
        tables.write(source / "truth", source / "tables", edition.seed)
