"""Images around the synapses of a folder of real EM."""

from pipeline import artefacts, config
from pipeline.stages import Run, stage


@stage(settings=("data",))
def real_patches(run: Run) -> None:
    """Cut patches and cubes, at the default geometry, around the synapses of a folder of real EM."""
    from pipeline import compute
    from pipeline.extract import patches
    from pipeline.stages.folders import read_synapses

    real, csv = run.build.on(run.data), run.data / "synapses.csv"
    outputs = [real.patches / "manifest.json", real.synapses]
    with run.step([csv], outputs, "pipeline/extract/patches.py", build=real, divides=True) as step:
        if step.is_current:
            return
        rows, volume = read_synapses(run.data, csv)
        with compute.workers(run.config.compute) as client:
            patches.extract(rows, volume["em_path"], config.Extract(), real.patches, client)
        artefacts.write_json(real.cohort / "volume.json", volume)
        artefacts.write_parquet(real.synapses, rows)
