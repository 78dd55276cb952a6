"""The tissue on which partner assignment is tested."""

from pipeline.stages import Run, StageError, stage

#: Added to the edition's seed; the tissue of 1 was looked at while settings were chosen.
TEST_SEED = 2


@stage(settings=("partners.test_tissue",))
def partner_tissue(run: Run) -> None:
    """Simulate the tissue on which partner assignment is tested, from a seed of its own."""
    from pipeline import compute
    from pipeline.simulate import neuropil

    tissue, out = run.config.partners.test_tissue, run.build.partners / "source"
    if tissue is None:
        raise StageError(f"config {run.config.name!r} has no `partners: test_tissue:`; demo.yaml has one to copy")
    with run.step([], [out / "manifest.json"], "pipeline/simulate/neuropil.py") as step:
        if step.is_current:
            return
        with compute.workers(run.config.compute) as client:
            neuropil.generate(tissue, run.config.seed + TEST_SEED, out, client)
