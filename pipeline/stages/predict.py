"""A trained classifier on anybody's synapses."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline import config
from pipeline.columns import CENTER_NM
from pipeline.stages import PRETRAINED, StageError, command

if TYPE_CHECKING:
    import pandas as pd
    from dask.distributed import Client

    from pipeline.learn.checkpoint import Card


@command
@click.option(
    "--run", type=Path, default=PRETRAINED / "unet3d", help="Folder of the model (default: pretrained/unet3d)."
)
@click.option("--volumes", type=Path, required=True, help="Folder that holds em/, and segmentation/ for a mask.")
@click.option("--synapses", type=Path, required=True, help="CSV: synapse_id, x_vx, y_vx, z_vx, ...")
@click.option("--out", type=Path, required=True, help="Parquet file to write.")
@click.option(
    "--partners-run",
    type=Path,
    default=PRETRAINED / "avan",
    help="Folder of the AVAN that makes the mask, where the model reads one (default: pretrained/avan).",
)
def predict(run: Path, volumes: Path, synapses: Path, out: Path, partners_run: Path) -> None:
    """Apply a trained model to the synapses of a CSV file in a folder of precomputed volumes.

    Patches of the model's own voxel size are cut into a hidden folder beside the output, from which an interrupted
    command goes on; so are, for a model that reads the presynaptic mask, samples of the clefts, those of clefts/ or the
    contact zones at the synapses. Where the file has cell types, the scores are printed with their intervals.
    """
    import pandas as pd

    from pipeline import artefacts
    from pipeline.learn import run as training
    from pipeline.stages.folders import check_output, read_synapses

    check_output(out)
    file = run / "model.safetensors"
    card = classifier_card(file)
    rows, volume = read_synapses(volumes, synapses)
    work = out.parent / f".{out.stem}-work"
    stores = cut_images(card, volumes, volume["em_path"], rows, work, partners_run)
    artefacts.write_parquet(out, training.predict(file, stores, rows))
    shutil.rmtree(work)
    predictions, tau = pd.read_parquet(out), card.decision["tau"]
    called = (predictions["p_excitatory"] >= tau).sum()
    print(f"{out}: {len(predictions)} synapses, {called} excitatory at the model's threshold {tau:.3f}")
    if predictions["label"].notna().all() and predictions["label"].nunique() == 2:
        print(_scores(predictions, tau))


def classifier_card(file: Path) -> "Card":
    """The card of a model file; StageError unless it is a classifier's."""
    from pipeline.learn import checkpoint, classification

    card = checkpoint.read_card(file)
    if card.task != classification.TASK:
        raise StageError(f"{file.parent} holds {card.network}, which classifies no synapses: name a classifier")
    return card


def cut_images(
    card: "Card", volumes: Path, em_path: str, rows: "pd.DataFrame", work: Path, partners_run: Path, margin_vx: int = 0
) -> dict[str, Path]:
    """Cut what a classifier reads of some synapses, into folders of `work`; returns them by channel.

    `margin_vx` is stored around its input in the plane, so that it can be moved and turned in training.
    """
    from pipeline import compute
    from pipeline.extract import patches
    from pipeline.learn import classification

    depth, height, width = card.shape_zyx
    is_patch, side = classification.array_of(card) == "patch", max(height, width) + 2 * margin_vx
    cut = config.Extract(
        voxel_nm=card.voxel_nm,
        patch_px=side if is_patch else 16,  # the array that the model does not read is kept small
        cube_zyx=(depth, 16, 16) if is_patch else (depth, side, side),
    )
    stores = {"em": work / "patches"}
    with compute.workers(config.Compute()) as client:
        patches.extract(rows, em_path, cut, stores["em"], client)
        if "presynaptic" in card.channels:
            stores["presynaptic"] = work / "masks"
            _write_masks(partners_run, volumes, rows, cut, work, client)
    return stores


def _scores(predictions: "pd.DataFrame", tau: float) -> str:
    """Scores with their intervals as a table, or why there are none."""
    from pipeline.stats import bootstrap
    from pipeline.stats.metrics import PredictionsError

    settings = config.Stats()
    try:
        scores = bootstrap.intervals(predictions, tau, settings.n_bootstrap, settings.confidence, seed=0)
    except PredictionsError as error:
        return f"No scores: {error}"
    return scores.to_string(index=False, float_format="%.3f")


def _write_masks(
    run: Path, volumes: Path, rows: "pd.DataFrame", cut: config.Extract, work: Path, client: "Client"
) -> None:
    """Write AVAN's presynaptic masks of the synapses to `work/masks`, by way of samples of their clefts."""
    from pipeline.extract import clefts
    from pipeline.partners import masks, model
    from pipeline.partners.samples import Samples
    from pipeline.stages import folders

    network, card = model.load(run / "model.safetensors")
    if card.network != "avan":
        raise StageError(f"{run} holds {card.network}, which makes no presynaptic mask: name an AVAN")
    settings = config.Partners(voxel_nm=card.voxel_nm, patch_zyx=card.shape_zyx, margin_vx=0)
    table = rows[["synapse_id", *CENTER_NM]].assign(region="test")
    samples = clefts.cut(table, folders.volumes(volumes), settings, work / "samples", client)
    masks.write(network, card, Samples(samples), rows, cut, work / "masks")
