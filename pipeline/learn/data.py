"""Images and rows of the cohort: reading, balanced sampling, normalisation.

Batches are `[N, Z, Y, X]` throughout: a patch is a cube of one section, so that cropping, augmentation and
normalisation have one implementation.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import zarr

from pipeline.artefacts import read_json
from pipeline.config import DIMENSIONS
from pipeline.learn.device import has_bfloat16

log = logging.getLogger("pipeline")

CACHE_BYTES = 2 << 30  # images up to this size are kept in memory
SPLITS = ("train", "val", "test")
LEFT_OUT = "left out"  # training neurons beyond a model's `train_share`
LISTED = 10  # synapses named in an error text


class DataError(ValueError):
    """Patches or a cohort that cannot be trained on or predicted; the text names the rows."""


class Images:
    """The stored patches or cubes of some synapses, read by row; only small sets are held in memory.

    `kind` is `patch` or `cube`; `synapse_ids` fixes the row order; `levels` `[256]` uint8, where given, replaces grey
    levels on reading. `attention_dir` holds masks of the same cubes, which `attention` then reads; else it is None.
    DataError names synapses without an image.
    """

    def __init__(self, patches_dir, kind, synapse_ids, levels=None, attention_dir=None):
        patches_dir = Path(patches_dir)
        manifest = patches_dir / "manifest.json"
        if not manifest.is_file():
            raise DataError(f"{patches_dir} holds no finished extraction (no manifest.json); extract first")
        self.manifest = read_json(manifest)
        self.voxel_nm = tuple(self.manifest["voxel_nm"])
        self.kind = kind
        self._levels = levels
        self._array = zarr.open_group(patches_dir / "images.zarr", mode="r")[kind]
        stored = pd.Index(pd.read_parquet(patches_dir / "index.parquet")["synapse_id"])
        self._rows = stored.get_indexer(synapse_ids)
        if (self._rows < 0).any():
            absent = np.asarray(synapse_ids)[self._rows < 0]
            raise DataError(
                f"{len(absent)} synapses have no {kind} in {patches_dir}: {absent[:LISTED].tolist()}...; extract again"
            )
        shape = self._array.shape[1:]
        self.shape_zyx = (1, *shape) if kind == "patch" else tuple(shape)
        self.attention = None if attention_dir is None else Images(attention_dir, kind, synapse_ids)
        n_bytes = len(self._rows) * int(np.prod(self.shape_zyx))
        self._cache = self._read(self._rows) if n_bytes <= CACHE_BYTES else None

    def __len__(self):
        return len(self._rows)

    def read(self, rows):
        """Images of rows (positions in `synapse_ids`) as a uint8 tensor `[N, Z, Y, X]`."""
        images = self._read(self._rows[rows]) if self._cache is None else self._cache[rows]
        return torch.from_numpy(images if self._levels is None else self._levels[images])

    def read_both(self, rows):
        """`read`, and the masks of the same rows as uint8 `[N, Z, Y, X]` (255: presynaptic), or None."""
        return self.read(rows), None if self.attention is None else self.attention.read(rows)

    def _read(self, stored_rows):
        order = np.argsort(stored_rows, kind="stable")  # shard by shard, then back to the order asked for
        images = np.empty((len(stored_rows), *self.shape_zyx), np.uint8)
        for start in range(0, len(order), 256):
            part = order[start : start + 256]
            wanted, inverse = np.unique(stored_rows[part], return_inverse=True)
            images[part] = self._array.oindex[wanted][inverse].reshape(-1, *self.shape_zyx)
        return images

    def input_zyx(self, model):
        """Size of the central part that `model` (a `config.Model`) reads; DataError where the images are smaller."""
        sections = model.sections if DIMENSIONS[model.network] == 2 else self.shape_zyx[0]
        wanted = (sections, *self.shape_zyx[1:])
        if model.crop is not None:
            wanted = (*wanted[: 3 - len(model.crop)], *model.crop)
        if any(want > have for want, have in zip(wanted, self.shape_zyx, strict=True)):
            raise DataError(
                f"{model.name}: the network's input {wanted} does not fit into the stored {self.kind}s "
                f"{self.shape_zyx} (ZYX): use a smaller crop or fewer sections, or extract larger images"
            )
        return wanted


def with_images(synapses, patches_dir):
    """The rows of `synapses` that were extracted; those that extraction lists as left out are reported and omitted.

    Any other synapse without an image is an error of `Images`.
    """
    lists = [path for name in ("dropped.csv", "faults.csv") if (path := Path(patches_dir) / name).is_file()]
    omitted = {synapse_id for path in lists for synapse_id in pd.read_csv(path)["synapse_id"]}
    left_out = synapses["synapse_id"].isin(omitted)
    if left_out.any():
        names = " and ".join(str(path) for path in lists)
        log.warning("learn: %d of %d synapses have no image, see %s", left_out.sum(), len(synapses), names)
    return synapses[~left_out].reset_index(drop=True)


def check_splits(synapses):
    """DataError unless every split holds at least two neurons of each class, and none is in two splits."""
    unknown = set(synapses["split"]) - {*SPLITS, LEFT_OUT}
    if unknown or not synapses["label"].isin([0, 1]).all():
        raise DataError(f"the cohort needs splits {SPLITS} and labels 0 or 1; it has splits {sorted(unknown)} beside")
    neurons = synapses.groupby(["split", "label"])["pre_neuron_id"].nunique()
    for split in SPLITS:
        for label, name in ((1, "excitatory"), (0, "inhibitory")):
            found = neurons.get((split, label), 0)
            if found < 2:
                raise DataError(
                    f"split {split!r} has {found} {name} presynaptic neurons, at least 2 are needed: "
                    "enlarge the cohort or its val_fraction and test_fraction"
                )
    shared = synapses.groupby("pre_neuron_id")["split"].nunique()
    if (shared > 1).any():
        raise DataError(f"presynaptic neurons in more than one split: {shared.index[shared > 1][:LISTED].tolist()}")


def share_of_neurons(synapses, share, seed):
    """`synapses` with the split LEFT_OUT for all but a share of the training neurons of each class, drawn at random.

    The neurons of a smaller share are among those of a larger one of the same seed.
    """
    neurons = synapses[synapses["split"] == "train"].groupby("pre_neuron_id")["label"].first()
    shuffled = neurons.sample(frac=1, random_state=np.random.default_rng(seed))
    of_class = shuffled.groupby(shuffled)
    left_out = shuffled.index[of_class.cumcount() >= (share * of_class.transform("size")).round()]
    return synapses.assign(split=synapses["split"].mask(synapses["pre_neuron_id"].isin(left_out), LEFT_OUT))


def epoch_rows(label, neuron, n_steps, batch_size, sampling, rng):
    """Positions of one epoch, as `n_steps` batches in random order.

    `uniform` takes every synapse once, in batches of at most `batch_size`; `balanced` fills every batch from
    `balanced_rows`.
    """
    if sampling == "uniform":
        return np.array_split(rng.permutation(len(label)), n_steps)
    return np.split(balanced_rows(label, neuron, n_steps * batch_size, rng), n_steps)


def balanced_rows(label, neuron, n, rng):
    """`n` positions in random order: half of each class, and within a class no neuron far ahead of the others.

    A synapse's expected count is proportional to one over the square root of its neuron's number of synapses, half
    way between one vote a synapse and one vote a neuron. Systematic sampling keeps every count within one of that.
    """
    label, neuron = np.asarray(label), np.asarray(neuron)
    _, member, size = np.unique(neuron, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(size[member])
    drawn = []
    for value, share in ((0, n // 2), (1, n - n // 2)):
        rows = rng.permutation(np.flatnonzero(label == value))
        edges = np.cumsum(weight[rows])
        points = (rng.random() + np.arange(share)) / share * edges[-1]
        drawn.append(rows[np.searchsorted(edges, points, side="right").clip(max=len(rows) - 1)])
    return rng.permutation(np.concatenate(drawn))


def centre(images, shape_zyx):
    """The central `shape_zyx` of images `[N, Z, Y, X]`; voxel `size // 2` of either holds the synapse's centre."""
    low = [have // 2 - want // 2 for have, want in zip(images.shape[1:], shape_zyx, strict=True)]
    z, y, x = (slice(start, start + want) for start, want in zip(low, shape_zyx, strict=True))
    return images[:, z, y, x]


#: What `normalise` does, as checkpoints name it.
NORMALISATION = "each image: uint8 / 255, minus its mean, over its standard deviation + 0.01"


def normalise(images):
    """Zero mean and unit variance of each image of a float batch `[N, Z, Y, X]` in [0, 1].

    Per image, not per data set: volumes differ in brightness and contrast more than synapses do, and a model should
    survive the move from one to another. The constant keeps a flat image from becoming pure noise.
    """
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    std = images.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return (images - mean) / (std + 0.01)


def as_input(images, dimensions, attention=None):
    """`[N, Z, Y, X]` as a network takes it: in 3D `[N, 1, Z, Y, X]`; in 2D as it is, sections being channels.

    An attention mask in [0, 1] of the same shape follows as further channels.
    """
    planes = [images] if attention is None else [images, attention]
    if dimensions == 3:
        return torch.stack(planes, dim=1)
    images = torch.cat(planes, dim=1)
    # channels last is the faster layout in 2D and bfloat16 alone: on a CPU 1.2 times in training, 1.5 in prediction
    return images.contiguous(memory_format=torch.channels_last) if has_bfloat16(images.device) else images
