"""Samples of clefts for partner assignment."""

from pipeline.stages import Run, stage

SAMPLE_SETTINGS = ("voxel_nm", "patch_zyx", "margin_vx", "background", "val_fraction")


@stage(settings=tuple(f"partners.{name}" for name in SAMPLE_SETTINGS))
def partner_samples(run: Run) -> None:
    """Cut a sample around every cleft of the edition's tissue, for training, and of the test tissue."""
    from pipeline import compute
    from pipeline.extract import clefts
    from pipeline.stages.folders import true_clefts, volumes

    edition, build = run.config, run.build
    sources = {"train": build.source, "test": build.partners / "source"}
    inputs = [source / "manifest.json" for source in sources.values()]
    out = build.partners / "samples"
    outputs = [out / name / "manifest.json" for name in sources]
    with run.step(inputs, outputs, "pipeline/extract/clefts.py", divides=True) as step:
        if step.is_current:
            return
        with compute.workers(edition.compute) as client:
            for name, source in sources.items():
                table = true_clefts(source).assign(**({"region": "test"} if name == "test" else {}))
                clefts.cut(table, volumes(source), edition.partners, out / name, client, edition.seed)
