"""The task of classification: is the presynaptic neuron of a synapse excitatory or inhibitory?"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch import nn
from torch.optim.swa_utils import update_bn

from pipeline.learn import checkpoint, data, device, distributed, losses, mixing
from pipeline.learn.ahead import read_ahead
from pipeline.learn.augment import SYMMETRIES, Augment
from pipeline.learn.engine import seed_of
from pipeline.learn.predict import averaged, batch_size, in_batches
from pipeline.learn.threshold import best_threshold
from pipeline.models import registry
from pipeline.models.names import stored_as
from pipeline.models.registry import Classifier
from pipeline.recipes import Model

TASK = "classification"


class Classification:
    """An `engine.Task`: balanced batches of the training neurons' synapses, labels of their neurons.

    `images` has the rows of `synapses`, whose `split` says what is trained and validated on. The epoch with the highest
    balanced accuracy on `val` (at its own best threshold; then the lower loss) wins.
    """

    def __init__(self, network: Classifier, images: data.Images, synapses: pd.DataFrame, settings: Model, seed: int):
        self.network, self.images, self.settings, self.seed = network, images, settings, seed
        self.head_epochs = settings.recipe.head_epochs
        self.place = next(network.parameters()).device
        self.shape_zyx = images.input_zyx(settings)
        self.synapse_ids = synapses["synapse_id"].to_numpy()
        self.label = synapses["label"].to_numpy()
        self.neuron = synapses["pre_neuron_id"].to_numpy()
        self.train, self.val = (np.flatnonzero(synapses["split"] == split) for split in ("train", "val"))
        self.n_steps = -(-len(self.train) // settings.batch_size)  # about one epoch of the synapses
        balanced = settings.recipe.sampling == "balanced"
        self.class_share = 0.5 if balanced else float(self.label[self.train].mean())

    def parameter_groups(self) -> list[dict[str, Any]]:
        recipe = self.settings.recipe
        rates = {"encoder": recipe.encoder_learning_rate or recipe.learning_rate, "head": recipe.learning_rate}
        return [{"params": getattr(self.network, part).parameters(), "lr": rate} for part, rate in rates.items()]

    def start_epoch(self, number: int) -> list[np.ndarray]:
        """While the head alone is trained, the encoder does not change at all, its batch statistics included."""
        head_only = number < self.head_epochs
        self.network.train()
        self.network.encoder.requires_grad_(not head_only)
        if head_only:
            self.network.encoder.eval()
        draws = seed_of(self.seed, number, 1, distributed.rank())
        self.augment = Augment(self.settings.augmentation, self.shape_zyx, draws)
        rng = np.random.default_rng([self.seed, number, 2])
        label, neuron = self.label[self.train], self.neuron[self.train]
        sizes = self.n_steps, self.settings.batch_size
        return [self.train[rows] for rows in data.epoch_rows(label, neuron, *sizes, self.settings.recipe.sampling, rng)]

    def read(self, rows: np.ndarray) -> torch.Tensor:
        return self.images.read(rows, self.augment.reach_zyx(self.images.shape_zyx))

    def loss(self, network: nn.Module, rows: np.ndarray, stored: torch.Tensor) -> torch.Tensor:
        label = torch.from_numpy(self.label[rows]).float().to(self.place, non_blocking=True)
        images = data.normalise_em(self.augment(stored, self.place))
        images, target = mixing.mix(images, label, self.settings.augmentation, self.augment.random)
        with device.autocast(self.place):
            logits = network(data.as_input(images, self.network.dimensions))
        return losses.loss(logits, target, self.settings.recipe, self.class_share)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Scores without averaging over symmetries."""
        assert isinstance(network, Classifier)

        def predict(rows: np.ndarray) -> np.ndarray:
            return logits(network, features(network, self.images, rows, self.shape_zyx, symmetries=1))

        logit = distributed.in_parts(predict, self.val)
        p, label = expit(logit), self.label[self.val]
        return {
            "val_loss": float(np.logaddexp(0, np.where(label == 1, -logit, logit)).mean()),
            "val_balanced_accuracy": float(balanced_accuracy_score(label, p >= best_threshold(label, p))),
            "val_roc_auc": float(roc_auc_score(label, p)),
        }

    def merit(self, scores: dict[str, float]) -> list[float]:
        return [scores["val_balanced_accuracy"], -scores["val_loss"]]

    def describe(self, rows: np.ndarray) -> str:
        return f"synapses {self.synapse_ids[rows].tolist()}"


def build(settings: Model, start: Path | None = None) -> tuple[Classifier, dict[str, Any]]:
    """A network and the arguments for its card. Its weights are fresh, published ones, or those of the file `start`.

    CheckpointError where that file holds another network.
    """
    arguments: dict[str, Any] = {
        "sections": settings.sections,
        "channels": len(settings.channels),
        "norm": settings.norm,
    }
    network = registry.build(
        settings.network, **arguments, pretrained=settings.pretrained, dropout=settings.recipe.dropout
    )
    if start is not None:
        trained, card = load(start)
        if (card.network, card.build) != (settings.network, arguments):
            raise checkpoint.CheckpointError(
                f"{start} holds {card.network} built by {card.build}, not {settings.network} by {arguments}"
            )
        network.load_state_dict(trained.state_dict())
    return _laid_out(network), arguments


def load(path: Path) -> tuple[Classifier, checkpoint.Card]:
    """(network in evaluation mode, its card); CheckpointError for a file that is no classifier."""
    network, card = checkpoint.load(path, (TASK,), registry.build)
    return _laid_out(network), card


def _laid_out(network: Classifier) -> Classifier:
    """The network with weights in the faster layout.

    In 2D that has the channels last: on a CPU `cnn` is 1.2 to 1.3 times as fast, ResNet-18 at most 1.1 times. In 3D,
    what convolutions gain by it GroupNorm loses.
    """
    if network.dimensions == 2:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def array_of(card: checkpoint.Card) -> str:
    """The array of `patches/` that a classifier reads: `patch` or `cube`."""
    return stored_as(card.network, card.shape_zyx[0], card.channels)


def features(
    network: Classifier,
    images: data.Images,
    rows: np.ndarray,
    shape_zyx: tuple[int, int, int],
    symmetries: int = SYMMETRIES,
) -> Iterator[np.ndarray]:
    """Yield the encoder's features, float64 `[n, F]`, batch by batch, for rows of `images`.

    They are the mean over the first `symmetries` of the 8 rotations and mirrorings of the central `shape_zyx`. Under
    a linear head that is the mean of the logits. Few batches of images are in memory at a time.
    """
    place = next(network.parameters()).device

    def encode(turned: torch.Tensor) -> torch.Tensor:
        return network.encoder(data.as_input(turned, network.dimensions)).double()

    for batch in _batches(images, rows, shape_zyx, place):
        yield averaged(encode, batch, symmetries)


def settle(network: Classifier, images: data.Images, rows: np.ndarray, shape_zyx: tuple[int, int, int]) -> None:
    """Give batch normalisation the statistics of some rows of `images`, in place, as training would.

    Without them it does nothing in a network with random weights, which is then a weaker control than it could be.
    """
    place = next(network.parameters()).device
    batches = _batches(images, rows, shape_zyx, place)
    update_bn((data.as_input(batch, network.dimensions) for batch in batches), network.encoder)


def _batches(
    images: data.Images, rows: np.ndarray, shape_zyx: tuple[int, int, int], place: torch.device
) -> Iterator[torch.Tensor]:
    """Yield the central `shape_zyx` of some rows as networks see them, unchanged otherwise, on a device."""
    batches = in_batches(rows, batch_size(shape_zyx, place), "predict")
    for stored, _ in read_ahead(lambda batch: images.read(batch, shape_zyx), batches, place):
        yield data.normalise_em(stored.to(place, non_blocking=True).float() / 255)


def logits(network: Classifier, batches: Iterable[np.ndarray]) -> np.ndarray:
    """Log odds of being excitatory, float64 `[N]`, for batches of features: the difference of the head's outputs."""
    weight = network.head.weight.detach().double().cpu().numpy()
    bias = network.head.bias.detach().double().cpu().numpy()
    return np.concatenate([batch @ (weight[1] - weight[0]) + (bias[1] - bias[0]) for batch in batches])
