"""A trained classifier on anybody's synapses."""

import shutil
from pathlib import Path

import click

from pipeline import config
from pipeline.stages import PRETRAINED, command


@command
@click.option(
    "--run", type=Path, default=PRETRAINED / "unet3d", help="Folder of the model (default: pretrained/unet3d)."
)
@click.option("--volumes", type=Path, required=True, help="Folder that holds em/.")
@click.option("--synapses", type=Path, required=True, help="CSV: synapse_id, x_vx, y_vx, z_vx, ...")
@click.option("--out", type=Path, required=True, help="Parquet file to write.")
def predict(run: Path, volumes: Path, synapses: Path, out: Path) -> None:
    """Apply a trained model to the synapses of a CSV file in a folder of precomputed volumes.

    Patches of the model's own voxel size are cut into a hidden folder beside the output, from which an interrupted
    command goes on. Where the file has cell types, the scores are printed with their intervals.
    """
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import patches
    from pipeline.learn import checkpoint
    from pipeline.learn import run as training
    from pipeline.stages.folders import read_synapses

    _, card = checkpoint.load(run / "model.safetensors")
    rows, volume = read_synapses(volumes, synapses)
    depth, *_, width = card.shape_zyx
    cut = config.Extract(
        voxel_nm=card.voxel_nm,
        patch_px=width if card.input_kind == "patch" else 16,  # the array that the model does not read is kept small
        cube_zyx=card.shape_zyx if card.input_kind == "cube" else (depth, 16, 16),
    )
    work = out.parent / f".{out.stem}-patches"
    with compute.workers(config.Compute()) as client:
        patches.extract(rows, volume["em_path"], cut, work, client)
    training.predict_run(run, work, rows, out)
    shutil.rmtree(work)
    predictions = pd.read_parquet(out)
    called = (predictions["p_excitatory"] >= card.tau).sum()
    print(f"{out}: {len(predictions)} synapses, {called} excitatory at the model's threshold {card.tau:.3f}")
    if predictions["label"].notna().all() and predictions["label"].nunique() == 2:
        from pipeline.stats import bootstrap

        settings = config.Stats()
        scores = bootstrap.intervals(predictions, card.tau, settings.n_bootstrap, settings.confidence, seed=0)
        print(scores.to_string(index=False, float_format="%.3f"))
