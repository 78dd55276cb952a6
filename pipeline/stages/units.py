"""The units fault of earlier work, made on purpose."""

from pipeline import artefacts
from pipeline.stages import Run, StageError, stage


@stage(settings=("models", "extract"))
def units(run: Run) -> None:
    """Cut cubes with the units mistake of the prior work, and train the edition's first 3D network on them.

    Of a large cohort a sample is used, on which the network is also trained with correct cubes, for comparison.
    """
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import misread
    from pipeline.learn import run as training

    edition, build, folder = run.config, run.build, run.build.units
    models = [m for m in edition.models if m.trained and not m.folds and m.dimensions == 3]
    if not models:
        raise StageError(f"config {edition.name!r} has no trained network on cubes: there is nothing to misread")
    model = models[0]
    done, predictions = folder / "model.json", folder / "predictions.parquet"
    inputs = [build.synapses, build.patches / "manifest.json"]
    outputs = [folder / "patches" / "manifest.json", predictions, done]
    with run.step(
        inputs, outputs, "pipeline/extract/misread.py", settings={"models": model.model_dump(mode="json")}
    ) as step:
        if step.is_current:
            return
        done.unlink(missing_ok=True)  # last to be written again: without it the fault is unfinished
        em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
        whole, used = pd.read_parquet(build.synapses), build.synapses
        sample = misread.sample(whole, edition.seed)
        with compute.workers(edition.compute) as client:
            misread.extract(sample, em_path, edition.extract, folder / "patches", client, edition.seed)
        right = folder / "right.parquet"
        right.unlink(missing_ok=True)
        if len(sample) < len(whole):  # the network on correct cubes must have seen no more than its counterpart
            used = folder / "synapses.parquet"
            artefacts.write_parquet(used, sample)
            run_dir = folder / "runs" / f"{model.name}-right"
            training.train({"em": build.patches}, used, model, run_dir, right, edition.seed)
        run_dir = folder / "runs" / model.name
        training.train({"em": folder / "patches"}, used, model, run_dir, predictions, edition.seed)
        artefacts.write_json(done, {"model": model.name})
