"""A small build with plausible content, for analyses, figures and tables: `python tests/analysis/fake_build.py DIR`.

Scores have an effect of each neuron, as real ones do. `build_fake` gives the environment that points scripts to it.
"""

import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
import zarr
from cloudvolume import CloudVolume
from PIL import Image
from scipy.ndimage import gaussian_filter

from pipeline import artefacts, config, shards
from pipeline.artefacts import Build

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MODELS = (
    {"name": "resnet18", "network": "resnet18"},
    {"name": "resnet18_untrained", "network": "resnet18", "trained": False},
    {"name": "sections", "network": "resnet18", "sections": 5, "seeds": [0, 1, 2]},
    {"name": "unet3d", "network": "unet3d"},
    {"name": "unet3d_untrained", "network": "unet3d", "trained": False},
    {"name": "unet3d_folds", "network": "unet3d", "folds": True},
    {"name": "resnet18_half", "network": "resnet18", "train_share": 0.5},
)
#: Effect of the class on the scores of a family, in validation and in test synapses; of others 1.
SKILL = {
    "resnet18": (0.7, 2.4),
    "resnet18_half": (3.0, 1.0),
    "resnet18_untrained": (0.1, 0.5),
    "unet3d": (1.6, 1.6),
    "unet3d_untrained": (0.3, 0.4),
}
ROOT_ID = 864691135000000000


def build_fake(folder, models=MODELS, seed=7, **sections):
    """Write config and build tree under `folder`; returns `(config path, build root, environment)`.

    `sections` are further sections of the configuration.
    """
    folder = Path(folder)
    path = folder / "fake.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = {
        "name": "fake",
        "source": {"kind": "simulated"},
        "extract": {"patch_px": 128},
        "stats": {"n_bootstrap": 500, "n_test_sets": 40},
        "models": list(models),
    } | sections
    path.write_text(yaml.safe_dump(settings))
    edition = config.load(path)
    root = folder / "build"
    build = Build("fake", root)
    rng = np.random.default_rng(seed)
    synapses = _cohort(build, rng)
    _patches(build, synapses, rng)
    _predictions(build, synapses, edition.models, rng)
    _source(build, synapses, rng)
    environment = {"SYNAPSE_EI_CONFIG": str(path), "SYNAPSE_EI_BUILD": str(root), "OMP_NUM_THREADS": "1"}
    return path, root, environment


def _cohort(build, rng):
    n_neurons = 100
    label = (np.arange(n_neurons) % 3 > 0).astype(int)
    split = np.array(["train", "train", "train", "val", "val", "test", "test"])[np.arange(n_neurons) // 3 % 7]
    neuron = np.repeat(np.arange(n_neurons), rng.integers(3, 24, n_neurons))
    n = len(neuron)
    synapses = pd.DataFrame(
        {
            "synapse_id": 1_000_000 + rng.permutation(n),
            "pre_neuron_id": ROOT_ID + neuron,
            "post_neuron_id": ROOT_ID + 1000 + rng.integers(0, 60, n),
            **{f"center_{axis}_nm": rng.uniform(1000, 9000, n).round(-1) for axis in "xyz"},
            "size": rng.integers(50, 800, n),
            "label": label[neuron],
            "split": split[neuron],
            "fold": neuron % 5,
        }
    ).sort_values("synapse_id", ignore_index=True)
    artefacts.write_parquet(build.synapses, synapses)
    artefacts.write_parquet(build.cohort / "neurons.parquet", _neurons(label))
    steps = [("cells in a table of cell types", 140, None), ("axon proofread", 110, None), ("with synapses", 100, n)]
    flow = [{"step": step, "neurons": neurons, "synapses": left} for step, neurons, left in steps]
    artefacts.write_json(build.cohort / "flow.json", flow)
    conflicts = {"nucleus_id": [7, 9], "decision": ["excluded", "kept"], "reason": ["tables disagree", "overruled"]}
    pd.DataFrame(conflicts).to_csv(build.cohort / "conflicts.csv", index=False)
    pairs = ("train-val", "train-test", "val-test")
    audit = {
        "cube_nm": [1600, 1600, 1200],
        "shared_presynaptic_neurons": dict.fromkeys(pairs, 0),
        "shared_postsynaptic_neurons": {pair: {"neurons": 12, "synapses": [40, 31]} for pair in pairs},
        "overlapping_cubes": {pair: {"pairs": 55, "synapses": [22, 20]} for pair in pairs},
    }
    artefacts.write_json(build.cohort / "audit.json", audit)
    return synapses


def _neurons(label):
    """The presynaptic neurons, and the postsynaptic ones, of a quarter of which the class is unknown."""
    posts = np.arange(60)
    rng = np.random.default_rng(0)
    neurons = pd.DataFrame(
        {
            "neuron_id": ROOT_ID + np.concatenate([np.arange(len(label)), 1000 + posts]),
            "cell_class": [
                *np.where(label, "excitatory", "inhibitory"),
                *np.array(["excitatory", "inhibitory", "nonneuron", None])[posts % 4],
            ],
        }
    )
    return neurons.assign(**{f"soma_{axis}_nm": rng.uniform(0, 500_000, len(neurons)) for axis in "xyz"})


def _patches(build, synapses, rng):
    noise = gaussian_filter(rng.normal(size=(len(synapses), 128, 128)), (0, 3, 3))
    grey = np.clip(150 + 45 * noise / noise.std(), 0, 255).astype(np.uint8)
    write_images(build.patches, "patch", grey)
    artefacts.write_parquet(build.patches / "index.parquet", synapses[["synapse_id"]].assign(row=range(len(synapses))))
    n, own = len(synapses), np.random.default_rng(1)
    facts = {"padded": own.uniform(0, 0.5, n), "mean": own.normal(120, 8, n), "std": 35.0}
    quality = {f"{kind}_{name}": fact for kind in ("patch", "cube") for name, fact in facts.items()}
    quality = synapses[["synapse_id"]].assign(**quality, cube_blank_sections=own.integers(0, 2, n))
    artefacts.write_parquet(build.patches / "quality.parquet", quality)
    manifest = {"n": len(synapses), "patch_px": 128, "voxel_nm": [8.0, 8.0, 40.0]}
    artefacts.write_json(build.patches / "manifest.json", manifest)


def write_images(folder, name, images):
    """Add the array `name` of `images` `[N, ...]` to the images of an extraction, as the extraction writes them."""
    group = zarr.open_group(folder / "images.zarr", mode="a")
    axes = ("n", *"zyx"[4 - images.ndim :])
    shards.create(group, name, images.shape, shards.MAX_ROWS, axes)[:] = images


def _predictions(build, synapses, models, rng):
    neuron = synapses["pre_neuron_id"] - ROOT_ID
    for model in models:
        validation, test = SKILL.get(model.family or model.name, (1, 1))
        effect = np.where(synapses["split"] == "test", test, validation)
        score = effect * (synapses["label"] * 2 - 1) + 0.8 * rng.normal(size=100)[neuron]
        score = score + rng.normal(size=len(synapses)) + 0.6
        keys = ["synapse_id", "pre_neuron_id", "label", "split", "fold"]
        rows = synapses[keys].assign(p_excitatory=1 / (1 + np.exp(-score)))
        result = {"parameters": 11_170_000, "device": "cpu", "train_neurons": round(43 * model.train_share)}
        if model.folds:
            rows["split"] = "test"
            result |= {"tau": 0.5, "validation": {"balanced_accuracy": 0.7, "roc_auc": 0.8}, "seconds_per_epoch": 3.5}
        elif model.trained:
            result |= {"best_epoch": 1 + model.seed % 3, "seconds_per_epoch": 3.25}
        artefacts.write_parquet(build.predictions(model.name), rows)
        artefacts.write_json(build.run(model.name) / "result.json", result)


def _source(build, synapses, rng):
    """The truth of all synapses, and two cells in 256x256x16 voxels: one cleft of each class, a missing section."""
    size = (256, 256, 16)
    x = np.indices(size)[0]
    noise = gaussian_filter(rng.normal(size=size), (2, 2, 0))
    em = np.clip(150 + 40 * noise / noise.std(), 1, 255).astype(np.uint8)
    em[:, :, 8] = 0
    segmentation = np.where(x < 124, ROOT_ID, np.where(x > 132, ROOT_ID + 1, 0)).astype(np.uint64)
    clefts = np.zeros(size, dtype=np.uint32)
    clefts[124:132, 40:80, 4:12] = 1
    clefts[124:132, 160:190, 4:12] = 2
    for name, data, kind, encoding in (
        ("em", em, "image", "jpeg"),
        ("segmentation", segmentation, "segmentation", "compressed_segmentation"),
        ("clefts", clefts, "segmentation", "compressed_segmentation"),
    ):
        info = CloudVolume.create_new_info(
            1, kind, str(data.dtype), encoding, (8, 8, 40), (64, 32, 8), size, chunk_size=(64, 64, 16)
        )
        path = build.source / name
        path.mkdir(parents=True)
        volume = CloudVolume(f"file://{path}", info=info, progress=False, compress=False)
        volume.commit_info()
        volume[64:320, 32:288, 8:24] = data[..., None]
    (build.source / "truth").mkdir()
    neurons = {"neuron_id": ROOT_ID + np.arange(3), "label": [1, 0, 1], "presynaptic": [True, True, False]}
    artefacts.write_parquet(build.source / "truth" / "neurons.parquet", pd.DataFrame(neurons))
    label = np.array([1, 0, *synapses["label"]])  # those of the two clefts are not in the cohort
    n = len(label)
    synapses = pd.DataFrame(
        {
            "synapse_id": [1, 2, *synapses["synapse_id"]],
            "label": label,
            "center_x_nm": np.where(np.arange(n) < 2, (64 + 128) * 8.0, 90_000.0 + np.arange(n)),
            "center_y_nm": np.where(np.arange(n) == 0, (32 + 60) * 8.0, (32 + 175) * 8.0),
            "center_z_nm": (8 + 6) * 40.0,
            "on_spine": rng.random(n) < np.where(label, 0.88, 0.05),
            "size": rng.integers(100, 900, n),
            "pre_neuron_id": ROOT_ID,
            "post_neuron_id": ROOT_ID + 1,
            "psd_thickness_nm": rng.normal(12 + 10 * label, 6).clip(2),
            "n_vesicles": rng.poisson(60, n),
            "vesicle_diameter_nm": rng.normal(34 + 6 * label, 3),
            "vesicle_flatness": rng.normal(1.5 - 0.3 * label, 0.2).clip(1),
        }
    )
    artefacts.write_parquet(build.source / "truth" / "synapses.parquet", synapses)


#: Processes forked from one that has imported these, which would otherwise take most of a script's time.
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["matplotlib.pyplot", "pyarrow.parquet", "sklearn.linear_model", "statsmodels.api", "pipeline.glue"]
    + ["pipeline.stats.comparison", "pipeline.stats.pooling", "pipeline.connectivity.fusion", "tabulate", "zarr"]
)


def run_script(script, environment):
    """Run a script of the repository in a process of its own, from the repository's root; returns what it did."""
    with tempfile.TemporaryDirectory() as folder:
        process = _PROCESSES.Process(target=_execute, args=(Path(script), environment, Path(folder)))
        process.start()
        process.join()
        printed = [(Path(folder) / name).read_text() for name in ("stdout", "stderr")]
    return subprocess.CompletedProcess(str(script), process.exitcode, *printed)


def _execute(script, environment, folder):
    os.chdir(REPOSITORY)
    for name in [name for name in os.environ if name.startswith("SYNAPSE_EI_")]:
        del os.environ[name]
    os.environ.update(environment)
    for stream, name in ((1, "stdout"), (2, "stderr")):
        with (folder / name).open("w") as file:
            os.dup2(file.fileno(), stream)
    sys.path.insert(0, str(script.resolve().parent))
    sys.argv = [str(script)]
    runpy.run_path(str(script), run_name="__main__")


def succeed(environment, *scripts):
    """Run scripts, which must succeed."""
    for script in scripts:
        done = run_script(script, environment)
        assert done.returncode == 0, done.stderr


def analyse(names, environment):
    """Run scripts of `analysis/`, which must succeed."""
    succeed(environment, *(f"analysis/{name}.py" for name in names))


def check_picture(build, name):
    """A figure has a stated width, is not cut off at the border, and its caption says in short what the data are."""
    pixels = np.asarray(Image.open(build.figures / f"{name}.png").convert("L"))
    assert pixels.shape[1] in (1050, 1400), "7 inches at 200 dots, or three quarters of that"
    for side in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (side > 250).all(), "something is cut off at the border"
    caption = (build.figures / f"{name}.caption.md").read_text()
    assert "simulated neuropil" in caption
    assert len(caption.split()) <= 65, "methods and results belong in the text"


def copied(folder, environment, target):
    """`(build, environment)` of a copy in `target` of what `build_fake` and scripts made in `folder`."""
    shutil.copytree(folder, target, dirs_exist_ok=True)
    environment = {name: value.replace(str(folder), str(target)) for name, value in environment.items()}
    return Build("fake", target / "build"), environment


if __name__ == "__main__":
    _, _, variables = build_fake(sys.argv[1])
    print("export", *(f"{name}={value}" for name, value in variables.items()))
