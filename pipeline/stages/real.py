"""All that applies to a folder of real data, as statistics without pixels."""

import datetime
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import artefacts, config
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stages import PRETRAINED, Run, StageError, stage

if TYPE_CHECKING:
    import pandas as pd
    from dask.distributed import Client

    from pipeline.learn.checkpoint import Card

TEXTURE_PX = 256  # side of the patches whose texture is measured, where the volume is so large


@stage(settings=("data", "stats"))
@click.option(
    "--networks", type=Path, multiple=True, default=(PRETRAINED,),
    help="Folder of networks, a folder each; may be given more than once (default: pretrained).",
)  # fmt: skip
def real(run: Run, networks: tuple[Path, ...]) -> None:
    """Measure all that applies to a folder of real data, and train nothing: statistics, no pixels.

    The folder has em/ and `synapses.csv`, and perhaps segmentation/ with the partners' segments: networks, controls,
    floors, direction of partners, texture and junctions. Or it holds such folders; or it is a connectome whose analysis
    is collected. What comes out is `statistics.json` of the folder's tree, with its provenance.
    """
    from pipeline import compute

    data, build = run.data, run.build.on(run.data)
    command = f"make real DATA={data.resolve().name}"
    if (data / "connections.parquet").is_file():
        analysis = artefacts.Build(config.load("connectome", data).name, run.build.root.parent).analysis
        tables = sorted(data.glob("*.parquet"))
        with run.step([*tables, analysis / "connectome.json"], [build.statistics], _SHOWN, build=build) as step:
            if not step.is_current:
                values = artefacts.read_json(analysis / "connectome.json")
                digests = {path.name: artefacts.sha256(path) for path in tables}
                _write(build.statistics, command, digests, {}, connectivity=values)
        return
    tissues, files = _tissues(data), _networks(networks)
    listed = [path for folder in tissues.values() for path in (folder / "synapses.csv", *sorted(folder.glob("*/info")))]
    if networks != (PRETRAINED,):
        command += f' NETWORKS="{" ".join(map(str, networks))}"'
    with run.step([*listed, *files.values()], [build.statistics], _SHOWN, build=build) as step:
        if step.is_current:
            return
        digests = {str(path.relative_to(data)): artefacts.sha256(path) for path in listed}
        found = {}
        with compute.workers(run.config.compute) as client:
            for name, folder in tissues.items():
                work = build.root / "tissues" / name
                found[name] = _tissue(folder, work, files, run.config, client)
                digests[f"{name}, as cut"] = _digest_of_images(work)
        _write(build.statistics, command, digests, files, tissues=found)


_SHOWN = "pipeline/stages/real.py"


def _tissues(data: Path) -> dict[str, Path]:
    """Folders with em/ and `synapses.csv` by name: the folder itself, or those in it."""
    for folders in ([data], sorted(data.glob("*/"))):
        if found := {f.resolve().name: f for f in folders if (f / "em").is_dir() and (f / "synapses.csv").is_file()}:
            return found
    raise StageError(
        f"{data} has no em/ with a synapses.csv, in itself or in its folders, and no connections.parquet: there is "
        "nothing to measure (docs/real-em.md describes such folders)"
    )


def _networks(folders: Iterable[Path]) -> dict[str, Path]:
    """Model files of the folders by name, which is that of each network's own folder."""
    files: dict[str, Path] = {}
    for folder in folders:
        found = {path.parent.name: path for path in sorted(folder.glob("*/model.safetensors"))}
        if not found:
            raise StageError(f"{folder} holds no networks: none of its folders has a model.safetensors")
        if twice := sorted(files.keys() & found):
            raise StageError(f"two networks are called {twice[0]}: {files[twice[0]]} and {found[twice[0]]}")
        files |= found
    return files


def _tissue(
    folder: Path, work: Path, files: Mapping[str, Path], edition: config.Config, client: "Client | None"
) -> dict[str, Any]:
    """Statistics of one tissue, as `reference.Tissue` has them; what is cut is kept in `work`."""
    import pandas as pd

    from pipeline.extract import floors, junction, patches
    from pipeline.learn import checkpoint, classification
    from pipeline.learn import run as training
    from pipeline.partners import model
    from pipeline.shards import Rows
    from pipeline.stages.folders import known_partners, read_synapses, volumes
    from pipeline.stats import real as stats
    from pipeline.stats import texture

    rows, volume = read_synapses(folder, folder / "synapses.csv")
    cards = {name: checkpoint.read_card(file) for name, file in files.items()}
    classifiers = {name: card for name, card in cards.items() if card.task == classification.TASK}
    cut, left_out = _geometry(volume["em_path"], classifiers)
    patches.extract(rows, volume["em_path"], cut, work / "patches", client)
    kinds = {}
    for name, card in classifiers.items():
        if name not in left_out:
            found = training.predict(files[name], {"em": work / "patches"}, rows[["synapse_id"]])
            rows = rows.merge(found.rename(columns={"p_excitatory": name}), on="synapse_id")
            kinds[name] = "network" if card.trained else "control"
    direction, profiles = [], None
    if set(PARTNER_SEGMENTS) <= set(pd.read_csv(folder / "synapses.csv", nrows=0).columns.str.strip()):
        pairs, paths = known_partners(folder), volumes(folder)
        floor = stats.floors(floors.measure(pairs, paths["em"], paths["segmentation"]))
        rows = rows.merge(floor, on="synapse_id")
        kinds |= dict.fromkeys(floor.columns.drop("synapse_id"), "floor")
        labelled = pairs.merge(rows[["synapse_id", "label"]].dropna(), on="synapse_id").astype({"label": int})
        profiles = junction.profiles(labelled, paths["em"], paths["segmentation"]).round({"grey": 4})
        assigners = {name: files[name] for name, card in cards.items() if card.task == model.ASSIGNMENT}
        direction = _direction(pairs, paths, assigners, folder.resolve().name, work, edition, client)
    else:
        left_out["floors, junctions and direction"] = "synapses.csv does not name the partners' segments"
    if "on_spine" in rows:
        rows["spine"] = rows["on_spine"].astype("Float64")
        kinds["spine"] = "floor"
    confidence = edition.stats.confidence
    scores = [{"score": n, "kind": k, **found} for n, k in kinds.items() for found in stats.aucs(rows, n, confidence)]
    if not scores:
        left_out["AUC"] = f"an interval needs {stats.FEWEST} presynaptic neurons of each class"
    index = pd.read_parquet(work / "patches" / "index.parquet")
    images = Rows(work / "patches" / "images.zarr" / "patch")[index["row"].to_numpy()]
    return {
        "sample": stats.sample(rows),
        "scores": scores,
        "direction": direction,
        "texture": texture.summary(images, cut.voxel_nm),
        "junctions": None if profiles is None else profiles.to_dict(orient="list"),
        "left_out": left_out,
    }


def _geometry(em_path: str, cards: "Mapping[str, Card]") -> tuple[config.Extract, dict[str, str]]:
    """What is cut for classifiers and texture, and which classifiers cannot be applied, with the reason.

    The side of patches is a power of two that fits into the volume, so that small volumes are not padded.
    """
    from pipeline.extract.volume import FINEST, Volume
    from pipeline.space import EM, zyx

    low, high = Volume(em_path, FINEST).bounds_nm
    size = zyx((high - low) // EM.resolution_nm).astype(int).tolist()
    left_out, cube = dict[str, str](), [1, 16, 16]
    for name, card in cards.items():
        if card.voxel_nm != EM.resolution_nm or len(card.channels) > 1:
            left_out[name] = (
                f"it reads {', '.join(card.channels)} at {card.voxel_nm} nm, not em at {EM.resolution_nm} nm"
            )
        elif any(want > have for want, have in zip(card.shape_zyx, size, strict=True)):
            left_out[name] = f"it reads {list(card.shape_zyx)} voxels (ZYX) and the volume has {size}"
        else:
            cube = [max(sides) for sides in zip(cube, card.shape_zyx, strict=True)]
    side = min(TEXTURE_PX, 2 ** (min(size[1:]).bit_length() - 1))
    return config.Extract(voxel_nm=EM.resolution_nm, patch_px=side, cube_zyx=(cube[0], cube[1], cube[2])), left_out


def _direction(
    pairs: "pd.DataFrame",
    paths: Mapping[str, str],
    files: Mapping[str, Path],
    tissue: str,
    work: Path,
    edition: config.Config,
    client: "Client | None",
) -> list[dict[str, Any]]:
    """Pairs and directions by each network and, on the samples of the first one, by rules."""
    from pipeline.extract import clefts
    from pipeline.partners import evaluate, model
    from pipeline.partners.samples import Samples
    from pipeline.stats import assignment

    found: dict[str, dict[str, Any]] = {}
    volumes = {name: path for name, path in paths.items() if name != "clefts"}
    for name, file in files.items():
        network, card = model.load(file)
        settings = config.Partners(voxel_nm=card.voxel_nm, patch_zyx=card.shape_zyx, margin_vx=0)
        cells = pairs.drop(columns="z_vx").assign(region="test")
        samples = Samples(clefts.cut(cells, volumes, settings, work / name, client, edition.seed))
        made = evaluate.assignments({name: (network, card)}, samples, samples.index.index, edition.seed)
        for row in assignment.accuracy(made, edition.stats.confidence).to_dict(orient="records"):
            entry = {
                "method": row["method"],
                "in_sample": row["method"] == name and card.tuned_on == tissue,
                "n_synapses": row["n"],
                "n_correct": row["n_correct"],
                "n": row["direction_n"],
                "n_right": row["direction_n_right"],
            }
            limits = {"value": "direction_accuracy", "low": "direction_low", "high": "direction_high"}
            found.setdefault(row["method"], entry | {key: row[column] for key, column in limits.items()})
    return list(found.values())


def _digest_of_images(work: Path) -> str:
    """One digest of all pixels that classifiers and texture were given."""
    import pandas as pd

    quality = pd.read_parquet(work / "patches" / "quality.parquet").sort_values("synapse_id")
    return hashlib.sha256(quality[["patch_sha256", "cube_sha256"]].to_csv().encode()).hexdigest()


def _write(
    out: Path, command: str, inputs: Mapping[str, str], networks: Mapping[str, Path], **statistics: dict[str, Any]
) -> None:
    surroundings = artefacts.surroundings()
    provenance = {
        "command": command,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "inputs": inputs,
        "networks": {name: artefacts.sha256(path) for name, path in networks.items()},
        **{key: surroundings[key] for key in ("commit", "packages", "python")},
    }
    artefacts.write_json(out, {"provenance": provenance, **statistics})
