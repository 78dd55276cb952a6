"""Applying the networks: to the clefts of a sample store, batch by batch, or to a tile of EM."""

import numpy as np
import torch
from tqdm import tqdm

from pipeline.learn import data, device
from pipeline.learn.augment import SYMMETRIES, symmetry
from pipeline.partners import assign, candidates, targets
from pipeline.partners.model import PRUNERS, activate

BATCH = 16


def decisions(network, card, samples, rows, symmetries=1):
    """`{row: assign.Decision}` of the store's `rows`, by AVAN or a pruner.

    `samples` is a `samples.Samples`. Scores are means over the first `symmetries` of the 8 rotations and mirrorings of
    the plane. ModelError for samples that do not fit the model.
    """
    found = {}
    for batch, em, cleft, segments in tqdm(batches(card, samples, rows), desc=card.network, disable=None, leave=False):
        near = [
            candidates.segments_near(*labels, card.voxel_nm, card.dilation_nm)
            for labels in zip(segments, cleft, strict=True)
        ]
        why = [
            assign.obstacle(fault, mask, numbers)
            for fault, mask, (numbers, _) in zip(samples.index["fault"][batch], cleft, near, strict=True)
        ]
        free = [n for n, reason in enumerate(why) if reason is None]
        numbers = [near[n][0] for n in free]
        score = _pruner_scores if card.network in PRUNERS else _avan_scores
        scores = dict(
            zip(free, score(network, card, em[free], cleft[free], segments[free], numbers, symmetries), strict=True)
        )
        for n, row in enumerate(batch.tolist()):
            at_edge = bool(samples.index["at_edge"][row])
            found[row] = assign.decide(*near[n], scores[n], at_edge) if n in scores else assign.Decision(why[n])
    return found


def presynaptic_masks(network, card, samples, rows, symmetries=1):
    """AVAN's presynaptic output, float32 `[N, Z, Y, X]` of the card's patch, for `rows`: 1 where surely presynaptic."""
    found = (avan_outputs(network, *arrays[:2], symmetries) for _, *arrays in batches(card, samples, rows))
    return np.concatenate([outputs[:, 0] for outputs in found])


def avan_outputs(network, em, cleft, symmetries=1):
    """AVAN's outputs, float32 `[N, 2, Z, Y, X]` in [0, 1], for EM uint8 and masks bool `[N, Z, Y, X]`."""
    images = torch.stack([_normalised(network, em), _tensor(network, cleft).float()], dim=1)
    return _apply("avan", network, images, symmetries)


def dense(network, card, em, symmetries=1):
    """A detector's map, float32 `[Z, Y, X]` in the range of its target, of one tile of EM, uint8 `[Z, Y, X]`.

    The tile is normalised as a whole, and every voxel depends on all of it: for one result whatever the blocks, tiles
    must be those of a fixed grid and of one size.
    """
    return _apply(card.network, network, _normalised(network, em[None])[:, None], symmetries)[0, 0]


def pair_image(name, image, around, segments, pre, post):
    """What a pruner reads of an ordered pair, `[4, Z, Y, X]`, from tensors `[Z, Y, X]`.

    `image` is the normalised EM, `around` as `surroundings` gives it.
    """
    first, second = (segments == pre).float(), (segments == post).float()
    return torch.stack([image, around if name == "mask_pruner" else around * (first - second), first, second])


def surroundings(name, cleft, voxel_nm):
    """Of a cleft (bool `[Z, Y, X]`) what a pruner's second channel is made from: the mask, or nearness to it."""
    return cleft.astype(np.float32) if name == "mask_pruner" else targets.nearness(cleft, voxel_nm).astype(np.float32)


def batches(card, samples, rows):
    """Yield (rows, em, cleft, segments), the middle `patch_zyx` of the samples; the cleft is the row's own, as bool."""
    card.check(samples)
    rows = np.asarray(rows)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        em, cleft, segments = (data.centre(x, card.patch_zyx) for x in samples.read(batch))
        yield batch, em, cleft == 1, segments


def _avan_scores(network, card, em, cleft, segments, numbers, symmetries):
    if not len(em):
        return []
    maps = avan_outputs(network, em, cleft, symmetries)
    return [assign.avan_scores(assign.mean_outputs(*one)) for one in zip(maps, segments, numbers, strict=True)]


def _pruner_scores(network, card, em, cleft, segments, numbers, symmetries):
    """Scores `[P]` of the ordered pairs of each cleft's candidates."""
    scores = []
    for n, candidate in enumerate(numbers):
        image = _normalised(network, em[n : n + 1])[0]
        around = _tensor(network, surroundings(card.network, cleft[n], card.voxel_nm))
        labels = _tensor(network, segments[n].astype(np.int32))
        pairs = np.transpose([candidate[side] for side in assign.ordered_pairs(len(candidate))]).tolist()
        parts = []
        for start in range(0, len(pairs), BATCH):
            images = [pair_image(card.network, image, around, labels, *pair) for pair in pairs[start : start + BATCH]]
            parts.append(_apply(card.network, network, torch.stack(images), symmetries))
        scores.append(np.concatenate(parts))
    return scores


@torch.inference_mode()
def _apply(name, network, images, symmetries):
    """Activated outputs for images `[N, C, Z, Y, X]`, averaged over symmetries; maps are turned back."""
    total = 0
    for number in range(symmetries):
        with device.autocast(images.device):
            logits = network(symmetry(images, number))
        found = activate(name, logits)
        total = total + (symmetry(found, _inverse(number)) if found.dim() > 1 else found)
    return (total / symmetries).cpu().numpy()


def _inverse(number):
    """The symmetry that undoes a symmetry: mirrored ones undo themselves."""
    return number if number >= SYMMETRIES // 2 else -number % 4


def _tensor(network, array):
    return torch.from_numpy(np.ascontiguousarray(array)).to(next(network.parameters()).device)


def _normalised(network, em):
    return data.normalise(_tensor(network, em).float() / 255)
