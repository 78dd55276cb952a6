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
    with run.step([build.synapses], [build.patches / "manifest.json"], "pipeline/extract/patches.py") as step:
        if step.is_current:
            return
        em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
        with compute.workers(run.config.compute) as client:
            patches.extract(pd.read_parquet(build.synapses), em_path, run.config.extract, build.patches, client)
