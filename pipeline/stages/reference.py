"""What real tissue looks like, which simulations are held against."""

from pathlib import Path

import click

from pipeline import artefacts
from pipeline.stages import Run, stage


@stage()
@click.option("--out", type=Path, required=True, help="JSON file to write.")
def reference(run: Run, out: Path) -> None:
    """Measure texture and junctions of a folder of real EM, as the reference for realism: statistics, no pixels."""
    import pandas as pd

    from pipeline.extract import junction
    from pipeline.shards import Rows
    from pipeline.stages.folders import known_partners, volumes
    from pipeline.stats import texture

    build = run.build
    rows = pd.read_parquet(build.patches / "index.parquet")["row"]
    images = Rows(build.patches / "images.zarr" / "patch")[rows.to_numpy()]
    voxel_nm = artefacts.read_json(build.patches / "manifest.json")["voxel_nm"]
    classes = pd.read_parquet(build.synapses)[["synapse_id", "label"]].dropna()
    synapses = known_partners(run.data).merge(classes[["synapse_id", "label"]], on="synapse_id")
    paths = volumes(run.data)
    profiles = junction.profiles(synapses.astype({"label": int}), paths["em"], paths["segmentation"])
    profiles["grey"] = profiles["grey"].round(4)
    summary = texture.summary(images, voxel_nm)
    artefacts.write_json(out, summary | {"junctions": profiles.to_dict(orient="list")})
