"""A trained model as one safetensors file: weights, and beside them all that is needed to apply them."""

import dataclasses
import json
from pathlib import Path

import safetensors
import safetensors.torch

from pipeline.artefacts import atomic
from pipeline.learn.data import NORMALISATION
from pipeline.models import registry


class CheckpointError(ValueError):
    """A model file that cannot be used, or not on these images; the text says why."""


@dataclasses.dataclass(frozen=True)
class Card:
    """What the weights are and which images they may be applied to."""

    architecture: str  # a network of `models.registry`
    norm: str | None  # batch or group; None: the network's own
    input_kind: str  # patch or cube
    voxel_nm: tuple[float, float, float]  # XYZ
    shape_zyx: tuple[int, int, int]  # of the network's input, a central crop; a patch has one section
    tau: float  # excitatory where p_excitatory >= tau
    temperature: float  # p_excitatory = sigmoid(difference of logits / temperature)
    attention: bool = False  # whether it also reads AVAN's presynaptic mask
    normalisation: str = NORMALISATION

    def check(self, images):
        """CheckpointError unless `images` (a `data.Images`) has this model's voxels and is large enough."""
        if tuple(images.voxel_nm) != self.voxel_nm:
            raise CheckpointError(
                f"the model was trained on voxels of {self.voxel_nm} nm (XYZ), these images have {images.voxel_nm}: "
                "extract with the model's voxel_nm"
            )
        if any(want > have for want, have in zip(self.shape_zyx, images.shape_zyx, strict=True)):
            raise CheckpointError(
                f"the model needs a {self.input_kind} of at least {self.shape_zyx} (ZYX), "
                f"these are {images.shape_zyx}: extract larger ones"
            )
        if self.attention and images.attention is None:
            raise CheckpointError(
                "the model reads AVAN's presynaptic mask beside the image, which these images lack: use one without "
                "`attention`"
            )


def save(path, network, card):
    """Write weights and card atomically; the same weights and card give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {"card": json.dumps(dataclasses.asdict(card), sort_keys=True)}  # one key: their order is not kept
    with atomic(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata)


def load(path):
    """(network in evaluation mode, Card). CheckpointError for a file that is not such a model."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"no trained model: {path} does not exist")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{path} is not a safetensors file: {error}") from None
    try:
        fields = json.loads(metadata["card"])
        card = Card(**fields | {name: tuple(fields[name]) for name in ("voxel_nm", "shape_zyx")})
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(f"{path} was not written by this project: its metadata has no model card") from None
    if card.architecture not in registry.DIMENSIONS or card.input_kind not in ("patch", "cube"):
        raise CheckpointError(
            f"{path} holds a {card.architecture!r} for a {card.input_kind}; this version knows "
            f"{sorted(registry.DIMENSIONS)} for a patch or cube"
        )
    if card.normalisation != NORMALISATION:
        raise CheckpointError(f"{path} expects another normalisation ({card.normalisation!r}): train again")
    flat = registry.DIMENSIONS[card.architecture] == 2
    network = registry.build(card.architecture, card.shape_zyx[0] if flat else 1, card.norm, attention=card.attention)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not hold the weights of a {card.architecture}: {error}") from None
    return network.eval(), card
