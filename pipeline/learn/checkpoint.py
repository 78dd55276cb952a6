"""A trained network as one safetensors file: weights, and beside them all that is needed to apply them."""

import dataclasses
import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol, TypeVar

import safetensors
import safetensors.torch
from torch import nn

from pipeline.artefacts import atomic
from pipeline.errors import PipelineError
from pipeline.learn.data import NORMALISATION

Network = TypeVar("Network", bound=nn.Module)


class CheckpointError(PipelineError):
    """A model file that cannot be used, or not on these images; the text says why."""


class Stored(Protocol):
    """Images or samples in a folder."""

    folder: Path
    voxel_nm: tuple[float, float, float]  # XYZ
    shape_zyx: tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Card:
    """What the weights are and which images they may be applied to."""

    task: str  # what the network was trained for
    network: str
    build: dict[str, Any]  # arguments with which the task builds the network
    channels: tuple[str, ...]
    voxel_nm: tuple[float, float, float]  # XYZ
    shape_zyx: tuple[int, int, int]  # of the network's input, a central crop; a patch has one section
    decision: dict[str, float]  # what the task needs to turn outputs into decisions
    trained: bool = True  # False: an untrained control, random weights under a fitted head
    tuned_on: str = ""  # folder of real data whose synapses it has seen
    normalisation: str = NORMALISATION

    def check(self, stored: Stored) -> None:
        """CheckpointError unless stored images have this network's voxels and are large enough."""
        if tuple(stored.voxel_nm) != self.voxel_nm:
            raise CheckpointError(
                f"{self.network} was trained on voxels of {self.voxel_nm} nm (XYZ), {stored.folder} has "
                f"{stored.voxel_nm}: cut images with the model's voxel_nm"
            )
        if any(want > have for want, have in zip(self.shape_zyx, stored.shape_zyx, strict=True)):
            raise CheckpointError(
                f"{self.network} needs images of at least {self.shape_zyx} (ZYX), those in {stored.folder} are "
                f"{stored.shape_zyx}: cut larger ones"
            )


def save(path: Path, network: nn.Module, card: Card) -> None:
    """Write weights and card atomically; the same weights and card give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {"card": json.dumps(dataclasses.asdict(card), sort_keys=True)}  # one key: their order is not kept
    with atomic(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata)


def read_card(path: Path) -> Card:
    """The card of a model file; CheckpointError for a file that has none."""
    if not Path(path).is_file():
        raise CheckpointError(f"no trained model: {path} does not exist")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from None
    try:
        fields = json.loads(metadata["card"])
        return Card(**fields | {name: tuple(fields[name]) for name in ("channels", "voxel_nm", "shape_zyx")})
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} has no model card of this version in its metadata: train again, or take the published file"
        ) from None


def load(path: Path, tasks: Collection[str], build: Callable[..., Network]) -> tuple[Network, Card]:
    """(network in evaluation mode, card) of a network of one of `tasks`, which `build(name, **arguments)` builds.

    CheckpointError for a file that is not such a network.
    """
    card = read_card(path)
    if card.task not in tasks:
        raise CheckpointError(f"{path} holds a network for {card.task}, not for {' or '.join(tasks)}")
    if card.normalisation != NORMALISATION:
        raise CheckpointError(f"{path} expects another normalisation ({card.normalisation!r}): train again")
    try:
        network = build(card.network, **card.build)
        network.load_state_dict(safetensors.torch.load_file(path))
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} does not hold the weights of a {card.network}: {error}") from None
    return network.eval(), card
