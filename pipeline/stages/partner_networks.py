"""The networks of partner assignment and cleft detection."""

import click

from pipeline import artefacts
from pipeline.recipes import PartnerNetwork
from pipeline.stages import Run, StageError, stage


@stage(settings=("partners",))
@click.option("--network", help="One network alone; by default all of the edition that are not up to date.")
def partner_networks(run: Run, network: str | None) -> None:
    """Train the networks of partner assignment and cleft detection."""
    from pipeline.learn import device, engine
    from pipeline.partners import train
    from pipeline.stages.processes import side_by_side, succeeds

    edition, build = run.config, run.build
    settings, samples = edition.partners, build.partners / "samples" / "train"
    shape = settings.patch_zyx, settings.dilation_nm
    if network:
        folder = build.partner_run(network)
        inputs = [samples / "manifest.json"]
        with run.step(inputs, [folder], "pipeline/partners/train.py", name=f"train-{network}") as step:
            entry = settings.network(network)
            step.facts["device"] = train.train(samples, entry, *shape, folder, edition.seed)["device"]
        return

    def fails(entry: PartnerNetwork, slot: int) -> bool:
        folder, wanted = build.partner_run(entry.name), train.identity(samples, entry, *shape, edition.seed)
        if engine.is_up_to_date(folder, wanted, folder / "model.safetensors"):
            return False
        return not succeeds(["partner-networks", "--network", entry.name], slot)

    names, done = [entry.name for entry in settings.networks], build.partners / "networks.json"
    outputs = [done, *map(build.partner_run, names)]
    with run.step([samples / "manifest.json"], outputs, "pipeline/partners/train.py") as step:
        if step.is_current:
            return
        at_once = edition.compute.networks_at_once or device.networks_at_once()
        failures = side_by_side(fails, settings.networks, at_once)
        if any(failures):
            failed = [name for name, failure in zip(names, failures, strict=True) if failure]
            raise StageError(f"training failed: {', '.join(failed)}; see above. The others will not be trained again")
        artefacts.write_json(done, names)
