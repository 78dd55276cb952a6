"""Images and rows of the cohort: reading, balanced sampling, normalisation.

Batches are `[N, C, Z, Y, X]` throughout: a patch is a cube of one section, so that cropping, augmentation and
normalisation have one implementation. Channel 0 is EM; the others are masks, 255 inside.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import torch

from pipeline.artefacts import read_json
from pipeline.errors import PipelineError
from pipeline.recipes import Model
from pipeline.shards import Rows

log = logging.getLogger("pipeline")

SPLITS = ("train", "val", "test")
LEFT_OUT = "left out"  # training neurons beyond a model's `train_share`
AnyArray = TypeVar("AnyArray", np.ndarray, torch.Tensor)

LISTED = 10  # synapses named in an error text


class DataError(PipelineError):
    """Patches or a cohort that cannot be trained on or predicted; the text names the rows."""


class Images:
    """The stored patches or cubes of some synapses, read by row.

    `stores` is `{channel: folder in the format of patches/}`, EM first; `array` is `patch` or `cube`; `synapse_ids`
    fixes the row order; `levels` `[256]` uint8, where given, replaces grey levels on reading. `voxel_nm` is XYZ,
    `shape_zyx` the stored size. DataError names synapses without an image.
    """

    def __init__(
        self, stores: Mapping[str, Path], array: str, synapse_ids: Sequence[int], levels: np.ndarray | None = None
    ):
        self.folder = Path(stores["em"])
        self.channels, self.array = tuple(stores), array
        self._levels = levels
        self.voxel_nm: tuple[float, float, float] = tuple(read_json(manifest(self.folder))["voxel_nm"])
        self._stored = [_Store(Path(folder), array, synapse_ids) for folder in stores.values()]
        *deep, height, width = self._stored[0].images.shape[1:]
        self.shape_zyx: tuple[int, int, int] = (deep[0] if deep else 1, height, width)

    def __len__(self) -> int:
        return len(self._stored[0].rows)

    def read(self, rows: np.ndarray, shape_zyx: tuple[int, int, int] | None = None) -> torch.Tensor:
        """The central `shape_zyx` (by default all) of rows (positions in `synapse_ids`), uint8 `[N, C, Z, Y, X]`."""
        wanted = shape_zyx or self.shape_zyx
        box = _central(self.shape_zyx, wanted)
        em, *masks = (store.read(rows, box).reshape(-1, *wanted) for store in self._stored)
        if self._levels is not None:
            em = self._levels[em]
        return torch.from_numpy(np.stack([em, *masks], axis=1) if masks else em[:, None])

    def input_zyx(self, model: Model) -> tuple[int, int, int]:
        """Size of the central part that `model` reads; DataError where the images are smaller."""
        depth, height, width = self.shape_zyx
        if model.dimensions == 2:
            depth = model.sections
        if model.crop is not None:
            *deep, height, width = model.crop
            depth = deep[0] if deep else depth
        wanted = (depth, height, width)
        if any(want > have for want, have in zip(wanted, self.shape_zyx, strict=True)):
            raise DataError(
                f"{model.name}: the network's input {wanted} does not fit into the stored {self.array}s "
                f"{self.shape_zyx} (ZYX): use a smaller crop or fewer sections, or extract larger images"
            )
        return wanted


class _Store:
    """One channel: the array of a folder, and where the synapses are in it."""

    def __init__(self, folder: Path, array: str, synapse_ids: Sequence[int]):
        manifest(folder)
        self.images = Rows(folder / "images.zarr" / array)
        index = pd.read_parquet(folder / "index.parquet")
        place = pd.Index(index["synapse_id"]).get_indexer(synapse_ids)
        if (place < 0).any():
            absent = np.asarray(synapse_ids)[place < 0]
            raise DataError(
                f"{len(absent)} synapses have no {array} in {folder}: {absent[:LISTED].tolist()}...; extract again"
            )
        self.rows = index["row"].to_numpy()[place]

    def read(self, rows: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        """The `box` (ZYX) of some synapses' images; a patch has no Z."""
        deep = len(self.images.shape) == 4
        return self.images.read(self.rows[rows], box if deep else box[1:])


def manifest(folder: Path) -> Path:
    """Path of the manifest of a folder in the format of `patches/`; DataError where the folder is not finished."""
    path = Path(folder) / "manifest.json"
    if not path.is_file():
        raise DataError(f"{folder} holds no finished extraction (no manifest.json); extract first")
    return path


def with_images(synapses: pd.DataFrame, patches_dir: Path) -> pd.DataFrame:
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


def check_splits(synapses: pd.DataFrame) -> None:
    """DataError unless every split holds at least two neurons of each class, and none is in two splits.

    A network that is to be used, not tested, may have no `test`.
    """
    unknown = set(synapses["split"]) - {*SPLITS, LEFT_OUT}
    if unknown or not synapses["label"].isin([0, 1]).all():
        raise DataError(f"the cohort needs splits {SPLITS} and labels 0 or 1; it has splits {sorted(unknown)} beside")
    neurons = synapses.groupby(["split", "label"])["pre_neuron_id"].nunique()
    for split in SPLITS if "test" in neurons else SPLITS[:2]:
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


def share_of_neurons(synapses: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """`synapses` with the split LEFT_OUT for all but a share of the training neurons of each class, drawn at random.

    The neurons of a smaller share are among those of a larger one of the same seed.
    """
    neurons = synapses[synapses["split"] == "train"].groupby("pre_neuron_id")["label"].first()
    shuffled = neurons.sample(frac=1, random_state=np.random.default_rng(seed))
    of_class = shuffled.groupby(shuffled)
    left_out = shuffled.index[of_class.cumcount() >= (share * of_class.transform("size")).round()]
    return synapses.assign(split=synapses["split"].mask(synapses["pre_neuron_id"].isin(left_out), LEFT_OUT))


def epoch_rows(
    label: np.ndarray, neuron: np.ndarray, n_steps: int, batch_size: int, sampling: str, rng: np.random.Generator
) -> list[np.ndarray]:
    """Positions of one epoch, as `n_steps` batches in random order.

    `uniform` takes every synapse once, in batches of at most `batch_size`; `balanced` fills every batch from
    `balanced_rows`.
    """
    if sampling == "uniform":
        return np.array_split(rng.permutation(len(label)), n_steps)
    return np.split(balanced_rows(label, neuron, n_steps * batch_size, rng), n_steps)


def balanced_rows(label: np.ndarray, neuron: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
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


def centre(images: AnyArray, shape_zyx: tuple[int, int, int]) -> AnyArray:
    """The central `shape_zyx` of images `[..., Z, Y, X]`; voxel `size // 2` of either holds the synapse's centre."""
    z, y, x = _central(images.shape[-3:], shape_zyx)
    return images[..., z, y, x]


def _central(stored: Sequence[int], wanted: Sequence[int]) -> tuple[slice, ...]:
    low = [have // 2 - want // 2 for have, want in zip(stored, wanted, strict=True)]
    return tuple(slice(start, start + want) for start, want in zip(low, wanted, strict=True))


#: What `normalise` does, as checkpoints name it.
NORMALISATION = "each image: uint8 / 255, minus its mean, over its standard deviation + 0.01"


def normalise(images: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance of each image of floats `[..., Z, Y, X]` in [0, 1].

    Per image, not per data set: volumes differ in brightness and contrast more than synapses do, and a model should
    survive the move from one to another. The constant keeps a flat image from becoming pure noise.
    """
    mean = images.mean(dim=(-3, -2, -1), keepdim=True)
    std = images.std(dim=(-3, -2, -1), keepdim=True, correction=0)
    return (images - mean) / (std + 0.01)


def normalise_em(images: torch.Tensor) -> torch.Tensor:
    """Images `[N, C, Z, Y, X]` in [0, 1] with channel 0, the EM, normalised; masks as they are."""
    return torch.cat([normalise(images[:, :1]), images[:, 1:]], dim=1)


def as_input(images: torch.Tensor, dimensions: int) -> torch.Tensor:
    """`[N, C, Z, Y, X]` as a network takes it: in 3D as it is; in 2D the sections of every channel are channels."""
    if dimensions == 3:
        return images.contiguous()
    return images.flatten(1, 2).contiguous(memory_format=torch.channels_last)  # as the weights of `classification`
