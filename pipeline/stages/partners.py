"""The partners of anybody's clefts."""

import tempfile
from pathlib import Path

import click

from pipeline import artefacts, config
from pipeline.stages import PRETRAINED, StageError, command


@command
@click.option("--volumes", type=Path, required=True, help="Folder: em/, segmentation/, perhaps clefts/.")
@click.option("--synapses", type=Path, help="CSV: synapse_id, x_vx, y_vx, z_vx (default: all of clefts/).")
@click.option("--out", type=Path, required=True, help="Parquet file to write.")
@click.option("--run", type=Path, default=PRETRAINED / "avan", help="Folder of the model (default: pretrained/avan).")
def partners(volumes: Path, synapses: Path | None, out: Path, run: Path) -> None:
    """Assign partners to clefts: which two segments does each join?

    The clefts are those of `--synapses` (what clefts/ labels with their ids, else the contact zones around their
    points), without it all clefts of clefts/.
    """
    from pipeline import compute
    from pipeline.cohort import folder
    from pipeline.extract import clefts, listing
    from pipeline.extract.volume import Volume
    from pipeline.learn.augment import SYMMETRIES
    from pipeline.partners import assign, model, predict
    from pipeline.partners.samples import Samples
    from pipeline.stages import folders

    folders.check_output(out)
    network, card = model.load(run / "model.safetensors")
    if card.task != model.ASSIGNMENT:
        raise StageError(f"{run} holds {card.network}, which assigns no partners: name AVAN or a pruner")
    paths = folders.volumes(volumes)
    if synapses:
        table = folder.points(synapses, Volume(paths["em"], (0.0, 0.0, 0.0)).frame)
        if (least := table["synapse_id"].min()) < 1:
            raise StageError(f"{synapses}: synapse_id {least} is not positive; number the synapses from 1")
    elif "clefts" in paths:
        table = listing.list_clefts(paths["clefts"])
        if table.empty:
            raise StageError(f"{volumes / 'clefts'} labels no clefts: there is nothing to assign")
    else:
        raise StageError(f"{volumes} has no clefts/: name the synapses by --synapses FILE.csv")
    settings = config.Partners(voxel_nm=card.voxel_nm, patch_zyx=card.shape_zyx, margin_vx=0)
    with (
        tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.stem}-") as work,
        compute.workers(config.Compute()) as client,
    ):
        samples = Samples(clefts.cut(table.assign(region="test"), paths, settings, Path(work) / "samples", client))
        decisions = predict.decisions(network, card, samples, samples.index.index, SYMMETRIES)
        found = assign.assignments(card.network, decisions, samples.index, samples.segments)
    columns = ["synapse_id", "pre_segment_id", "post_segment_id", "confidence", "margin", "outcome"]
    artefacts.write_parquet(out, found[columns].sort_values("synapse_id", ignore_index=True))
    counts = ", ".join(f"{n} {outcome}" for outcome, n in found["outcome"].value_counts().items())
    print(f"{out}: {len(found)} clefts: {counts}")
