"""Every method of partner assignment on the test tissue."""

import shutil

from pipeline import artefacts
from pipeline.stages import Run, stage


@stage(settings=("partners",))
def partner_tests(run: Run) -> None:
    """Assign partners to the clefts of the test tissue, given, detected and with several partners, by every method."""
    import pandas as pd

    from pipeline import combined, compute
    from pipeline.partners import evaluate, model, polyadic
    from pipeline.partners.samples import Samples
    from pipeline.stages.folders import true_clefts, volumes

    edition, build = run.config, run.build
    names = ("assignments", "polyadic", "detections", "volume")
    paths = {name: build.partners / f"{name}.parquet" for name in names}
    networks = [entry.name for entry in edition.partners.networks]
    files = {name: build.partner_run(name) / "model.safetensors" for name in networks}
    folders = {name: build.partners / "samples" / name for name in ("train", "test")}
    inputs = [*files.values(), *(folder / "manifest.json" for folder in folders.values())]
    outputs = [*paths.values(), build.detected_clefts]
    with run.step(inputs, outputs, "pipeline/partners/evaluate.py") as step:
        if step.is_current:
            return
        models = {name: model.load(path) for name, path in files.items()}
        stores = {name: Samples(folder) for name, folder in folders.items()}
        rows = {"val": stores["train"].rows("val", partners=True), "test": stores["test"].rows("test", partners=True)}
        found = {"assignments": evaluate.assignments(models, stores["test"], rows["test"], edition.seed)}
        avan, card = models["avan"]
        several = [
            evaluate.several_posts(avan, card, stores[store], rows[region], edition.seed)
            for store, region in (("train", "val"), ("test", "test"))
        ]
        found["polyadic"] = polyadic.choose(pd.concat(several, ignore_index=True))
        sources = {"val": build.source, "test": build.partners / "source"}
        tissues = {name: volumes(source) for name, source in sources.items()}
        truth = {name: true_clefts(source) for name, source in sources.items()}
        work = build.partners / "detection"
        with compute.workers(edition.compute) as client:
            system = combined.System(files, edition.partners, work, client)
            found["detections"], found["volume"], clefts = system.measure(tissues, truth)
        shutil.rmtree(build.detected_clefts, ignore_errors=True)
        shutil.move(clefts, build.detected_clefts)
        shutil.rmtree(work)
        for name, table in found.items():
            artefacts.write_parquet(paths[name], table)
