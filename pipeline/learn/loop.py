"""The training loop: one, for all networks.

An epoch depends on the saved state and on `(seed, epoch)` alone. The state is saved after every epoch in one atomic
file, so a run killed at any moment and started again ends with the same weights, bit for bit, on the same machine.
"""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch.nn import functional
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from pipeline.artefacts import atomic
from pipeline.learn import data, device, predict
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
    training = _Training(network, images, synapses, settings, seed)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: going on after epoch %d", settings.name, len(training.history))
    while not training.finished():
        started = time.monotonic()
        loss = training.epoch()
        row = {"epoch": len(training.history) + 1, "loss": loss} | training.validate()
        row["seconds"] = round(time.monotonic() - started, 2)
        training.history.append(row)
        training.keep_if_best()
        training.save(checkpoint)
        with atomic(folder / "log.csv") as path:
            pd.DataFrame(training.history).to_csv(path, index=False)
        log.info(
            "%s: epoch %d of %d, loss %.3f, validation loss %.3f, balanced accuracy %.3f, AUC %.3f, %.1f s",
            *(settings.name, row["epoch"], settings.epochs, loss),
            *(row[name] for name in ("val_loss", "val_balanced_accuracy", "val_roc_auc", "seconds")),
        )
    network.load_state_dict(training.best["weights"])
    seconds = [row["seconds"] for row in training.history]
    return {
        "best_epoch": training.best["epoch"],
        "epochs": len(training.history),
        "seconds_per_epoch": round(float(np.mean(seconds)), 2),
    }


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


class _Training:
    """Everything that changes while training, and its steps."""

    def __init__(self, network, images, synapses, settings, seed):
        recipe = settings.recipe
        self.network, self.images, self.settings, self.seed = network, images, settings, seed
        self.place = next(network.parameters()).device
        self.shape_zyx = images.crop_zyx(settings.crop)
        self.synapse_ids = synapses["synapse_id"].to_numpy()
        self.label = synapses["label"].to_numpy()
        self.neuron = synapses["pre_neuron_id"].to_numpy()
        self.train, self.val = (np.flatnonzero(synapses["split"] == split) for split in ("train", "val"))
        self.n_steps = -(-len(self.train) // settings.batch_size)  # full batches, about one epoch of the synapses
        self.ema = averaged(network, recipe.ema_decay)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        warmup = min(recipe.warmup_epochs * self.n_steps, max(1, settings.epochs * self.n_steps - 1))
        self.schedule = SequentialLR(
            self.optimizer,
            [
                LinearLR(self.optimizer, start_factor=1 / (warmup + 1), total_iters=warmup),
                CosineAnnealingLR(self.optimizer, T_max=settings.epochs * self.n_steps - warmup),
            ],
            milestones=[warmup],
        )
        self.history = []
        self.best = None

    def finished(self):
        done = len(self.history)
        return done >= self.settings.epochs or (
            self.best is not None and done - self.best["epoch"] >= self.settings.recipe.patience
        )

    def epoch(self):
        """One pass over a balanced sample; returns the mean loss."""
        number = len(self.history)
        torch.manual_seed(seed_of(self.seed, number, 0))  # dropout
        augment = Augment(self.settings.augmentation, self.shape_zyx, seed_of(self.seed, number, 1))
        rng = np.random.default_rng([self.seed, number, 2])
        n_drawn = self.n_steps * self.settings.batch_size
        drawn = data.balanced_rows(self.label[self.train], self.neuron[self.train], n_drawn, rng)
        batches = np.split(self.train[drawn], self.n_steps)
        self.network.train()
        losses = []
        with tqdm(total=self.n_steps, desc=f"epoch {number + 1}", disable=None, leave=False) as bar:
            for rows, stored in _read_ahead(self.images.read, batches):
                losses.append(self._step(rows, augment(stored, self.place)))
                bar.update()
        return float(np.mean(losses))

    def _step(self, rows, images):
        label = torch.from_numpy(self.label[rows]).to(self.place)
        with device.autocast(self.place):
            logits = self.network(data.as_input(data.normalise(images), self.images.kind))
        loss = functional.cross_entropy(logits, label, label_smoothing=self.settings.recipe.label_smoothing)
        value = loss.item()
        if not np.isfinite(value):
            raise TrainingError(
                f"{self.settings.name}: the loss became {value} in epoch {len(self.history) + 1}, on the batch of "
                f"synapses {self.synapse_ids[rows].tolist()}: look at their images, or lower recipe.learning_rate"
            )
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.recipe.gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(self.network)
        return value

    def validate(self):
        """Scores of the averaged weights on the validation rows, without averaging over symmetries."""
        self.ema.eval()
        network = self.ema.module
        logits = predict.logits(network, predict.features(network, self.images, self.val, self.shape_zyx, symmetries=1))
        p, label = predict.probability(logits), self.label[self.val]
        loss = functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(label))
        return {
            "val_loss": float(loss),
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
    """Yield (rows, images) of each batch, the next one being read meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(read, batches[0])
        for rows, following in zip(batches, [*batches[1:], None], strict=True):
            images = waiting.result()
            if following is not None:
                waiting = reader.submit(read, following)
            yield rows, images
