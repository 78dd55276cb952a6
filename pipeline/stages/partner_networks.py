"""The networks of partner assignment and cleft detection."""

import click

from pipeline import artefacts
from pipeline.stages import Run, StageError, stage


@stage(settings=("partners",))
@click.option("--network", help="One network alone; by default all of the edition that are not up to date.")
def partner_networks(run: Run, network: str | None) -> None:
    """Train the networks of partner assignment and cleft detection."""
    from pipeline.partners import train
    from pipeline.stages.processes import side_by_side, succeeds

    edition, build = run.config, run.build
    settings, samples = edition.partners, build.partners / "samples" / "train"
    if network:
        folder = build.partner_run(network)
        inputs = [samples / "manifest.json"]
        with run.step(inputs, [folder], "pipeline/partners/train.py", name=f"train-{network}") as step:
            step.facts["device"] = train.train(samples, settings, network, folder, edition.seed)["device"]
        return

    def fails(name: str, slot: int) -> bool:
        if train.is_up_to_date(samples, settings, name, build.partner_run(name), edition.seed):
            return False
        return not succeeds(["partner-networks", "--network", name], slot)

    failures = side_by_side(fails, settings.networks, edition.compute.networks_at_once)
    if any(failures):
        failed = [name for name, failure in zip(settings.networks, failures, strict=True) if failure]
        raise StageError(f"training failed: {', '.join(failed)}; see above. The others will not be trained again")
    artefacts.write_json(build.partners / "networks.json", list(settings.networks))
