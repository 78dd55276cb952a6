"""Where networks look, on a toy volume of known structures: wiring from voxels to the table."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from cloudvolume import CloudVolume
from fake_build import run_script, succeed, write_images

from pipeline import artefacts
from pipeline.artefacts import Build
from pipeline.learn import checkpoint
from pipeline.models import registry

SIZE, OFFSET = (192, 192, 32), (640, 320, 80)  # XYZ voxels
LABELS = {"cleft": 1, "density": 2, "vesicle": 3, "mitochondrion": 4}
MODELS = [
    {"name": "cnn", "network": "cnn", "crop": [32, 32]},
    {"name": "cnn_untrained", "network": "cnn", "crop": [32, 32], "trained": False},
    {"name": "sections", "network": "cnn", "sections": 3, "crop": [32, 32]},
    {"name": "unet3d", "network": "unet3d", "crop": [4, 32, 32]},
    {"name": "unet3d_other", "network": "unet3d", "crop": [4, 32, 32]},
    {"name": "unet3d_untrained", "network": "unet3d", "crop": [4, 32, 32], "trained": False},
]
SEEN = {"cnn": ("2D", 1), "sections": ("2.5D", 3), "unet3d": ("3D", 4)}
INPUT = {"2D": (1, 32, 32), "2.5D": (3, 32, 32), "3D": (4, 32, 32)}  # ZYX
PADDED = 116  # the synapse whose images were padded


def _write(path, array, kind):
    info = CloudVolume.create_new_info(
        1, kind, str(array.dtype), "raw", (8, 8, 40), OFFSET, SIZE, chunk_size=(64, 64, 16)
    )
    volume = CloudVolume(f"file://{path}", info=info, progress=False, compress=False)
    volume.commit_info()
    volume[tuple(slice(low, low + n) for low, n in zip(OFFSET, SIZE, strict=True))] = array[..., None]


@pytest.fixture(scope="module")
def located(tmp_path_factory):
    """`(build, environment, arrays, centres)`, arrays `[X, Y, Z]`, after the analysis and its figure and table."""
    folder = tmp_path_factory.mktemp("evidence")
    rng = np.random.default_rng(0)
    build = Build("toy", folder / "build")
    settings = {
        "name": "toy",
        "source": {"kind": "simulated"},
        "extract": {"patch_px": 48, "cube_zyx": [6, 48, 48]},
        "stats": {"n_bootstrap": 200},
        "models": MODELS,
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(settings))
    em = rng.integers(1, 255, SIZE).astype(np.uint8)
    clefts, structures = np.zeros(SIZE, np.uint32), np.zeros(SIZE, np.uint8)
    structures[rng.random(SIZE) < 0.1] = LABELS["vesicle"]
    structures[:, ::9] = LABELS["mitochondrion"]
    ids, centres = np.arange(101, 117), []
    for n, synapse_id in enumerate(ids):
        x, y, z = 30 + 44 * (n % 4), 30 + 44 * (n // 4), int(rng.integers(6, SIZE[2] - 6))
        clefts[x - 2 : x + 9, y - 1 : y + 2, z - 1 : z + 1] = synapse_id  # its centre is not the middle of its box
        centres.append((x, y, z))
    structures[np.roll(clefts, 3, axis=1) > 0] = LABELS["density"]
    structures[clefts > 0] = LABELS["cleft"]
    for name, array, kind in (("clefts", clefts, "segmentation"), ("structures", structures, "segmentation")):
        _write(build.source / name, array, kind)
    artefacts.write_json(build.source / "manifest.json", {"structures": LABELS})

    centres = np.array(centres)
    rows = pd.DataFrame(
        {"synapse_id": ids, "pre_neuron_id": 7000 + np.arange(16) // 2, "label": np.arange(16) // 2 % 2}
    )
    rows["post_neuron_id"], rows["split"], rows["fold"], rows["size"] = 1, "test", 0, 60
    for axis, position in zip("xyz", ((centres + OFFSET) * (8, 8, 40)).T, strict=True):
        rows[f"center_{axis}_nm"] = position.astype(float)
    artefacts.write_parquet(build.synapses, rows)
    cut = [em[x - 24 : x + 24, y - 24 : y + 24, z - 3 : z + 3].T for x, y, z in centres]  # voxel size // 2: the centre
    write_images(build.patches, "cube", np.stack(cut))
    write_images(build.patches, "patch", np.stack(cut)[:, 3])
    artefacts.write_parquet(build.patches / "index.parquet", rows[["synapse_id"]].assign(row=range(len(rows))))
    quality = rows[["synapse_id"]].assign(patch_padded=0.0, cube_padded=np.where(ids == PADDED, 0.1, 0.0))
    artefacts.write_parquet(build.patches / "quality.parquet", quality)
    artefacts.write_json(build.patches / "manifest.json", {"voxel_nm": [8.0, 8.0, 40.0]})

    torch.manual_seed(0)
    runs = []
    for entry, auc in zip(MODELS, (0.8, 0.6, 0.7, 0.9, 0.7, 0.5), strict=True):
        dimensionality, sections = next(SEEN[name] for name in SEEN if entry["name"].startswith(name))
        network = registry.build(entry["network"], entry.get("sections", 1))
        card = checkpoint.Card(
            task="classification",
            network=entry["network"],
            build={"sections": entry.get("sections", 1)},
            channels=("em",),
            voxel_nm=(8.0, 8.0, 40.0),
            shape_zyx=INPUT[dimensionality],
            decision={"tau": 0.5, "temperature": 1.0},
        )
        checkpoint.save(build.run(entry["name"]) / "model.safetensors", network, card)
        known = {"model": entry["name"], "label": entry["name"].upper(), "network": entry["network"]}
        known["dimensionality"] = dimensionality
        trained = entry.get("trained", True)
        runs.append(known | {"sections": sections, "trained": trained, "folds": False, "validation_auc": auc})
    artefacts.write_parquet(build.analysis / "performance.runs.parquet", pd.DataFrame(runs))

    environment = {"SYNAPSE_EI_CONFIG": str(folder / "toy.yaml"), "SYNAPSE_EI_BUILD": str(folder / "build")}
    environment["OMP_NUM_THREADS"] = "1"
    succeed(environment, "analysis/evidence.py", "figures/evidence.py", "tables/evidence.py")
    return (
        build,
        environment,
        {"em": em, "clefts": clefts, "structures": structures},
        dict(zip(ids, centres, strict=True)),
    )


def _inputs(shape_zyx):
    """Slices XYZ of a network's input around a centre."""
    size = shape_zyx[::-1]
    return lambda centre: tuple(slice(c - n // 2, c - n // 2 + n) for c, n in zip(centre, size, strict=True))


def test_the_best_of_each_dimensionality_and_its_own_control_are_scored(located):
    build, *_ = located
    chosen = pd.read_parquet(build.analysis / "evidence.chosen.parquet")
    expected = [
        ("2D", "cnn"),
        ("2D", "cnn_untrained"),
        ("2.5D", "sections"),
        ("3D", "unet3d"),
        ("3D", "unet3d_untrained"),
    ]
    assert list(zip(chosen["dimensionality"], chosen["model"], strict=True)) == expected


def test_even_spread_is_the_share_of_each_region_in_the_input(located):
    """Counted from the volumes, with distances to every voxel of the cleft."""
    build, _, arrays, centres = located
    shares = pd.read_parquet(build.analysis / "evidence.shares.parquet").query("role == 'even'")
    shares = shares.set_index(["dimensionality", "synapse_id", "part"])["share"]
    assert PADDED not in shares.index.get_level_values("synapse_id")
    parts = {"synapse": (1, 2), "vesicles": (3,), "mitochondria": (4,), "elsewhere": (0,)}
    for dimensionality in ("2D", "3D"):
        for synapse_id in (101, 106, 112):
            box = _inputs(INPUT[dimensionality])(centres[synapse_id])
            cleft = np.argwhere(arrays["clefts"] == synapse_id) * (8, 8, 40)
            voxels = np.stack(np.mgrid[box], axis=-1).reshape(-1, 1, 3) * (8, 8, 40)
            near = (((voxels - cleft) ** 2).sum(axis=-1).min(axis=1) <= 100**2).mean()
            assert shares[dimensionality, synapse_id, "near"] == pytest.approx(near)
            for part, labels in parts.items():
                share = np.isin(arrays["structures"][box], labels).mean()
                assert shares[dimensionality, synapse_id, part] == pytest.approx(share)


def test_pictures_show_the_voxels_whose_structures_are_scored(located):
    build, _, arrays, centres = located
    pictures = pd.read_parquet(build.analysis / "evidence.pictures.parquet")
    for (dimensionality, synapse_id), pixels in pictures.groupby(["dimensionality", "synapse_id"]):
        box = _inputs(INPUT[dimensionality])(centres[synapse_id])
        middle = INPUT[dimensionality][0] // 2
        pixels = pixels.sort_values(["y", "x"])
        assert (pixels["grey"].to_numpy() == arrays["em"][box][:, :, middle].T.ravel()).all()
        synapse = np.isin(arrays["structures"][box][:, :, middle], (1, 2)).T.ravel()
        assert (pixels["synapse"].to_numpy() == synapse).all()


def test_parts_of_the_evidence_add_up_and_the_means_are_over_synapses(located):
    build, *_ = located
    shares = pd.read_parquet(build.analysis / "evidence.shares.parquet")
    keys = ["dimensionality", "role", "method"]
    total = shares[shares["part"] != "near"].groupby([*keys, "synapse_id"])["share"].sum(min_count=4).dropna()
    assert total.to_numpy() == pytest.approx(1)
    result = pd.read_parquet(build.analysis / "evidence.result.parquet").set_index([*keys, "part", "measure"])
    means = shares.groupby([*keys, "part"])["share"].mean()
    for key, mean in means.items():
        assert result.loc[(*key, "share"), "value"] == pytest.approx(mean)
    gain = result.loc[("3D", "trained", "occlusion", "near", "minus control")]
    own, control = (means["3D", role, "occlusion", "near"] for role in ("trained", "control"))
    assert gain["value"] == pytest.approx(own - control)
    assert gain["low"] <= gain["value"] <= gain["high"]
    ratio = result.loc[("2D", "trained", "occlusion", "synapse", "times even"), "value"]
    assert ratio == pytest.approx(
        means["2D", "trained", "occlusion", "synapse"] / means["2D", "even", "even", "synapse"]
    )


def test_table_and_figure_report_what_the_analysis_found(located):
    build, *_ = located
    rows = pd.read_csv(build.tables / "evidence.csv")
    assert list(rows["Model"].unique()) == [
        "CNN",
        "CNN_UNTRAINED",
        "Even spread",
        "SECTIONS",
        "UNET3D",
        "UNET3D_UNTRAINED",
    ]
    structures = rows.drop(columns=["Model", "Input", "Method", "Within 100 nm"])
    total = structures.apply(lambda column: column.str.rstrip("%").astype(float)).sum(axis=1)
    assert total.to_numpy() == pytest.approx(100, abs=0.25)
    caption = (build.figures / "evidence.caption.md").read_text()
    values = artefacts.read_json(build.analysis / "evidence.json")
    assert (values["n_synapses"]["value"], values["n_neurons"]["value"]) == (15, 8)
    assert "UNET3D (3D)" in caption


def test_an_edition_without_known_structures_is_refused(located, tmp_path):
    _, environment, *_ = located
    settings = {"name": "real", "source": {"kind": "folder"}, "models": MODELS}
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(settings))
    done = run_script("analysis/evidence.py", environment | {"SYNAPSE_EI_CONFIG": str(tmp_path / "real.yaml")})
    assert done.returncode
    assert "'real' is not simulated: the structure of its voxels is unknown" in done.stderr
