"""Trained models in folders of their own, with model cards."""

import dataclasses
import shutil
from pathlib import Path

import click

from pipeline import artefacts
from pipeline.stages import Run, stage


@stage()
@click.option("--model", required=True, help="A model of the edition.")
@click.option("--out", type=Path, required=True, help="Folder to write.")
def publish(run: Run, model: str, out: Path) -> None:
    """Copy a trained model into a folder of its own, with a model card, for `predict`."""
    import pandas as pd

    from pipeline.learn import checkpoint
    from pipeline.render import model_card
    from pipeline.stats import bootstrap

    edition, build = run.config, run.build
    entry = edition.model(model)
    trained = build.run(model) / "model.safetensors"
    card = checkpoint.read_card(trained)
    rows = pd.read_parquet(build.predictions(model))
    stats = edition.stats
    test = rows[rows["split"] == "test"]
    scores = bootstrap.intervals(test, card.decision["tau"], stats.n_bootstrap, stats.confidence, edition.seed)
    record = artefacts.read_json(build.root / "provenance" / f"train-{model}.json")
    volume = artefacts.read_json(build.cohort / "volume.json")
    simulated = edition.source.kind == "simulated"
    text = model_card.text(
        entry,
        dataclasses.asdict(card),
        artefacts.read_json(build.run(model) / "result.json"),
        scores,
        {
            "data": "simulated neuropil" if simulated else f"electron microscopy, {volume['datastack']}",
            "simulated": simulated,
            "command": f"make models CONFIG={edition.name}",
            "commit": record["commit"],
            "config_hash": record["config_hash"],
            "confidence": stats.confidence,
            "n_bootstrap": stats.n_bootstrap,
            "splits": {
                split: (len(part := rows[rows["split"] == split]), part["pre_neuron_id"].nunique())
                for split in ("train", "val", "test")
            },
        },
    )
    with artefacts.atomic_folder(out) as folder:
        shutil.copyfile(trained, folder / "model.safetensors")
        (folder / "README.md").write_text(text, encoding="utf-8")


@stage()
@click.option("--out", type=Path, required=True, help="Folder to write.")
def publish_partners(run: Run, out: Path) -> None:
    """Copy AVAN, tuned on all synapses of a folder of real EM, into a folder of its own, with a model card."""
    from pipeline.learn import checkpoint
    from pipeline.partners import model
    from pipeline.render import model_card
    from pipeline.stages.partner_transfer import PUBLISHED_RUN

    build, data = run.build, run.data
    real = build.on(data)
    trained = real.partners / "runs" / PUBLISHED_RUN / "avan"
    card = checkpoint.read_card(trained / "model.safetensors")
    record = artefacts.read_json(real.root / "provenance" / "partner-transfer.json")
    volume = artefacts.read_json(real.partners / "volume.json")
    values = artefacts.read_json(real.analysis / "partner_transfer.json")
    scores = [
        (f"{volume['datastack']}, {what}, {how}", values[f"{protocol}_avan_{key}"]["text"])
        for protocol, how in (
            ("simulation", "trained on simulation alone"),
            ("fine_tuned", "tuned on one half of the synapses and tested on the other"),
        )
        for key, what in (("accuracy", "pair and direction"), ("direction", "direction of the true pair"))
    ]
    text = model_card.partners_text(
        dataclasses.asdict(card),
        {
            "data": "simulated neuropil",
            "tuned": (volume["synapses"], volume["datastack"]),
            "seed": run.config.seed,
            "parameters": artefacts.read_json(trained / "result.json")["parameters"],
            "scores": scores,
            "command": f"make partners-transfer CONFIG={run.config.name} DATA=<folder> SPLIT_Z={volume['split_z']}",
            "commit": record["commit"],
            "config_hash": record["config_hash"],
        },
    )
    with artefacts.atomic_folder(out) as folder:
        network, _ = model.load(trained / "model.safetensors")
        checkpoint.save(folder / "model.safetensors", network, dataclasses.replace(card, tuned_on=volume["datastack"]))
        (folder / "README.md").write_text(text, encoding="utf-8")
