"""A trained classifier tuned on anybody's labelled synapses."""

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import artefacts, config
from pipeline.stages import PRETRAINED, StageError, command
from pipeline.stages.predict import classifier_card, cut_images

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.learn.checkpoint import Card

FOLDS = 5  # fewer where a class has less than NEURONS_A_FOLD neurons for each
LEAST_FOLDS = 3  # one to train on, one to validate on, one to test
NEURONS_A_FOLD = 2  # of each class: a validation part of one would be that neuron's look
STATS = config.Stats()


@command
@click.option(
    "--run", type=Path, default=PRETRAINED / "unet3d", help="Folder of the model (default: pretrained/unet3d)."
)
@click.option("--volumes", type=Path, required=True, help="Folder that holds em/, and segmentation/ for a mask.")
@click.option("--synapses", type=Path, required=True, help="CSV: synapse_id, x_vx, y_vx, z_vx, cell_type, axon_id.")
@click.option("--out", type=Path, required=True, help="Folder to write, for `predict`.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of folds and training.")
@click.option(
    "--partners-run",
    type=Path,
    default=PRETRAINED / "avan",
    help="Folder of the AVAN that makes the mask, where the model reads one (default: pretrained/avan).",
)
def tune(run: Path, volumes: Path, synapses: Path, out: Path, seed: int, partners_run: Path) -> None:
    """Tune a trained model on labelled synapses of your own, and test it on neurons that it was not tuned on.

    The presynaptic neurons are dealt into folds. For each fold a network is tuned on the others and tested on it; the
    model that is written is tuned on all of them. Images and unfinished networks are kept in a hidden folder beside the
    output, from which an interrupted command goes on.
    """
    import pandas as pd

    from pipeline.columns import CLASS_OF_LABEL
    from pipeline.learn import checkpoint
    from pipeline.learn import run as training
    from pipeline.render import model_card
    from pipeline.stages.folders import check_new_folder, read_synapses

    check_new_folder(out)
    start = run / "model.safetensors"
    card = classifier_card(start)
    rows, volume = read_synapses(volumes, synapses, needed=("cell_type", "axon_id"))
    rows = _in_folds(rows, synapses, seed)
    settings = settings_of(card, seed)
    work = out.parent / f".{out.name}-work"
    moved = settings.augmentation.shift_vx + settings.augmentation.misalignment_vx
    stores = cut_images(card, volumes, volume["em_path"], rows, work, partners_run, moved)
    before = training.predict(start, stores, rows)

    def trained(name: str, entry: config.Model, split: "str | pd.Series") -> tuple[Path, "pd.DataFrame"]:
        table, predictions = work / f"{name}-synapses.parquet", work / f"{name}-predictions.parquet"
        artefacts.write_parquet(table, rows.assign(split=split))
        training.train(stores, table, entry, work / name, predictions, seed, start)
        return work / name, pd.read_parquet(predictions)

    folds, after = trained("folds", settings.model_copy(update={"folds": True}), "test")
    whole, _ = trained("whole", settings, rows["fold"].map({0: "val"}).fillna("train"))
    scores = _scores(before, after, card.decision["tau"], seed)
    text = model_card.tuned_text(
        settings,
        dataclasses.asdict(checkpoint.read_card(whole / "model.safetensors")),
        artefacts.read_json(whole / "result.json"),
        scores,
        {
            "data": f"electron microscopy, {volume['datastack']}",
            "start": run.resolve().name,
            "synapses": len(rows),
            "neurons": {
                name: rows.loc[rows["label"] == label, "pre_neuron_id"].nunique()
                for label, name in CLASS_OF_LABEL.items()
            },
            "folds": rows["fold"].nunique(),
            "command": "python -m pipeline tune",
            "commit": artefacts.commit(),
            "config_hash": artefacts.key_hash(settings.model_dump(mode="json")),
            "confidence": STATS.confidence,
        },
    )
    with artefacts.atomic_folder(out) as folder:
        shutil.copyfile(whole / "model.safetensors", folder / "model.safetensors")
        for path in sorted(folds.glob("fold*/model.safetensors")):
            (folder / path.parent.name).mkdir()
            shutil.copyfile(path, folder / path.parent.name / path.name)
        kept = after.drop(columns="split").assign(p_before=before["p_excitatory"])
        artefacts.write_parquet(folder / "predictions.parquet", kept)
        scores.to_csv(folder / "scores.csv", index=False)
        (folder / "README.md").write_text(text, encoding="utf-8")
    shutil.rmtree(work)
    print(f"{out}: tuned on {len(rows)} synapses; scores of {rows['fold'].nunique()} folds by neuron:")
    print(scores.to_string(index=False, float_format="%.3f"))


def _in_folds(rows: "pd.DataFrame", path: Path, seed: int) -> "pd.DataFrame":
    """The labelled rows with the `fold` of their neurons; StageError where a class has too few neurons."""
    from pipeline.cohort import splits
    from pipeline.columns import CLASS_OF_LABEL

    labelled = rows[rows["label"].notna()].reset_index(drop=True).astype({"label": "int64"})
    if left_out := len(rows) - len(labelled):
        print(f"{path}: {left_out} of {len(rows)} synapses have no cell_type and are left out")
    fewest = FOLDS * NEURONS_A_FOLD
    for label, name in CLASS_OF_LABEL.items():
        n = labelled.loc[labelled["label"] == label, "pre_neuron_id"].nunique()
        if n < LEAST_FOLDS * NEURONS_A_FOLD:
            raise StageError(
                f"{path} has labelled synapses of {n} {name} neurons (axon_id); at least "
                f"{LEAST_FOLDS * NEURONS_A_FOLD} of each class are needed, to tune, validate and test on different ones"
            )
        fewest = min(fewest, n)
    return labelled.assign(fold=splits.folds(labelled, fewest // NEURONS_A_FOLD, seed))


def settings_of(card: "Card", seed: int) -> config.Model:
    """The entry of a network like that of `card`, to be tuned."""
    from pipeline.models.names import DIMENSIONS
    from pipeline.recipes import ClassifierRecipe

    depth, *plane = card.shape_zyx
    return config.Model(
        name=card.network,
        network=card.network,
        norm=card.build["norm"],
        sections=card.build["sections"],
        channels=card.channels,
        crop=(depth, *plane) if DIMENSIONS[card.network] == 3 else plane,
        seed=seed,
        epochs=30,
        batch_size=16,  # a few hundred synapses still make some steps an epoch
        recipe=ClassifierRecipe(learning_rate=5e-4, warmup_epochs=1),  # half the default: the weights are near
    )


def _scores(before: "pd.DataFrame", after: "pd.DataFrame", tau: float, seed: int) -> "pd.DataFrame":
    """Rows `model, metric, value, low, high`: before tuning at its threshold `tau`, tuned at 0.5, and the difference.

    The networks of the folds have their thresholds at 0.5, see `learn.run`.
    """
    import pandas as pd

    from pipeline.stats import bootstrap

    arguments = STATS.n_bootstrap, STATS.confidence, seed
    tables = {
        "before": bootstrap.intervals(before, tau, *arguments),
        "tuned": bootstrap.intervals(after, 0.5, *arguments),
        "difference": bootstrap.difference(after, before, 0.5, tau, *arguments),
    }
    return pd.concat(tables, names=["model", None]).reset_index("model").reset_index(drop=True)
