"""Everything that can be checked before anything long starts, and what that will take."""

import dataclasses
import functools
import math
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from pipeline import artefacts, config
from pipeline.columns import CENTER_NM, CLASS_OF_LABEL
from pipeline.stages import Run, StageError, stage

if TYPE_CHECKING:
    import pandas as pd

SAMPLED = 4  # neurons of each class whose synapses are asked for; one synapse of each is cut
SAMPLED_AGAIN = 2  # synapses that are cut before a stage that reads the volume
NETWORK_BYTES = 500e6  # while it trains: four copies (weights, their mean, the optimiser's two moments) of 31 million


@dataclasses.dataclass(frozen=True)
class Expected:
    """What an edition will cut: rows of it with the columns of a cohort, some or all, and how many there will be."""

    rows: "pd.DataFrame"
    em_path: str
    n_synapses: int


@stage()
@click.option("--before", type=click.Choice(["extract", "units", "train"]), help="Only what this stage needs.")
def check(run: Run, before: str | None) -> None:
    """Check token, tables, volume and machine, and estimate what the edition takes, before anything long starts.

    Samples of what the edition will read are read: of the tables, of the synapses and of the images. Answers of the
    annotation service are kept, so that the cohort does not ask again, and no later stage needs a token.
    """
    source = run.config.source
    if before == "train":
        _disk(run, NETWORK_BYTES * len(run.config.models))
        _machine(run.config)
        return
    if before:
        _images(run, _of_cohort(run))
        return
    if isinstance(source, config.Connectome):
        raise StageError(f"config {run.config.name!r} reads two tables, which `make connectivity` checks at once")
    expected = _of_folder(run) if isinstance(source, config.Folder) else _of_service(run, source)
    _images(run, expected)
    _machine(run.config)


def _say(what: str, found: str) -> None:
    click.echo(f"{what:<44} {found}")


def _of_service(run: Run, source: config.Simulated | config.Cave) -> Expected:
    """Ask for the tables of cells, and for the synapses of some neurons."""
    from pipeline.cohort import splits
    from pipeline.stages import cohort

    edition = run.config
    with cohort.annotations(source, run.build) as service:
        version = f"{source.datastack}, version {source.materialization_version}"
        _say("token", "accepted")
        _say("datastack", f"{version} of {service.timestamp[:10]}, served until {service.expires}")
        found = cohort.candidates(service, source, edition)
        for entry in found.flow:
            _say(entry["step"], ", ".join([f"{entry['neurons']:,} neurons", *_classes(entry)]))
        if edition.cohort.split == "neurons":
            splits.by_neuron(found.neurons, edition.cohort.val_fraction, edition.cohort.test_fraction, edition.seed)
        drawn = found.neurons.groupby("label").sample(frac=1, random_state=edition.seed)
        drawn = drawn.groupby("label").head(SAMPLED)
        synapses = service.synapses(drawn["pre_neuron_id"])
        for name in (value for key, value in source.tables if key != "nuclei"):
            _say(f"table {name}", f"readable; points in voxels of {_sizes(service.voxel_nm(name))} nm")
        seconds, em_path = service.seconds_per_id, service.image_source
    names = {f"ctr_pt_{axis}_nm": f"center_{axis}_nm" for axis in "xyz"}
    synapses = synapses.rename(columns=names | {"id": "synapse_id", "pre_pt_root_id": "pre_neuron_id"})
    synapses = synapses[synapses["pre_neuron_id"] != synapses["post_pt_root_id"]]
    if synapses.empty:
        raise StageError(f"none of {len(drawn)} neurons has a synapse in {source.tables.synapses}: is its name right?")
    most = edition.cohort.max_synapses_per_neuron
    each = synapses.groupby("pre_neuron_id").size().reindex(drawn["pre_neuron_id"], fill_value=0).clip(upper=most)
    mean = each.groupby(drawn["label"].to_numpy()).mean()
    n = round(sum(mean[label] * rows for label, rows in found.neurons["label"].value_counts().items()))
    time_needed = "answered before" if seconds is None else _time(seconds * len(found.neurons))
    _say("synapses, estimated", f"{n:,} of {len(found.neurons):,} neurons, {time_needed}")
    return Expected(synapses.groupby("pre_neuron_id").head(1), em_path, n)


def _of_folder(run: Run) -> Expected:
    from pipeline.stages.folders import read_synapses

    rows, volume = read_synapses(run.data, run.data / "synapses.csv")
    entry = {
        name: rows.loc[rows["label"] == label, "pre_neuron_id"].nunique() for label, name in CLASS_OF_LABEL.items()
    }
    neurons = f"{rows['pre_neuron_id'].nunique():,} neurons"
    _say("synapses.csv", ", ".join([f"{len(rows):,} synapses of {neurons}", *_classes(entry)]))
    return Expected(rows, volume["em_path"], len(rows))


def _of_cohort(run: Run) -> Expected:
    import pandas as pd

    synapses, volume = pd.read_parquet(run.build.synapses), artefacts.read_json(run.build.cohort / "volume.json")
    rows = synapses.sample(min(SAMPLED_AGAIN, len(synapses)), random_state=run.config.seed)
    return Expected(rows, volume["em_path"], len(synapses))


def _images(run: Run, expected: Expected) -> None:
    """Cut some synapses, and reckon from it what all of them take."""
    from pipeline import compute
    from pipeline.extract import misread, patches, plan
    from pipeline.extract.volume import Volume

    settings = run.config.extract
    volume = Volume(expected.em_path, settings.voxel_nm)
    low, high = volume.bounds_nm.tolist()
    _say("volume", expected.em_path)
    _say("voxels read", f"{_sizes(volume.frame.resolution_nm)} nm (XYZ), from {_sizes(low)} to {_sizes(high)} nm")
    plan.check_inside(expected.rows, expected.em_path, volume)
    rows, workers = expected.rows.head(2 * SAMPLED), compute.number_of_workers(run.config.compute)
    cut = functools.partial(patches.cut_synapse, settings=settings, volume=volume)
    needed = _cuts("images", cut, rows, expected.n_synapses, settings, workers)
    if any(model.trained and not model.folds and model.dimensions == 3 for model in run.config.models):
        cut = functools.partial(misread.cut_synapse, settings=settings, volume=volume, seed=run.config.seed)
        n = min(expected.n_synapses, misread.MOST)
        needed += _cuts("images of the units fault", cut, rows, n, settings, workers)
    _disk(run, needed - _stored(run.build.patches))


def _disk(run: Run, needed: float) -> None:
    root = run.build.root.absolute()
    free = shutil.disk_usage(next(path for path in (root, *root.parents) if path.exists())).free
    _say("disk", f"{_bytes(max(needed, 0))} more needed, {_bytes(free)} free")
    if needed > free:
        raise StageError(
            f"another {_bytes(needed)} will not fit into the {_bytes(free)} that are free at {root}: take another "
            "BUILD, or fewer synapses by `cohort: {max_synapses_per_neuron: ...}`"
        )


def _stored(folder: Path) -> int:
    """Bytes of a published folder of images, or of one that an interrupted run left."""
    folders = [folder, *folder.parent.glob(f".{folder.name}-work")]
    return sum(path.stat().st_size for one in folders for path in one.rglob("*.*") if path.is_file())


def _cuts(name: str, cut: Callable, rows: "pd.DataFrame", n: int, settings: config.Extract, workers: int) -> int:
    """Say what `cut` took for each of `rows` and will take for `n` synapses; returns the bytes that these will fill."""
    from pipeline.extract.volume import ExtractionError

    requests, faults = [], []
    started, before = time.monotonic(), _received()
    for synapse_id, center_nm in zip(rows["synapse_id"], rows[CENTER_NM].to_numpy(float), strict=True):
        try:
            requests.append(cut(center_nm)[2]["n_chunks"])
        except ExtractionError as error:
            faults.append(f"synapse {synapse_id}: {error}")
    seconds, received = (time.monotonic() - started) / len(rows), (_received() - before) / len(rows)
    if faults:
        _say(f"{name}, unusable", f"{len(faults)} of {len(rows)}: {'; '.join(faults)}")
    if not requests:
        raise StageError(f"none of {len(rows)} synapses has usable images; the first is {faults[0]}")
    each = sum(requests) / len(requests)
    stored = n * (settings.patch_px**2 + math.prod(settings.cube_zyx))
    _say(f"{name}, sampled", f"{len(requests)} synapses: {each:.0f} requests and {seconds:.2f} s each")
    total = f"{n:,} synapses, {n * each:,.0f} requests, {_bytes(n * received)} received, {_bytes(stored)} stored"
    _say(f"{name}, estimated", f"{total}, {_time(n * seconds / workers)} with {workers} workers")
    return stored


def _machine(edition: config.Config) -> None:
    """The GPU, and published weights, which are fetched now if they were not before."""
    import torch

    from pipeline.models import pretrained

    for name in sorted({model.network for model in edition.models if model.pretrained}):
        pretrained.published_weights(name)
        _say(f"published weights of {name}", "there")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none: networks are trained on the CPU"
    _say("GPU", gpu)


def _received() -> int:
    """Bytes that this machine has received over its network so far; 0 where the system does not say."""
    counters = Path("/proc/net/dev")
    if not counters.is_file():
        return 0
    lines = counters.read_text().splitlines()[2:]
    return sum(int(line.partition(":")[2].split()[0]) for line in lines)


def _classes(entry: dict[str, Any]) -> list[str]:
    return [f"{entry[name]:,} {name}" for name in CLASS_OF_LABEL.values()]


def _sizes(values: Iterable[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _bytes(n: float) -> str:
    return tqdm.format_sizeof(n, "B")


def _time(seconds: float) -> str:
    return (
        f"{tqdm.format_interval(seconds)} (h:min:s)" if seconds >= 3600 else f"{tqdm.format_interval(seconds)} (min:s)"
    )
