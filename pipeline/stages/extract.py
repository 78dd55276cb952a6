"""Images around every synapse of the cohort."""

from pipeline import artefacts
from pipeline.stages import Run, stage


@stage(settings=("extract",))
def extract(run: Run) -> None:
    """Cut patches and cubes around every synapse of the cohort."""
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import patches

    build = run.build
    # an edit of the simulation may change the images of the same synapses
    volume = [build.source / "manifest.json"] if run.config.source.kind == "simulated" else []
    with run.step(
        [build.synapses, *volume], [build.patches / "manifest.json"], "pipeline/extract/patches.py", divides=True
    ) as step:
        if step.is_current:
            return
        em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
        with compute.workers(run.config.compute) as client:
            patches.extract(pd.read_parquet(build.synapses), em_path, run.config.extract, build.patches, client)
