"""Wiring: each function is one stage of `python -m pipeline`, and the only place where stages meet.

Imports are inside the functions, so that training on a bare GPU machine never needs caveclient or cloud-volume.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from pipeline import artefacts, config
from pipeline.artefacts import Build
from pipeline.space import VoxelFrame, zyx


class StageError(RuntimeError):
    """A stage that cannot run as asked; the text says what to do."""


def settings(options):
    """Write one JSON file a section of the configuration, touching only those whose content changed."""
    edition, build = edition_of(options)
    values = edition.model_dump(mode="json")
    for name in ("source", "cohort", "extract", "models", "partners", "stats"):
        path = build.root / "settings" / f"{name}.json"
        value = {"seed": edition.seed, name: values[name]}
        if not path.is_file() or artefacts.read_json(path) != value:
            artefacts.write_json(path, value)


def simulate(options):
    """The tissue as precomputed volumes, its truth, and the annotation tables that the sandbox serves."""
    from pipeline import compute
    from pipeline.simulate import neuropil, tables

    edition, build = edition_of(options)
    if edition.source.kind != "simulated":
        raise StageError(f"config {edition.name!r} reads real data; there is nothing to simulate")
    manifest = build.source / "manifest.json"
    manifest.unlink(missing_ok=True)  # last to be written again: a source without it is unfinished
    with artefacts.step(build, "simulate", "pipeline/simulate/neuropil.py", [], [build.source], edition.source):
        with compute.workers(edition.compute) as client:
            neuropil.generate(edition.source, edition.seed, build.source, client)
        tables.write(build.source / "truth", build.source / "tables", edition.seed)


def sandbox(options):
    """Serve the simulated annotation tables until interrupted."""
    from pipeline.cave import sandbox as server

    edition, build = edition_of(options)
    if edition.source.kind != "simulated":
        raise StageError(f"config {edition.name!r} reads real data; the sandbox serves a simulated edition")
    server.run(build.source, edition.source, options.port)


def cohort(options):
    """Ask the annotation service (or read `synapses.csv`), then label, filter, split and audit."""
    edition, build = edition_of(options)
    if edition.source.kind == "connectome":
        raise StageError(f"config {edition.name!r} has no images: `make connectivity DATA=<folder>` is all it makes")
    cube_nm = VoxelFrame(edition.extract.voxel_nm).to_nm(zyx(edition.extract.cube_zyx))
    folder = edition.source.kind == "folder"
    read = _folder_cohort if folder else _service_cohort
    inputs = [edition.source.path / "synapses.csv"] if folder and edition.source.path else []
    if edition.source.kind == "simulated":
        inputs = [build.source / "manifest.json", build.source / "tables"]
    with artefacts.step(
        build, "cohort", "pipeline/cohort/assemble.py", inputs, [build.cohort], edition.cohort
    ) as facts:
        found, volume = read(edition, build, cube_nm)
        facts |= {name: volume[name] for name in ("kind", "datastack", "materialization_version") if name in volume}
        artefacts.write_json(build.cohort / "volume.json", volume)
        artefacts.write_json(build.cohort / "flow.json", found.flow)
        artefacts.write_json(build.cohort / "audit.json", found.audit)
        with artefacts.atomic(build.cohort / "conflicts.csv") as path:
            found.conflicts.to_csv(path, index=False)
        artefacts.write_parquet(build.cohort / "neurons.parquet", found.neurons)
        artefacts.write_parquet(build.synapses, found.synapses)


def _service_cohort(edition, build, cube_nm):
    from pipeline.cave.queries import Annotations
    from pipeline.cohort import assemble

    source, names = edition.source, edition.source.tables
    with _service(source, build) as (address, token):
        service = Annotations(source, address, token)
        tables = [service.table(name) for name in (names.aibs_columns, names.aibs_metamodel, names.baylor)]
        proofreading = service.table(names.proofreading)
        limit = source.max_neurons_per_class if source.kind == "cave" else None
        candidates = assemble.candidates(*tables, proofreading, edition.cohort, edition.seed, limit)
        synapses = service.synapses(candidates.neurons["pre_neuron_id"])
        found = assemble.assemble(candidates, synapses, edition.cohort, cube_nm, edition.seed)
        volume = {
            "kind": source.kind,
            "em_path": service.image_source,
            "segmentation_path": service.segmentation_source,
            "datastack": source.datastack,
            "materialization_version": source.materialization_version,
            "timestamp": service.timestamp,
        }
    return found, volume


@contextlib.contextmanager
def _service(source, build):
    """Address and token of the annotation service: the sandbox's for a simulation, else the real one's."""
    from pipeline.cave import sandbox as server

    if source.kind == "cave":
        yield source.server_address, None
        return
    with server.serve(build.source, source) as address:
        yield address, server.TOKEN


def _folder_cohort(edition, build, cube_nm):
    from pipeline.cohort import assemble

    if edition.source.path is None:
        raise StageError(
            f"config {edition.name!r} reads a folder: name it, `make ... DATA=<folder>` or `--data <folder>`"
        )
    rows, volume = _read_folder(edition.source.path, edition.source.path / "synapses.csv")
    return assemble.assemble_folder(rows, edition.cohort, cube_nm, edition.seed), volume


def _read_folder(volumes, csv):
    """Synapses of a CSV file in the frame of `<volumes>/em` at its finest resolution, and the `volume.json` entry."""
    from pipeline.cohort import folder
    from pipeline.extract.volume import Volume

    em_path = f"precomputed://file://{Path(volumes).resolve() / 'em'}"
    finest = Volume(em_path, (0.0, 0.0, 0.0)).frame
    return folder.read(csv, finest), {"kind": "folder", "em_path": em_path, "datastack": Path(volumes).resolve().name}


def extract(options):
    """Cut a patch and a cube around every synapse of the cohort."""
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import patches

    edition, build = edition_of(options)
    em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
    synapses = pd.read_parquet(build.synapses)
    with (
        artefacts.step(
            build, "extract", "pipeline/extract/patches.py", [build.synapses], [build.patches], edition.extract
        ),
        compute.workers(edition.compute) as client,
    ):
        patches.extract(synapses, em_path, edition.extract, build.patches, client)


def train(options):
    """Train one model of the edition (or fit the untrained control) and predict every synapse; without a name, all."""
    from pipeline.learn import distributed, run

    edition, build = edition_of(options)
    if options.model is None:
        _train_all(edition, build, options)
        return
    model = edition.model(options.model)
    folder, predictions = build.run(model.name), build.predictions(model.name)
    arguments = (build.patches, build.synapses, model, folder, predictions, edition.seed, _attention(build, model))
    with distributed.group() as rank:
        if rank:
            run.train(*arguments)
            return
        inputs = [build.patches / "manifest.json", build.synapses]
        step = f"train-{model.name}"
        with artefacts.step(build, step, "pipeline/learn/run.py", inputs, [predictions, folder], model) as facts:
            run.train(*arguments)
            facts["device"] = artefacts.read_json(folder / "result.json")["device"]


def _train_all(edition, build, options):
    """Train what is not up to date, each model in a process of its own, and print a table.

    A model that fails is reported and the others are trained all the same; StageError names it at the end.
    """
    import pandas as pd

    from pipeline.learn import run

    if not edition.models:
        raise StageError(f"config {edition.name!r} lists no models to train")

    def fails(model, slot):
        folder, predictions = build.run(model.name), build.predictions(model.name)
        attention = _attention(build, model)
        if run.is_up_to_date(build.patches, build.synapses, model, folder, predictions, edition.seed, attention):
            return False
        return not succeeds(["train", "--model", model.name], options, slot, edition.compute.training_processes)

    failures = side_by_side(fails, edition.models, edition.compute.networks_at_once)
    rows = []
    for model, failed in zip(edition.models, failures, strict=True):
        result = {} if failed else artefacts.read_json(build.run(model.name) / "result.json")
        rows.append(
            {
                "model": model.name,
                "state": "failed" if failed else "trained" if model.trained else "untrained",
                "validation AUC": result.get("validation", {}).get("roc_auc"),
                "epochs": result.get("epochs"),
                "s per epoch": result.get("seconds_per_epoch"),
                "parameters": result.get("parameters"),
            }
        )
    table = pd.DataFrame(rows)
    print(table.to_markdown(index=False, floatfmt=",.3f", intfmt=",", missingval=""))
    failures = table.loc[table["state"] == "failed", "model"].tolist()
    if failures:
        raise StageError(
            f"{len(failures)} of {len(table)} models failed: {', '.join(failures)}; see above. "
            "The others are trained and will not be trained again"
        )
    artefacts.write_json(build.models, [model.name for model in edition.models])


def units(options):
    """The units fault, made on purpose: misread cubes, and the edition's first network on cubes trained on them."""
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import misread
    from pipeline.learn import run

    edition, build = edition_of(options)
    models = [m for m in edition.models if m.trained and not m.folds and config.DIMENSIONS[m.network] == 3]
    if not models:
        raise StageError(f"config {edition.name!r} has no trained network on cubes: there is nothing to misread")
    model, folder = models[0], build.root / "faults" / "units"
    em_path = artefacts.read_json(build.cohort / "volume.json")["em_path"]
    synapses = pd.read_parquet(build.synapses)
    patches, predictions, done = folder / "patches", folder / "predictions.parquet", folder / "model.json"
    done.unlink(missing_ok=True)  # last to be written again: without it the fault is unfinished
    outputs = [patches / "manifest.json", predictions]
    with artefacts.step(build, "units", "pipeline/extract/misread.py", [build.synapses], outputs, model):
        with compute.workers(edition.compute) as client:
            misread.extract(synapses, em_path, edition.extract, patches, client, edition.seed)
        run.train(patches, build.synapses, model, folder / "runs" / model.name, predictions, edition.seed)
    artefacts.write_json(done, {"model": model.name})


def _attention(build, model):
    """Where the masks are that a model reads beside its images, or None."""
    return build.attention if model.attention else None


def side_by_side(function, items, n):
    """`[function(item, slot), ...]`, `n` at a time; `slot` counts those that run together from 0."""
    slots = SimpleQueue()
    for slot in range(n):
        slots.put(slot)

    def call(item):
        slot = slots.get()
        try:
            return function(item, slot)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(call, items))


def succeeds(arguments, options, slot, processes=1):
    """Whether `python -m pipeline <arguments>` succeeds for the same edition, in a process (or several) of its own."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, "-m", "pipeline", *arguments]
    command += ["--config", str(options.config), "--build", str(options.build)]
    command += ["--data", str(options.data)] if options.data else []
    environment = os.environ | {"TQDM_POSITION": str(slot)}  # a progress bar of its own line
    return subprocess.run(command, env=environment).returncode == 0


def predict(options):
    """Apply a trained model to the synapses of a CSV file in a folder of precomputed volumes.

    Patches of the model's own voxel size are cut into a hidden folder beside the output, from which an interrupted
    command goes on. Where the file has cell types, the scores are printed with their intervals.
    """
    import pandas as pd

    from pipeline import compute
    from pipeline.extract import patches
    from pipeline.learn import checkpoint, run

    _, card = checkpoint.load(options.run / "model.safetensors")
    rows, volume = _read_folder(options.volumes, options.synapses)
    depth, *_, width = card.shape_zyx
    cut = config.Extract(
        voxel_nm=card.voxel_nm,
        patch_px=width if card.input_kind == "patch" else 16,  # the kind that the model does not read is kept small
        cube_zyx=card.shape_zyx if card.input_kind == "cube" else (depth, 16, 16),
    )
    work = options.out.parent / f".{options.out.stem}-patches"
    with compute.workers(config.Compute()) as client:
        patches.extract(rows, volume["em_path"], cut, work, client)
    run.predict_run(options.run, work, rows, options.out)
    shutil.rmtree(work)
    predictions = pd.read_parquet(options.out)
    called = (predictions["p_excitatory"] >= card.tau).sum()
    print(f"{options.out}: {len(predictions)} synapses, {called} excitatory at the model's threshold {card.tau:.3f}")
    if predictions["label"].notna().all() and predictions["label"].nunique() == 2:
        from pipeline.stats import bootstrap

        settings = config.Stats()
        scores = bootstrap.intervals(predictions, card.tau, settings.n_bootstrap, settings.confidence, seed=0)
        print(scores.to_string(index=False, float_format="%.3f"))


def transfer(options):
    """Apply the networks of the edition, as they are, to a folder of real EM; measure floors beside them.

    The folder's patches come from `make extract CONFIG=kasthuri`; beside `synapses.csv` it needs `segmentation/`.
    """
    import pandas as pd

    from pipeline.extract import floors
    from pipeline.learn import data, device, matching, run
    from pipeline.learn import predict as learn_predict

    edition, build = edition_of(options)
    real = Build("kasthuri", options.build)
    rows, volume = _read_folder(options.volumes, options.volumes / "synapses.csv")
    written = pd.read_csv(options.volumes / "synapses.csv")
    missing = {*floors.SEGMENTS, "on_spine", "cell_type", "axon_id"} - set(written)
    if missing or rows[["label", "on_spine"]].isna().any(axis=None):
        what = f"the columns {sorted(missing)}" if missing else "some values of cell_type or on_spine"
        raise StageError(f"{options.volumes / 'synapses.csv'} lacks {what}; floors and scores need them all")
    rows = rows.merge(written[["synapse_id", *floors.SEGMENTS]], on="synapse_id", validate="one_to_one")
    out = build.root / "transfer"
    models = [model for model in edition.models if not (model.folds or model.attention) and model.train_share == 1]
    inputs = [build.models, real.patches / "manifest.json"]
    with artefacts.step(build, "transfer", "pipeline/stages.py", inputs, [out]):
        segmentation = f"precomputed://file://{(options.volumes / 'segmentation').resolve()}"
        found = floors.measure(rows, volume["em_path"], segmentation)
        known = ["synapse_id", "pre_neuron_id", "label", "on_spine"]
        artefacts.write_parquet(out / "floors.parquet", rows[known].merge(found, on="synapse_id"))
        place = device.prepare(run.THREADS)
        train = pd.read_parquet(build.synapses).query("split == 'train'")
        train = data.with_images(train, build.patches)["synapse_id"]
        levels = {}
        for kind in {model.images for model in models}:
            source = matching.quantiles(data.Images(real.patches, kind, rows["synapse_id"]))
            target = matching.quantiles(data.Images(build.patches, kind, train))
            levels[kind] = matching.lookup(source, target)
        for model in models:
            path = build.run(model.name) / "model.safetensors"
            plain = learn_predict.predict(path, real.patches, rows, place)
            matched = learn_predict.predict(path, real.patches, rows, place, levels[model.images])
            plain["p_matched"] = matched["p_excitatory"]
            artefacts.write_parquet(out / f"{model.name}.parquet", plain)
        artefacts.write_json(out / "volume.json", volume | {"em_path": Path(volume["em_path"]).name})


def connectivity(options):
    """Call the presynaptic neuron of every connection of a connectome, each by a model that never saw the neuron."""
    from pipeline.connectivity import connectome

    connectome.predict(options.connectome, options.out, options.seed)


def publish(options):
    """Copy a trained model into a folder of its own, with a model card, for `predict`."""
    import dataclasses

    import pandas as pd

    from pipeline.learn import checkpoint
    from pipeline.render import model_card
    from pipeline.stats import bootstrap

    edition, build = edition_of(options)
    model = edition.model(options.model)
    trained = build.run(model.name) / "model.safetensors"
    _, card = checkpoint.load(trained)
    rows = pd.read_parquet(build.predictions(model.name))
    stats, seed = edition.stats, edition.seed
    test = rows[rows["split"] == "test"]
    scores = bootstrap.intervals(test, card.tau, stats.n_bootstrap, stats.confidence, seed)
    record = artefacts.read_json(build.root / "provenance" / f"train-{model.name}.json")
    volume = artefacts.read_json(build.cohort / "volume.json")
    simulated = edition.source.kind == "simulated"
    text = model_card.text(
        model,
        dataclasses.asdict(card),
        artefacts.read_json(build.run(model.name) / "result.json"),
        scores,
        {
            "data": "simulated neuropil" if simulated else f"electron microscopy, {volume['datastack']}",
            "simulated": simulated,
            "command": f"make models CONFIG={edition.name}",
            "commit": record["commit"],
            "config_hash": record["config_hash"],
            "confidence": stats.confidence,
            "n_bootstrap": stats.n_bootstrap,
            "splits": {
                split: (len(part := rows[rows["split"] == split]), part["pre_neuron_id"].nunique())
                for split in ("train", "val", "test")
            },
        },
    )
    with artefacts.atomic_folder(options.out) as folder:
        shutil.copyfile(trained, folder / "model.safetensors")
        (folder / "README.md").write_text(text, encoding="utf-8")


def analyse(options):
    """Run a notebook script of `analysis/`, and keep the executed notebook and its companion page."""
    from pipeline.render import companion, notebook

    edition, build = edition_of(options)
    name = options.script.stem
    outputs = [build.analysis / f"{name}.json"]
    with artefacts.step(build, f"analysis-{name}", options.script, options.inputs, outputs, edition.stats):
        notebook.run(options.script, build, options.config, options.data)
        companion.render(build.analysis / f"{name}.ipynb", build.site / f"{name}.html")


def draw(options):
    """Run a script of `figures/` or `tables/`, as `python <script>` does, and record its provenance."""
    edition, build = edition_of(options)
    environment = os.environ | {"SYNAPSE_EI_CONFIG": str(options.config), "SYNAPSE_EI_BUILD": str(options.build)}
    environment.pop("SYNAPSE_EI_DATA", None)
    if options.data is not None:
        environment["SYNAPSE_EI_DATA"] = str(options.data)
    kind, name = options.script.parent.name, options.script.stem
    folder = build.root / kind
    outputs = [folder / f"{name}.{suffix}" for suffix in (("png", "svg") if kind == "figures" else ("md", "csv"))]
    with artefacts.step(build, f"{kind}-{name}", options.script, options.inputs, outputs, edition.stats):
        if subprocess.run([sys.executable, options.script], env=environment).returncode:
            raise StageError(f"{options.script} failed, see above")


def page(options):
    """Stage the manuscript with what was made, render it, and merge the provenance of all steps."""
    from pipeline.render import page as paper

    edition, build = edition_of(options)
    inputs = [build.figures, build.tables]
    with artefacts.step(build, "page", "pipeline/render/page.py", inputs, [build.site / "index.html"]):
        paper.stage(build, edition)
        paper.render(build)
    artefacts.merge_provenance(build)


def reference(options):
    """Measure the texture of the extracted patches, as the reference that simulations are held against."""
    from pipeline.stats import texture

    _, build = edition_of(options)
    texture.reference(build.patches, options.out)


def edition_of(options):
    """The configuration and the build tree that the command line names."""
    edition = config.load(options.config, options.data)
    return edition, Build(edition.name, options.build)
