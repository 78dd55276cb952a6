"""Applying a network to any number of synapses, in bounded memory, averaged over the symmetries of the square."""

import numpy as np
import torch
from scipy.special import expit
from tqdm import tqdm

from pipeline.learn import checkpoint, data, device
from pipeline.learn.augment import SYMMETRIES, symmetry

BATCH = 32
COLUMNS = ["synapse_id", "pre_neuron_id", "label", "split", "fold"]  # what predictions keep of the cohort


@torch.inference_mode()
def features(network, images, rows, shape_zyx, symmetries=SYMMETRIES):
    """Yield the encoder's features, float64 `[n, F]`, batch by batch, for rows of `images` (a `data.Images`).

    They are the mean over the first `symmetries` of the 8 rotations and mirrorings of the central `shape_zyx`. Under
    a linear head that is the mean of the logits. One batch of images is in memory at a time.
    """
    place = next(network.parameters()).device
    for start in tqdm(range(0, len(rows), BATCH), desc="predict", disable=None, leave=False):
        both = images.read_both(rows[start : start + BATCH])
        stored, mask = (x if x is None else data.centre(x, shape_zyx).to(place).float() / 255 for x in both)
        x = data.normalise(stored)
        total = 0
        for number in range(symmetries):
            turned = symmetry(x, number), None if mask is None else symmetry(mask, number)
            with device.autocast(place):
                total = total + network.encoder(data.as_input(turned[0], network.dimensions, turned[1])).double()
        yield (total / symmetries).cpu().numpy()


def logit(network, batches):
    """The head's logit of being excitatory, float64 `[N]`, for batches of features: the difference of its outputs."""
    weight = network.head.weight.detach().double().cpu().numpy()
    bias = network.head.bias.detach().double().cpu().numpy()
    return np.concatenate([batch @ (weight[1] - weight[0]) + (bias[1] - bias[0]) for batch in batches])


def table(synapses, p_excitatory):
    """The predictions of the contract: identity, label and split of each row, as far as known, and `p_excitatory`."""
    known = [name for name in COLUMNS if name in synapses]
    return synapses[known].assign(p_excitatory=p_excitatory)


def predict(model_path, patches_dir, synapses, place, levels=None):
    """Predictions of a trained model for all rows of `synapses` that have an image, as `table` gives them.

    `levels` `[256]` uint8 replaces grey levels on reading (`matching.lookup`). Raises CheckpointError where model and
    images do not belong together.
    """
    network, card = checkpoint.load(model_path)
    synapses = data.with_images(synapses, patches_dir)
    images = data.Images(patches_dir, card.input_kind, synapses["synapse_id"], levels)
    card.check(images)
    batches = features(network.to(place), images, np.arange(len(images)), card.shape_zyx)
    return table(synapses, expit(logit(network, batches) / card.temperature))
