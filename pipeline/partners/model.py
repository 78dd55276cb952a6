"""The networks by name: what each reads and tells, and its file."""

import dataclasses
import json
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from pipeline.artefacts import atomic
from pipeline.config import PARTNER_NETWORKS
from pipeline.learn.data import NORMALISATION
from pipeline.models import rsunet

#: Channels that a network reads: AVAN EM and cleft; pruners EM, cleft or signed proximity, and the masks of the
#: presynaptic and the postsynaptic candidate; detectors EM.
CHANNELS = dict.fromkeys(PARTNER_NETWORKS, 1) | {"avan": 2, "mask_pruner": 4, "proximity_pruner": 4}
PRUNERS = ("mask_pruner", "proximity_pruner")
ASSIGNERS = ("avan", *PRUNERS)  # the others detect clefts


class ModelError(ValueError):
    """A model file that cannot be used, or not on these samples; the text says why."""


@dataclasses.dataclass(frozen=True)
class Card:
    """What the weights are and which samples they may be applied to."""

    network: str  # of config.PARTNER_NETWORKS
    width: int  # channels at full resolution
    voxel_nm: tuple[float, float, float]  # XYZ
    patch_zyx: tuple[int, int, int]  # of the network's input, the middle of a sample
    dilation_nm: float  # candidates overlap the cleft grown by this
    normalisation: str = NORMALISATION

    def check(self, samples):
        """ModelError unless `samples` (a `samples.Samples`) have this model's voxels and are large enough."""
        if tuple(samples.voxel_nm) != self.voxel_nm:
            raise ModelError(
                f"{self.network} was trained on voxels of {self.voxel_nm} nm (XYZ), {samples.folder} has "
                f"{samples.voxel_nm}: cut samples with the model's voxel_nm"
            )
        if any(want > have for want, have in zip(self.patch_zyx, samples.shape_zyx, strict=True)):
            raise ModelError(
                f"{self.network} needs samples of at least {self.patch_zyx} (ZYX), those in {samples.folder} are "
                f"{samples.shape_zyx}: cut larger ones"
            )


def build(name, width):
    """The network `name` with fresh weights from torch's global random state.

    AVAN tells logits of presynaptic and postsynaptic voxels `[N, 2, Z, Y, X]`, pruners one of the pair `[N]`, detectors
    one map `[N, 1, Z, Y, X]`; see `activate`.
    """
    if name in PRUNERS:
        return rsunet.classifier(CHANNELS[name], width)
    return rsunet.build(CHANNELS[name], 2 if name == "avan" else 1, width)


def activate(name, logits):
    """Logits of the network `name` in the range of its target: [-1, 1] for STDT and signed proximity, else [0, 1]."""
    return torch.tanh(logits) if name in ("detect_stdt", "detect_proximity") else torch.sigmoid(logits)


def save(path, network, card):
    """Write weights and card atomically; the same weights and card give the same bytes."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    metadata = {"card": json.dumps(dataclasses.asdict(card), sort_keys=True)}
    with atomic(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata)


def load(path):
    """(network in evaluation mode, Card). ModelError for a file that is not such a model."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"no trained model: {path} does not exist")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is not a safetensors file: {error}") from None
    try:
        fields = json.loads(metadata["card"])
        card = Card(**fields | {name: tuple(fields[name]) for name in ("voxel_nm", "patch_zyx")})
    except (KeyError, TypeError, ValueError):
        raise ModelError(f"{path} is no model of partner assignment: its metadata has no such card") from None
    if card.network not in PARTNER_NETWORKS or card.normalisation != NORMALISATION:
        raise ModelError(
            f"{path} holds {card.network!r} for images normalised by {card.normalisation!r}; this version knows "
            f"{PARTNER_NETWORKS} and {NORMALISATION!r}: train again"
        )
    network = build(card.network, card.width)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ModelError(f"{path} does not hold the weights of {card.network}: {error}") from None
    return network.eval(), card
