"""The units fault of earlier work, made on purpose."""

from pipeline import artefacts
from pipeline.stages import Run, StageError, stage


@stage(settings=("models", "extract"))
def units(run: Run) -> None:
    """Cut cubes with the units mistake of the prior work, and train the edition's first 3D network on them."""
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import misread
    from pipeline.learn import run as training

    edition, build, folder = run.config, run.build, run.build.units
    models = [m for m in edition.models if m.trained and not m.folds and m.dimensions == 3]
    if not models:
        raise StageError(f"config {edition.name!r} has no trained network on cubes: there is nothing to misread")
    model = models[0]
    patches, predictions, done = folder / "patches", folder / "predictions.parquet", folder / "model.json"
    inputs = [build.synapses, build.patches / "manifest.json"]
    outputs, settings = [patches / "manifest.json", predictions, done], {"models": model.model_dump(mode="json")}
    with run.step(inputs, outputs, "pipeline/extract/misread.py", settings=settings) as step:
        if step.is_current:
            return
        done.unlink(missing_ok=True)  # last to be written again: without it the fault is unfinished
        em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
        with compute.workers(edition.compute) as client:
            misread.extract(pd.read_parquet(build.synapses), em_path, edition.extract, patches, client, edition.seed)
        training.train({"em": patches}, build.synapses, model, folder / "runs" / model.name, predictions, edition.seed)
        artefacts.write_json(done, {"model": model.name})
