"""The texture of real tissue, which simulations are held against."""

from pathlib import Path

import click

from pipeline.stages import Run, stage


@stage()
@click.option("--out", type=Path, required=True, help="JSON file to write.")
def reference(run: Run, out: Path) -> None:
    """Measure the texture of the extracted patches, as the reference for realism."""
    from pipeline.stats import texture

    texture.reference(run.build.patches, out)
