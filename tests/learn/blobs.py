"""A cohort without a simulator: round blobs are excitatory, flat ones inhibitory, each neuron with its own look."""

import numpy as np
import pandas as pd
import zarr

from pipeline import artefacts, shards

SHAPE = (6, 40, 40)


def blobs(label, contrast, background, rng, shape=SHAPE):
    """A noisy cube `[Z, Y, X]` uint8 with one dark blob: radius 6 px, or flattened to 11x3 px at a random angle."""
    z, y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    angle = rng.uniform(0, np.pi)
    along = np.cos(angle) * x + np.sin(angle) * y[:, None]
    across = -np.sin(angle) * x + np.cos(angle) * y[:, None]
    long, short = (6, 6) if label else (11, 3)
    distance = (along / long) ** 2 + (across / short) ** 2 + (z[:, None, None] / 2.5) ** 2
    clean = background - contrast * np.exp(-(distance**2))
    return np.clip(clean + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)


def write_images(folder, synapse_ids, **arrays):
    """A folder in the format of `patches/` with `arrays` `[N, ...]` of the synapses, 20 rows a shard."""
    group = zarr.create_group(folder / "images.zarr")
    for name, images in arrays.items():
        axes = ("synapse", *"zyx"[4 - images.ndim :])
        shards.create(group, name, images.shape, 20, axes)[:] = images
    pd.DataFrame({"synapse_id": synapse_ids, "row": range(len(synapse_ids))}).to_parquet(folder / "index.parquet")
    artefacts.write_json(folder / "manifest.json", {"n": len(synapse_ids), "voxel_nm": [8.0, 8.0, 40.0]})


def write_cohort(folder, n_neurons=24, n_each=8, shuffled=False, seed=0):
    """`patches/` and `synapses.parquet` of the contract; returns their paths. `shuffled` neurons have random labels."""
    rng = np.random.default_rng(seed)
    shown = np.tile([1, 0], n_neurons // 2)
    label = rng.permutation(shown) if shuffled else shown
    split = np.array(["train", "train", "val", "test"])[np.arange(n_neurons) // 2 % 4]
    look = np.column_stack([rng.uniform(60, 110, n_neurons), rng.uniform(120, 190, n_neurons)])
    neuron = np.repeat(np.arange(n_neurons), n_each)
    cubes = np.stack([blobs(shown[n], *look[n], rng) for n in neuron])
    synapses = pd.DataFrame(
        {
            "synapse_id": 1000 + rng.permutation(len(neuron)),
            "pre_neuron_id": 864691135000000000 + neuron,
            "label": label[neuron],
            "split": split[neuron],
            "fold": neuron % 5,
        }
    )
    patches = folder / "patches"
    stored = rng.permutation(len(neuron))  # extraction has its own row order
    write_images(patches, synapses["synapse_id"].iloc[stored], patch=cubes[stored, SHAPE[0] // 2], cube=cubes[stored])
    synapses.to_parquet(folder / "synapses.parquet")
    return patches, folder / "synapses.parquet"
