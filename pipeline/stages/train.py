"""The classifiers of an edition."""

import click

from pipeline import artefacts, config
from pipeline.stages import Run, StageError, stage


@stage(settings=("models",))
@click.option("--model", help="One model alone; by default all of the edition that are not up to date.")
def train(run: Run, model: str | None) -> None:
    """Train the models (or fit the untrained controls), and predict every synapse."""
    from pipeline.learn import distributed
    from pipeline.learn import run as training

    build, names = run.build, [entry.name for entry in run.config.models]
    if model is None:
        stores = {channel: build.store(channel) for entry in run.config.models for channel in entry.channels}
        inputs = [build.synapses, *(store / "manifest.json" for store in stores.values())]
        outputs = [build.models, *map(build.predictions, names), *map(build.run, names)]
        with run.step(inputs, outputs, "pipeline/learn/run.py") as step:
            if not step.is_current:
                _train_all(run)
                artefacts.write_json(build.models, names)
        return
    entry = run.config.model(model)
    arguments = _arguments(run, entry)
    with distributed.group() as rank:
        if rank:
            training.train(*arguments)
            return
        inputs = [build.synapses, *(build.store(channel) / "manifest.json" for channel in entry.channels)]
        outputs = [build.predictions(model), build.run(model)]
        settings = {"models": entry.model_dump(mode="json")}
        with run.step(inputs, outputs, "pipeline/learn/run.py", name=f"train-{model}", settings=settings) as step:
            training.train(*arguments)
            step.facts["device"] = artefacts.read_json(build.run(model) / "result.json")["device"]


def _train_all(run: Run) -> None:
    """Train what is not up to date, each model in a process of its own, and print a table.

    A model that fails is reported and the others are trained all the same; StageError names it at the end.
    """
    import pandas as pd

    from pipeline.learn import device, engine
    from pipeline.learn import run as training
    from pipeline.stages.processes import side_by_side, succeeds

    edition, build = run.config, run.build
    if not edition.models:
        raise StageError(f"config {edition.name!r} lists no models to train")

    def fails(model: config.Model, slot: int) -> bool:
        stores, synapses, _, folder, predictions, seed = _arguments(run, model)
        if engine.is_up_to_date(folder, training.identity(stores, synapses, model, seed), predictions):
            return False
        return not succeeds(["train", "--model", model.name], slot, processes)

    processes = edition.compute.training_processes
    at_once = edition.compute.networks_at_once or (device.networks_at_once() if processes == 1 else 1)
    failures = side_by_side(fails, edition.models, at_once)
    rows = []
    for model, failed in zip(edition.models, failures, strict=True):
        result = {} if failed else artefacts.read_json(build.run(model.name) / "result.json")
        rows.append(
            {
                "model": model.name,
                "state": "failed" if failed else "trained" if model.trained else "untrained",
                "validation AUC": result.get("validation", {}).get("roc_auc"),
                "epochs": result.get("epochs"),
                "s per epoch": result.get("seconds_per_epoch"),
                "parameters": result.get("parameters"),
            }
        )
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=",.3f", intfmt=",", missingval=""))
    failed_models = table.loc[table["state"] == "failed", "model"].tolist()
    if failed_models:
        raise StageError(
            f"{len(failed_models)} of {len(table)} models failed: {', '.join(failed_models)}; see above. "
            "The others are trained and will not be trained again"
        )


def _arguments(run: Run, model: config.Model) -> tuple:
    """Of `learn.run.train`."""
    build = run.build
    folder, predictions = build.run(model.name), build.predictions(model.name)
    stores = {channel: build.store(channel) for channel in model.channels}
    return stores, build.synapses, model, folder, predictions, run.config.seed
