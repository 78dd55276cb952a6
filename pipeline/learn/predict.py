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
def mean_output(module, images, rows, shape_zyx, symmetries=SYMMETRIES):
    """Output of `module` for rows of `images` (a `data.Images`), float64 `[len(rows), K]`.

    The mean over the first `symmetries` of the 8 rotations and mirrorings of the central `shape_zyx`; one batch of
    images is in memory at a time.
    """
    place = next(module.parameters()).device
    outputs = []
    for start in tqdm(range(0, len(rows), BATCH), desc="predict", disable=None, leave=False):
        stored = data.centre(images.read(rows[start : start + BATCH]), shape_zyx)
        x = data.normalise(stored.to(place).float() / 255)
        total = 0
        for number in range(symmetries):
            with device.autocast(place):
                total = total + module(data.as_input(symmetry(x, number), images.kind)).double()
        outputs.append((total / symmetries).cpu().numpy())
    return np.concatenate(outputs)


def probability(logits):
    """p_excitatory from logits `[N, 2]` (inhibitory, excitatory)."""
    return expit(logits[:, 1] - logits[:, 0])


def table(synapses, p_excitatory):
    """The predictions of the contract: identity, label and split of each row, as far as known, and `p_excitatory`."""
    known = [name for name in COLUMNS if name in synapses]
    return synapses[known].assign(p_excitatory=p_excitatory)


def predict(model_path, patches_dir, synapses, place):
    """Predictions of a trained model for all rows of `synapses` that have an image, as `table` gives them.

    Raises CheckpointError where model and images do not belong together.
    """
    network, card = checkpoint.load(model_path)
    synapses = data.with_images(synapses, patches_dir)
    images = data.Images(patches_dir, card.input_kind, synapses["synapse_id"])
    card.check(images)
    logits = mean_output(network.to(place), images, np.arange(len(images)), card.shape_zyx)
    return table(synapses, probability(logits))
