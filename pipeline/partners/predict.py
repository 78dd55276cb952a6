"""Applying the networks: to the clefts of a sample store, batch by batch, or to a tile of EM."""

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from pipeline.learn import data
from pipeline.learn.checkpoint import Card
from pipeline.learn.predict import averaged, in_batches
from pipeline.models.names import PRUNERS
from pipeline.partners import assign, candidates, targets
from pipeline.partners.model import activate
from pipeline.partners.samples import OWN, Samples

BATCH = 16


def decisions(
    network: nn.Module, card: Card, samples: Samples, rows: Sequence[int] | np.ndarray, symmetries: int = 1
) -> dict[int, assign.Decision]:
    """The decision about each of the store's `rows`, by AVAN or a pruner.

    Scores are means over the first `symmetries` of the 8 rotations and mirrorings of the plane. CheckpointError for
    samples that do not fit the network.
    """
    score = _pruner_scores if card.network in PRUNERS else _avan_scores
    found = {}
    for batch, em, cleft, segments in batches(card, samples, rows):
        near = {}
        for n, row in enumerate(batch.tolist()):
            near[n], _ = candidates.segments_near(segments[n], cleft[n], card.voxel_nm, card.decision["dilation_nm"])
            outcome = assign.no_pair(samples.index["fault"][row], cleft[n], near[n])
            if outcome is not None:
                found[row] = assign.Decision(outcome)
                del near[n]
        free = list(near)
        if not free:
            continue
        scores = score(network, card, em[free], cleft[free], segments[free], [near[n] for n in free], symmetries)
        for n, own in zip(free, scores, strict=True):
            found[int(batch[n])] = assign.decide(near[n], own, bool(samples.index["at_edge"][batch[n]]))
    return {row: found[row] for row in np.asarray(rows).tolist()}


def presynaptic_masks(network: nn.Module, card: Card, samples: Samples, rows: np.ndarray) -> np.ndarray:
    """AVAN's presynaptic output, float32 `[N, Z, Y, X]` of the card's patch, for `rows`: 1 where surely presynaptic."""
    found = (avan_outputs(network, em, cleft) for _, em, cleft, _ in batches(card, samples, rows))
    return np.concatenate([outputs[:, 0] for outputs in found])


def avan_outputs(network: nn.Module, em: np.ndarray, cleft: np.ndarray, symmetries: int = 1) -> np.ndarray:
    """AVAN's outputs, float32 `[N, 2, Z, Y, X]` in [0, 1], for EM uint8 and masks bool `[N, Z, Y, X]`."""
    images = torch.stack([_normalised(network, em), _tensor(network, cleft).float()], dim=1)
    return averaged(functools.partial(_activated, network, "avan"), images, symmetries)


def dense(network: nn.Module, card: Card, em: np.ndarray, symmetries: int = 1) -> np.ndarray:
    """A detector's map, float32 `[Z, Y, X]` in the range of its target, of one tile of EM, uint8 `[Z, Y, X]`.

    The tile is normalised as a whole, and every voxel depends on all of it: for one result whatever the blocks, tiles
    must be those of a fixed grid and of one size.
    """
    images = _normalised(network, em[None])[:, None]
    return averaged(functools.partial(_activated, network, card.network), images, symmetries)[0, 0]


def pair_image(
    name: str, image: torch.Tensor, around: torch.Tensor, segments: torch.Tensor, pre: int, post: int
) -> torch.Tensor:
    """What a pruner reads of an ordered pair, `[4, Z, Y, X]`, from tensors `[Z, Y, X]`.

    `image` is the normalised EM, `around` as `surroundings` gives it.
    """
    first, second = (segments == pre).float(), (segments == post).float()
    return torch.stack([image, around if name == "mask_pruner" else around * (first - second), first, second])


def surroundings(name: str, cleft: np.ndarray, voxel_nm: tuple[float, float, float]) -> np.ndarray:
    """What a pruner's second channel is made from: the mask of the cleft (bool `[Z, Y, X]`), or nearness to it."""
    return cleft.astype(np.float32) if name == "mask_pruner" else targets.nearness(cleft, voxel_nm).astype(np.float32)


def batches(card: Card, samples: Samples, rows: Sequence[int] | np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield (rows, em, cleft, segments): the middle of the samples, the cleft the row's own, as bool."""
    card.check(samples)
    for batch in in_batches(np.asarray(rows), BATCH, card.network):
        em, cleft, segments = (data.centre(x, card.shape_zyx) for x in samples.read(batch))
        yield batch, em, cleft == OWN, segments


def _avan_scores(
    network: nn.Module,
    card: Card,
    em: np.ndarray,
    cleft: np.ndarray,
    segments: np.ndarray,
    numbers: list,
    symmetries: int,
) -> list[np.ndarray]:
    maps = avan_outputs(network, em, cleft, symmetries)
    return [assign.avan_scores(assign.mean_outputs(*one)) for one in zip(maps, segments, numbers, strict=True)]


def _pruner_scores(
    network: nn.Module,
    card: Card,
    em: np.ndarray,
    cleft: np.ndarray,
    segments: np.ndarray,
    numbers: list,
    symmetries: int,
) -> list[np.ndarray]:
    """Scores `[P]` of the ordered pairs of each cleft's candidates."""
    score = functools.partial(_activated, network, card.network)
    scores = []
    for n, candidate in enumerate(numbers):
        image = _normalised(network, em[n : n + 1])[0]
        around = _tensor(network, surroundings(card.network, cleft[n], card.voxel_nm))
        labels = _tensor(network, segments[n].astype(np.int32))
        pairs = np.transpose([candidate[side] for side in assign.ordered_pairs(len(candidate))])
        parts = []
        for start in range(0, len(pairs), BATCH):
            some = pairs[start : start + BATCH].tolist()
            images = torch.stack([pair_image(card.network, image, around, labels, *pair) for pair in some])
            parts.append(averaged(score, images, symmetries))
        scores.append(np.concatenate(parts))
    return scores


def _activated(network: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    return activate(name, network(images))


def _tensor(network: nn.Module, array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(next(network.parameters()).device)


def _normalised(network: nn.Module, em: np.ndarray) -> torch.Tensor:
    return data.normalise(_tensor(network, em).float() / 255)
