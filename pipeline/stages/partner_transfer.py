"""Partner assignment in a folder of real EM with known partners."""

import click

from pipeline import artefacts
from pipeline.stages import Run, StageError, stage

PUBLISHED_RUN = "all"
VALIDATION_PART = 5  # one in so many synapses of the half that networks are tuned on


@stage(settings=("partners", "data"))
@click.option("--split-z", type=int, required=True, help="First section (z_vx) of the later half.")
def partner_transfer(run: Run, split_z: int) -> None:
    """Assign partners in a folder of real EM: networks as trained, and fine-tuned on half of its synapses.

    The folder has em/, segmentation/ and a `synapses.csv` with `pre_segment_id, post_segment_id`. Synapses from section
    `--split-z` on are one half, the others the second; networks tuned on either are tested on the other. AVAN tuned on
    all synapses is kept for use elsewhere (`publish-partners`).
    """
    import numpy as np
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import clefts
    from pipeline.models.names import ASSIGNERS
    from pipeline.partners import evaluate, model, train
    from pipeline.partners.samples import Samples
    from pipeline.stages.folders import known_partners, volumes

    edition, build, data = run.config, run.build, run.data
    files = {name: build.partner_run(name) / "model.safetensors" for name in ASSIGNERS}
    table = known_partners(data)
    later = table.pop("z_vx") >= split_z
    if later.all() or not later.any():
        raise StageError(f"--split-z {split_z}: all synapses of {data} lie on one side of it")
    out = build.on(data).partners
    paths = {name: path for name, path in volumes(data).items() if name != "clefts"}
    settings = edition.partners
    shape = settings.patch_zyx, settings.dilation_nm

    inputs = [*files.values(), data / "synapses.csv"]
    step = run.step(
        inputs,
        [out / "assignments.parquet"],
        "pipeline/stages/partner_transfer.py",
        settings={"split_z": split_z},
        build=build.on(data),
    )
    with step as running:
        if running.is_current:
            return
        with compute.workers(edition.compute) as client:

            def cut(name: str, region: "str | np.ndarray") -> Samples:
                cells = table.assign(region=region)
                return Samples(clefts.cut(cells, paths, settings, out / name, client, edition.seed))

            samples = cut("samples", "test")
            models = {name: model.load(path) for name, path in files.items()}
            made = evaluate.assignments(models, samples, samples.index.index, edition.seed)
            found = [made.assign(protocol="simulation")]
            kept_back = np.random.default_rng(edition.seed).permutation(len(table)) % VALIDATION_PART == 0
            for name, tested, networks in (
                ("early", later, ASSIGNERS),
                ("late", ~later, ASSIGNERS),
                (PUBLISHED_RUN, later & ~later, ("avan",)),
            ):
                tuning = cut(name, np.where(tested, "test", np.where(kept_back, "val", "train")))
                tuned = {}
                for network in networks:
                    folder = out / "runs" / name / network
                    train.train(tuning.folder, settings.tuning(network), *shape, folder, edition.seed, files[network])
                    tuned[network] = model.load(folder / "model.safetensors")
                if tested.any():
                    rows = tuning.index.index[tuning.index["region"] == "test"]
                    made = evaluate.assignments(tuned, tuning, rows, edition.seed)
                    found.append(made[made["method"].isin(tuned)].assign(protocol="fine-tuned"))
        facts = {"datastack": data.resolve().name, "split_z": split_z, "synapses": len(table)}
        artefacts.write_json(out / "volume.json", facts)
        artefacts.write_parquet(out / "assignments.parquet", pd.concat(found, ignore_index=True))
