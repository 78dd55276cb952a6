"""The training loop: one, for all networks.

An epoch depends on the saved state and on `(seed, epoch)` alone. The state is saved after every epoch in one atomic
file, so a run killed at any moment and started again ends with the same weights, bit for bit, on the same machine.
"""

import contextlib
import functools
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from pipeline.artefacts import atomic
from pipeline.config import DIMENSIONS
from pipeline.learn import data, device, distributed, losses, mixing, predict
from pipeline.learn.augment import Augment
from pipeline.learn.threshold import best_threshold

log = logging.getLogger("pipeline")


class TrainingError(RuntimeError):
    """Training that cannot go on; the text names the synapses."""


def fit(network, images, synapses, settings, seed, folder):
    """Train `network` in place to its best epoch's averaged weights; returns facts for the record of the run.

    `images` is a `data.Images` with the rows of `synapses`; `settings` a `config.Model`; `folder` takes
    `checkpoint.pt` and `log.csv`, and training goes on from a checkpoint that is there. The epoch with the highest
    balanced accuracy on `val` (at its own best threshold; then the lower loss) wins.
    """
    if settings.batch_size < distributed.size():
        raise TrainingError(f"{settings.name}: batch_size {settings.batch_size} is less than one image a process")
    training = _Training(network, images, synapses, settings, seed)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: going on after epoch %d", settings.name, len(training.history))
    while not training.finished():
        started = time.monotonic()
        row = {"epoch": len(training.history) + 1} | training.epoch()
        row |= distributed.from_first(training.validate)
        row["seconds"] = round(time.monotonic() - started, 2)
        training.history.append(row)
        training.keep_if_best()
        if distributed.rank():
            continue
        training.save(checkpoint)
        with atomic(folder / "log.csv") as path:
            pd.DataFrame(training.history).to_csv(path, index=False)
        log.info(
            "%s: epoch %d of %d, loss %.3f, validation loss %.3f, balanced accuracy %.3f, AUC %.3f, %.1f s",
            *(settings.name, row["epoch"], settings.epochs, row["loss"]),
            *(row[name] for name in ("val_loss", "val_balanced_accuracy", "val_roc_auc", "seconds")),
        )
    network.load_state_dict(training.best["weights"])
    history = pd.DataFrame(training.history)
    return {
        "best_epoch": training.best["epoch"],
        "epochs": len(history),
        "seconds_per_epoch": round(float(history["seconds"].mean()), 2),
        "share_waiting": round(float(history["share_waiting"].mean()), 4),
    }


@contextlib.contextmanager
def memory_advice(name, batch_size):
    """Turns running out of memory into a TrainingError that proposes a batch size."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in text:
            raise
        raise TrainingError(
            f"{name}: out of memory with batch_size {batch_size} ({text.splitlines()[0]}): set `batch_size: "
            f"{max(2, batch_size // 2)}` for this model, or a smaller `crop`"
        ) from None


def seed_of(*parts):
    """One seed for torch from several numbers, independent between different ones."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def averaged(network, decay):
    """Exponential moving average of weights and buffers, `average = d * average + (1 - d) * weights` after each step.

    Step t uses d = min(decay, (1 + t) / (10 + t)), so that a short training soon forgets its random start (the
    ramp of tf.train.ExponentialMovingAverage).
    """

    def update(averages, current, n_averaged):
        step = int(n_averaged)
        d = min(decay, (1 + step) / (10 + step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, current, 1 - d)
        else:  # counters
            torch._foreach_copy_(averages, current)

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def rate_factor(step, n_steps, settings):
    """The learning rate at a step, as a multiple of its peak; `n_steps` an epoch, `settings` a `config.Model`.

    At the peak while the head alone is trained, then linearly up to it, then along half a cosine or constant.
    """
    recipe = settings.recipe
    head, total = recipe.head_epochs * n_steps, settings.epochs * n_steps
    warmup = min(recipe.warmup_epochs * n_steps, max(0, total - head - 1))
    if step < head:
        return 1.0
    if step < head + warmup:
        return (step - head + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return 1.0
    return (1 + math.cos(math.pi * (step - head - warmup) / (total - head - warmup))) / 2


class _Training:
    """Everything that changes while training, and its steps."""

    def __init__(self, network, images, synapses, settings, seed):
        recipe = settings.recipe
        self.network, self.images, self.settings, self.seed = network, images, settings, seed
        self.place = next(network.parameters()).device
        self.shape_zyx = images.input_zyx(settings)
        self.dimensions = DIMENSIONS[settings.network]
        self.synapse_ids = synapses["synapse_id"].to_numpy()
        self.label = synapses["label"].to_numpy()
        self.neuron = synapses["pre_neuron_id"].to_numpy()
        self.train, self.val = (np.flatnonzero(synapses["split"] == split) for split in ("train", "val"))
        self.n_steps = -(-len(self.train) // settings.batch_size)  # about one epoch of the synapses
        self.class_share = 0.5 if recipe.sampling == "balanced" else float(self.label[self.train].mean())
        if recipe.channels_last_3d and self.dimensions == 3:
            network.to(memory_format=torch.channels_last_3d)
        self.ema = averaged(network, recipe.ema_decay)
        rates = {"encoder": recipe.encoder_learning_rate or recipe.learning_rate, "head": recipe.learning_rate}
        groups = [{"params": getattr(network, part).parameters(), "lr": rate} for part, rate in rates.items()]
        optimizer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
        self.optimizer = optimizer(groups, weight_decay=recipe.weight_decay)
        self.schedule = LambdaLR(
            self.optimizer, functools.partial(rate_factor, n_steps=self.n_steps, settings=settings)
        )
        self.history = []
        self.best = None

    def finished(self):
        done = len(self.history)
        return done >= self.settings.epochs or (
            self.best is not None and done - self.best["epoch"] >= self.settings.recipe.patience
        )

    def epoch(self):
        """One pass over the training rows; returns the mean loss and the share of time spent waiting for images."""
        number = len(self.history)
        torch.manual_seed(seed_of(self.seed, number, 0, distributed.rank()))  # dropout
        draws = seed_of(self.seed, number, 1, distributed.rank())
        augment = Augment(self.settings.augmentation, self.shape_zyx, draws)
        rng = np.random.default_rng([self.seed, number, 2])
        batches = data.epoch_rows(
            self.label[self.train],
            self.neuron[self.train],
            self.n_steps,
            self.settings.batch_size,
            self.settings.recipe.sampling,
            rng,
        )
        shares = [distributed.share(self.train[batch]) for batch in batches]
        network = self._network_in_phase(number)
        total, waited, started = 0.0, 0.0, time.monotonic()
        with tqdm(total=self.n_steps, desc=f"epoch {number + 1}", disable=None, leave=False) as bar:
            for (rows, weight), ((stored, attention), seconds) in zip(
                shares, _read_ahead(self.images.read_both, [rows for rows, _ in shares]), strict=True
            ):
                waited += seconds
                masks = [] if attention is None else [attention]
                images, masks = augment.with_labels(stored, masks, device=self.place)
                total += self._step(network, rows, weight, images, masks, augment.random)
                bar.update()
        return {
            "loss": distributed.mean(total / self.n_steps),
            "share_waiting": waited / (time.monotonic() - started),
        }

    def _network_in_phase(self, number):
        """What a step of epoch `number` calls: while the head alone is trained, the encoder does not change at all."""
        self.network.train()
        head_only = number < self.settings.recipe.head_epochs
        self.network.encoder.requires_grad_(not head_only)
        if head_only:
            self.network.encoder.eval()
        network = torch.compile(self.network, disable=not self.settings.recipe.compile)
        return distributed.wrap(network)

    def _step(self, network, rows, weight, images, masks, random):
        recipe = self.settings.recipe
        label = torch.from_numpy(self.label[rows]).float().to(self.place)
        images, target = mixing.mix(data.normalise(images), label, self.settings.augmentation, random)
        with device.autocast(self.place):
            logits = network(data.as_input(images, self.dimensions, *(mask.float() / 255 for mask in masks)))
        loss = losses.loss(logits, target, recipe, self.class_share) * weight
        value = loss.item()
        if not np.isfinite(value):
            raise TrainingError(
                f"{self.settings.name}: the loss became {value} in epoch {len(self.history) + 1}, on the batch of "
                f"synapses {self.synapse_ids[rows].tolist()}: look at their images, or lower recipe.learning_rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        if recipe.gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(self.network)
        return value

    def validate(self):
        """Scores of the averaged weights on the validation rows, without averaging over symmetries."""
        self.ema.eval()
        network = self.ema.module
        logit = predict.logit(network, predict.features(network, self.images, self.val, self.shape_zyx, symmetries=1))
        p, label = expit(logit), self.label[self.val]
        return {
            "val_loss": float(np.logaddexp(0, np.where(label == 1, -logit, logit)).mean()),
            "val_balanced_accuracy": float(balanced_accuracy_score(label, p >= best_threshold(label, p))),
            "val_roc_auc": float(roc_auc_score(label, p)),
        }

    def keep_if_best(self):
        row = self.history[-1]
        score = [row["val_balanced_accuracy"], -row["val_loss"]]
        if self.best is None or score > self.best["score"]:
            weights = {name: value.clone() for name, value in self.ema.module.state_dict().items()}
            self.best = {"epoch": row["epoch"], "score": score, "weights": weights}

    def _parts(self):
        return {"network": self.network, "ema": self.ema, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self, path):
        state = {name: part.state_dict() for name, part in self._parts().items()}
        with atomic(path) as temporary:
            torch.save(state | {"history": self.history, "best": self.best}, temporary)

    def restore(self, path):
        state = torch.load(path, map_location=self.place, weights_only=True)  # tensors and plain values, no code
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history, self.best = state["history"], state["best"]


def _read_ahead(read, batches):
    """Yield (what `read` gives, seconds waited for it) of each batch of rows, the next one being read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, batches[0])
        for following in [*batches[1:], None]:
            started = time.monotonic()
            images = waiting.result()
            seconds = time.monotonic() - started
            if following is not None:
                waiting = reader.submit(read, following)
            yield images, seconds
