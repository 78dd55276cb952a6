"""Neurons called from their connections."""

from pathlib import Path

import click

from pipeline.stages import command


@command
@click.option("--connectome", type=Path, required=True, help="Folder: neurons.parquet, connections.parquet.")
@click.option("--out", type=Path, required=True, help="Parquet file to write.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True, help="Of the folds.")
def connectivity(connectome: Path, out: Path, seed: int) -> None:
    """Call the presynaptic neuron of every connection of a connectome, each by a model that never saw the neuron."""
    from pipeline.connectivity import connectome as predictor
    from pipeline.stages.folders import check_output

    check_output(out)
    predictor.predict(connectome, out, seed)
