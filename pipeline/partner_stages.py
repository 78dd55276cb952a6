"""Wiring of partner assignment: the stages of `python -m pipeline` that ask which two neurons a cleft joins.

As in `pipeline/stages.py`, stages meet here and nowhere else, and imports are inside the functions.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from pipeline import artefacts
from pipeline.stages import StageError, edition_of, side_by_side, succeeds

TEST_SEED = 2  # above the edition's, of the test tissue; that of 1 was looked at while settings were chosen
CLEFTS = "clefts.zarr"  # in `partners/`: the detected clefts that `volume.parquet` lists
ALL = "all"  # of the synapses of a folder, on which networks are tuned to be published
VALIDATION_PART = 5  # one in so many synapses of the half that networks are tuned on
QUEUE_NM = (1600, 1600, 1000)  # XYZ, shown around a cleft for proofreading


def partner_tissue(options):
    """The tissue on which partner assignment is tested: simulated from a seed of its own."""
    from pipeline import compute
    from pipeline.simulate import neuropil

    edition, build = edition_of(options)
    tissue = edition.partners.test_tissue
    if tissue is None:
        raise StageError(f"config {edition.name!r} has no `partners: test_tissue:`; demo.yaml has one to copy")
    out = build.partners / "source"
    with (
        artefacts.step(build, "partner-tissue", "pipeline/simulate/neuropil.py", [], [out], tissue),
        compute.workers(edition.compute) as client,
    ):
        neuropil.generate(tissue, edition.seed + TEST_SEED, out, client)


def partner_samples(options):
    """Cut a sample around every cleft of the edition's tissue, for training, and of the test tissue."""
    from pipeline import compute
    from pipeline.extract import clefts

    edition, build = edition_of(options)
    sources = {"train": build.source, "test": build.partners / "source"}
    inputs = [source / "manifest.json" for source in sources.values()]
    out = build.partners / "samples"
    with (
        artefacts.step(build, "partner-samples", "pipeline/extract/clefts.py", inputs, [out], edition.partners),
        compute.workers(edition.compute) as client,
    ):
        for name, source in sources.items():
            table = _truth(source).assign(**({"region": "test"} if name == "test" else {}))
            clefts.cut(table, volumes(source), edition.partners, out / name, client, edition.seed)


def partner_networks(options):
    """Train one network of partner assignment or cleft detection; without a name, all that are not up to date."""
    from pipeline.partners import train

    edition, build = edition_of(options)
    settings, samples = edition.partners, build.partners / "samples" / "train"
    if options.network:
        name, folder = options.network, _run(build, options.network)
        inputs = [samples / "manifest.json"]
        step = f"train-{name}"
        with artefacts.step(build, step, "pipeline/partners/train.py", inputs, [folder], settings) as facts:
            facts["device"] = train.train(samples, settings, name, folder, edition.seed)["device"]
        return

    def fails(name, slot):
        if train.is_up_to_date(samples, settings, name, _run(build, name), edition.seed):
            return False
        return not succeeds(["partner-networks", "--network", name], options, slot)

    failures = side_by_side(fails, settings.networks, edition.compute.networks_at_once)
    if any(failures):
        failed = [name for name, failure in zip(settings.networks, failures, strict=True) if failure]
        raise StageError(f"training failed: {', '.join(failed)}; see above. The others will not be trained again")
    artefacts.write_json(build.partners / "networks.json", list(settings.networks))


def partner_tests(options):
    """Every method on the test tissue: given clefts, detected clefts, and clefts with several partners."""
    import pandas as pd

    from pipeline import combined, compute
    from pipeline.partners import evaluate, model, polyadic
    from pipeline.partners.samples import Samples

    edition, build = edition_of(options)
    files = {name: _run(build, name) / "model.safetensors" for name in edition.partners.networks}
    models = {name: model.load(path) for name, path in files.items()}
    inputs = [build.partners / "networks.json", build.partners / "samples"]
    names = ("assignments", "polyadic", "detections", "volume")
    paths = {name: build.partners / f"{name}.parquet" for name in names}
    with (
        artefacts.step(build, "partner-tests", "pipeline/partners/evaluate.py", inputs, list(paths.values())),
        compute.workers(edition.compute) as client,
    ):
        stores = {name: Samples(build.partners / "samples" / name) for name in ("train", "test")}
        rows = {"val": stores["train"].rows("val", partners=True), "test": stores["test"].rows("test", partners=True)}
        found = {"assignments": evaluate.assignments(models, stores["test"], rows["test"], edition.seed)}
        several = [
            evaluate.several_posts(*models["avan"], stores[store], rows[region], edition.seed)
            for store, region in (("train", "val"), ("test", "test"))
        ]
        found["polyadic"], _ = polyadic.choose(pd.concat(several, ignore_index=True))
        tissues = {"val": volumes(build.source), "test": volumes(build.partners / "source")}
        truth = {"val": _truth(build.source), "test": _truth(build.partners / "source")}
        work = build.partners / "detection"
        system = combined.System(files, edition.partners, work, client)
        found["detections"], found["volume"], clefts = system.measure(tissues, truth)
        shutil.rmtree(build.partners / CLEFTS, ignore_errors=True)
        shutil.move(clefts, build.partners / CLEFTS)
        shutil.rmtree(work)
        for name, table in found.items():
            artefacts.write_parquet(paths[name], table)


def attention(options):
    """AVAN's presynaptic mask of every synapse of the cohort, on the grid of its cube, for models with `attention`."""
    import pandas as pd

    from pipeline.partners import masks, model
    from pipeline.partners.samples import Samples

    edition, build = edition_of(options)
    file = _run(build, "avan") / "model.safetensors"
    inputs = [file, build.partners / "samples" / "train" / "manifest.json", build.patches / "manifest.json"]
    with artefacts.step(build, "attention", "pipeline/partners/masks.py", inputs, [build.attention]):
        samples = Samples(build.partners / "samples" / "train")
        masks.write(*model.load(file), samples, pd.read_parquet(build.synapses), edition.extract, build.attention)


def partners(options):
    """Assign partners to the clefts of anybody's folder: em/, segmentation/, and clefts/ or synapse points.

    The clefts are those of `--synapses` (what clefts/ labels with their ids, else the contact zones around their
    points), without it all clefts of clefts/.
    """

    from pipeline import compute, config
    from pipeline.cohort import folder
    from pipeline.extract import clefts
    from pipeline.extract.volume import Volume
    from pipeline.learn.augment import SYMMETRIES
    from pipeline.partners import assign, model, predict
    from pipeline.partners.samples import Samples

    network, card = model.load(options.run / "model.safetensors")
    if card.network not in model.ASSIGNERS:
        raise StageError(f"{options.run} holds {card.network}, which assigns no partners: name AVAN or a pruner")
    paths = volumes(options.volumes)
    if options.synapses:
        frame = Volume(paths["em"], (0.0, 0.0, 0.0)).frame
        table = folder.points(options.synapses, frame)
        if (least := table["synapse_id"].min()) < 1:
            raise StageError(f"{options.synapses}: synapse_id {least} is not positive; number the synapses from 1")
    elif "clefts" in paths:
        table = clefts.list_clefts(paths["clefts"])
        if table.empty:
            raise StageError(f"{options.volumes / 'clefts'} labels no clefts: there is nothing to assign")
    else:
        raise StageError(f"{options.volumes} has no clefts/: name the synapses by --synapses FILE.csv")
    settings = config.Partners(voxel_nm=card.voxel_nm, patch_zyx=card.patch_zyx, margin_vx=0)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=options.out.parent, prefix=f".{options.out.stem}-") as work,
        compute.workers(config.Compute()) as client,
    ):
        store = clefts.cut(table.assign(region="test"), paths, settings, Path(work) / "samples", client)
        samples = Samples(store)
        decisions = predict.decisions(network, card, samples, samples.index.index, SYMMETRIES)
        found = assign.assignments(card.network, decisions, samples.index, samples.segments)
    columns = ["synapse_id", "pre_segment_id", "post_segment_id", "confidence", "margin", "outcome"]
    artefacts.write_parquet(options.out, found[columns].sort_values("synapse_id", ignore_index=True))
    counts = ", ".join(f"{n} {outcome}" for outcome, n in found["outcome"].value_counts().items())
    print(f"{options.out}: {len(found)} clefts: {counts}")


def partner_transfer(options):
    """AVAN, pruners and rules on a folder of real EM with known partners: as trained, and fine-tuned on half of it.

    The folder has em/, segmentation/ and a `synapses.csv` with `pre_segment_id, post_segment_id`. Synapses from section
    `--split-z` on are one half, the others the second; networks tuned on either are tested on the other. AVAN
    tuned on all synapses is kept for use elsewhere (`publish_partners`).
    """
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import clefts
    from pipeline.partners import evaluate, model, train
    from pipeline.partners.samples import Samples

    edition, build = edition_of(options)
    files = {name: _run(build, name) / "model.safetensors" for name in model.ASSIGNERS}
    table = _known_partners(options.volumes)
    halves = table.pop("z_vx") >= options.split_z
    if halves.all() or not halves.any():
        raise StageError(f"--split-z {options.split_z}: all synapses of {options.volumes} lie on one side of it")
    out = build.partners / "transfer"
    paths = {name: path for name, path in volumes(options.volumes).items() if name != "clefts"}
    changed = {"epochs": edition.partners.tuning_epochs, "epochs_of": {}, "learning_rate": edition.partners.tuning_rate}
    settings = edition.partners.model_copy(update=changed)

    def cut(name, region):
        return Samples(clefts.cut(table.assign(region=region), paths, settings, out / name, client, edition.seed))

    step = artefacts.step(
        build, "partner-transfer", "pipeline/partner_stages.py", list(files.values()), [out], settings
    )
    with step, compute.workers(edition.compute) as client:
        samples = cut("samples", "test")
        models = {name: model.load(path) for name, path in files.items()}
        found = [evaluate.assignments(models, samples, samples.index.index, edition.seed).assign(protocol="simulation")]
        kept_back = np.random.default_rng(edition.seed).permutation(len(table)) % VALIDATION_PART == 0
        for name, tested, networks in (
            ("early", halves, model.ASSIGNERS),
            ("late", ~halves, model.ASSIGNERS),
            (ALL, halves & ~halves, ("avan",)),
        ):
            tuning = cut(name, np.where(tested, "test", np.where(kept_back, "val", "train")))
            tuned = {}
            for network in networks:
                folder = out / "runs" / name / network
                train.train(tuning.folder, settings, network, folder, edition.seed, files[network])
                tuned[network] = model.load(folder / "model.safetensors")
            if tested.any():
                rows = tuning.index.index[tuning.index["region"] == "test"]
                made = evaluate.assignments(tuned, tuning, rows, edition.seed)
                found.append(made[made["method"].isin(tuned)].assign(protocol="fine-tuned"))
        facts = {"datastack": options.volumes.resolve().name, "split_z": options.split_z, "synapses": len(table)}
        artefacts.write_json(out / "volume.json", facts)
        artefacts.write_parquet(out / "assignments.parquet", pd.concat(found, ignore_index=True))


def publish_partners(options):
    """Copy AVAN, tuned on all synapses of a folder of real EM, into a folder of its own, with a model card."""
    import dataclasses

    from pipeline.partners import model
    from pipeline.render import model_card

    edition, build = edition_of(options)
    transfer = build.partners / "transfer"
    trained = transfer / "runs" / ALL / "avan"
    _, card = model.load(trained / "model.safetensors")
    record = artefacts.read_json(build.root / "provenance" / "partner-transfer.json")
    volume = artefacts.read_json(transfer / "volume.json")
    values = artefacts.read_json(build.analysis / "partner_transfer.json")
    scores = [
        (f"{volume['datastack']}, {what}, {how}", values[f"{protocol}_avan_{key}"]["text"])
        for protocol, how in (
            ("simulation", "trained on simulation alone"),
            ("fine_tuned", "tuned on one half of the synapses and tested on the other"),
        )
        for key, what in (("accuracy", "pair and direction"), ("direction", "direction of the true pair"))
    ]
    text = model_card.partners_text(
        dataclasses.asdict(card),
        {
            "data": "simulated neuropil",
            "tuned": (volume["synapses"], volume["datastack"]),
            "seed": edition.seed,
            "parameters": artefacts.read_json(trained / "result.json")["parameters"],
            "scores": scores,
            "command": f"make partners-transfer CONFIG={edition.name} DATA=<folder> SPLIT_Z={volume['split_z']}",
            "commit": record["commit"],
            "config_hash": record["config_hash"],
        },
    )
    with artefacts.atomic_folder(options.out) as folder:
        shutil.copyfile(trained / "model.safetensors", folder / "model.safetensors")
        (folder / "README.md").write_text(text, encoding="utf-8")


def _known_partners(folder):
    """The synapses of a folder with their partners' segments and `z_vx`; StageError where these are not all known."""
    import pandas as pd

    from pipeline.cohort import folder as reader
    from pipeline.extract.volume import Volume

    path, frame = folder / "synapses.csv", Volume(volumes(folder)["em"], (0.0, 0.0, 0.0)).frame
    table = reader.points(path, frame)
    table["z_vx"] = frame.to_vx(table[[f"center_{axis}_nm" for axis in "xyz"]])[:, 2]
    cells = pd.read_csv(path, dtype=str, keep_default_na=False).rename(columns=str.strip)
    cells = cells[cells["synapse_id"].str.strip() != ""].set_index("synapse_id")  # a line of commas is a blank one
    cells.index = cells.index.astype("int64")
    for column in ("pre_segment_id", "post_segment_id"):
        if column not in cells:
            raise StageError(f"{path} has no column {column}; the true partners of its synapses must be known")
        for synapse, cell in cells[column].items():
            if not (cell.strip().isdecimal() and 0 < int(cell) < 2**64):
                raise StageError(f"{path}, synapse {synapse}, column {column}: {cell!r} is no segment's id")
        table[column] = np.array([int(cells.at[synapse, column]) for synapse in table["synapse_id"]], np.uint64)
    return table


def queue(options):
    """Pages on which a person decides where AVAN and the proximity pruner disagree."""
    import pandas as pd

    from pipeline.extract import surroundings
    from pipeline.extract.volume import Volume, open_labels
    from pipeline.partners import disagreement
    from pipeline.render import queue as pages

    edition, build = edition_of(options)
    paths, rows = volumes(build.partners / "source"), build.partners / "volume.parquet"
    em = Volume(paths["em"], (0.0, 0.0, 0.0))
    labels = [open_labels(path, em.frame.resolution_nm) for path in (paths["segmentation"], build.partners / CLEFTS)]

    def look(item):
        at_nm = (item.x_nm, item.y_nm, item.z_nm)
        (grey, segments, clefts), center = surroundings.around(em, labels, at_nm, QUEUE_NM)
        return (grey, segments, clefts == item.cleft_id), center

    items = disagreement.blinded(disagreement.queue(pd.read_parquet(rows)), edition.seed)
    with artefacts.step(build, "queue", "pipeline/render/queue.py", [rows], [build.partners / "queue"]):
        first, *_ = pages.write(items, look, em.frame.resolution_nm, build.partners / "queue")
    print(f"{len(items)} clefts to decide on: open {first}")


def volumes(folder):
    """Paths of the precomputed volumes of a folder: `em`, `segmentation` and, where there is one, `clefts`.

    StageError where one of the first two is missing, and for what is there but cannot be read.
    """
    folder = Path(folder).resolve()
    names = [name for name in ("em", "segmentation", "clefts") if (folder / name).exists()]
    if missing := {"em", "segmentation"} - set(names):
        raise StageError(f"{folder} has no precomputed volume {sorted(missing)[0]}/: partners need it")
    for name in names:
        if not (folder / name / "info").is_file():
            raise StageError(f"{folder / name} is no precomputed volume (no info file)")
    return {name: f"precomputed://file://{folder / name}" for name in names}


def _truth(source):
    """Clefts of a simulated tissue with their true partners, whose segments have the ids of their neurons."""
    import pandas as pd

    table = pd.read_parquet(source / "truth" / "synapses.parquet")
    names = {f"{side}_neuron_id": f"{side}_segment_id" for side in ("pre", "post")}
    table = table.rename(columns=names).astype(dict.fromkeys(names.values(), "uint64"))
    return table[["synapse_id", *(f"center_{axis}_nm" for axis in "xyz"), *names.values()]]


def _run(build, network):
    return build.partners / "runs" / network
