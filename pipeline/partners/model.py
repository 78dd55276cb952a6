"""The partner networks by name: what each reads and outputs, and its file."""

from pathlib import Path

import torch

from pipeline.learn import checkpoint
from pipeline.models import rsunet
from pipeline.models.names import ASSIGNERS, PARTNER_NETWORKS, PRUNERS

ASSIGNMENT, DETECTION = "partner assignment", "cleft detection"  # tasks

#: What a network reads: AVAN EM and the cleft's mask; pruners also the masks of the candidate partners, and the
#: proximity pruner the signed nearness to the cleft in place of its mask; detectors EM.
CHANNELS: dict[str, tuple[str, ...]] = dict.fromkeys(PARTNER_NETWORKS, ("em",)) | {
    "avan": ("em", "cleft"),
    "mask_pruner": ("em", "cleft", "presynaptic", "postsynaptic"),
    "proximity_pruner": ("em", "proximity", "presynaptic", "postsynaptic"),
}

PartnerNet = rsunet.UNet | rsunet.Classifier


def build(name: str, width: int) -> PartnerNet:
    """The network `name` with fresh weights from torch's global random state; ValueError for an unknown name.

    AVAN outputs logits of presynaptic and postsynaptic voxels `[N, 2, Z, Y, X]`, pruners one of the pair `[N]`,
    detectors one map `[N, 1, Z, Y, X]`; see `activate`.
    """
    if name not in CHANNELS:
        raise ValueError(f"no partner network {name!r}; there are {PARTNER_NETWORKS}")
    n_in = len(CHANNELS[name])
    if name in PRUNERS:
        return rsunet.Classifier(n_in, width)
    return rsunet.UNet(n_in, 2 if name == "avan" else 1, width)


def activate(name: str, logits: torch.Tensor) -> torch.Tensor:
    """Logits of the network `name` in the range of its target: [-1, 1] for STDT and signed proximity, else [0, 1]."""
    return torch.tanh(logits) if name in ("detect_stdt", "detect_proximity") else torch.sigmoid(logits)


def card(
    name: str,
    width: int,
    voxel_nm: tuple[float, float, float],
    shape_zyx: tuple[int, int, int],
    dilation_nm: float,
) -> checkpoint.Card:
    """The card of a network; its candidates are the segments that overlap the cleft grown by `dilation_nm`."""
    assigns = name in ASSIGNERS
    return checkpoint.Card(
        task=ASSIGNMENT if assigns else DETECTION,
        network=name,
        build={"width": width},
        channels=CHANNELS[name],
        voxel_nm=voxel_nm,
        shape_zyx=shape_zyx,
        decision={"dilation_nm": dilation_nm} if assigns else {},
    )


def load(path: Path) -> tuple[PartnerNet, checkpoint.Card]:
    """(network in evaluation mode, its card); CheckpointError for a file that is no partner network."""
    return checkpoint.load(path, (ASSIGNMENT, DETECTION), build)
