"""AVAN's masks of the cohort's synapses, for classifiers that read them."""

from pipeline.stages import Run, stage


@stage(settings=("partners", "extract"))
def masks(run: Run) -> None:
    """Write AVAN's presynaptic mask of every synapse of the cohort, on the grid of its cube."""
    import pandas as pd

    from pipeline.partners import masks as channel
    from pipeline.partners import model
    from pipeline.partners.samples import Samples

    edition, build = run.config, run.build
    file, folder = build.partner_run("avan") / "model.safetensors", build.partners / "samples" / "train"
    inputs = [file, folder / "manifest.json", build.patches / "manifest.json"]
    with run.step(inputs, [build.masks], "pipeline/partners/masks.py") as step:
        if step.is_current:
            return
        synapses = pd.read_parquet(build.synapses)
        avan, card = model.load(file)
        channel.write(avan, card, Samples(folder), synapses, edition.extract, build.masks)
