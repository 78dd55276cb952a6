"""The training engine: one, for all networks. A task says what is trained on what; the engine trains it.

An epoch depends on the saved state and on `(seed, epoch)` alone. The state is saved after every epoch in one atomic
file, so a run killed at any moment and started again ends with the same weights, bit for bit, on the same machine; on a
GPU, where the recipe asks for deterministic algorithms.

A run's folder holds `config.json` (all that the result depends on), `log.csv`, `model.safetensors` and, written last,
`result.json`; while training also `checkpoint.pt`.
"""

import contextlib
import functools
import logging
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from pipeline.artefacts import atomic, read_json, write_json
from pipeline.errors import PipelineError
from pipeline.learn import distributed
from pipeline.learn.ahead import read_ahead
from pipeline.recipes import Entry

log = logging.getLogger("pipeline")

LOOK_EVERY = 50  # steps between two looks at the losses: a GPU has to be waited for only then
HALVED_AT = (0.6, 0.8)  # parts of a training after which the schedule `halved` halves the learning rate


class TrainingError(PipelineError):
    """Training that cannot go on; the text names the rows."""


class Task(Protocol):
    """What is trained: a network, its batches, its loss, and which of two epochs is the better one.

    An epoch begins with `start_epoch`, which sets the network's mode, starts the random numbers and returns the rows of
    every batch in order. `read` loads what `loss` needs of some rows, in other threads while earlier steps run: a
    tensor, or several.
    `loss` is the mean over a batch; its network is the task's own, wrapped for several processes. `validate` scores a
    network, the one with averaged weights. The epoch with the largest `merit` is kept, the first of equal ones.
    `describe` says in the text of an error where rows are.
    """

    n_steps: int  # batches an epoch
    head_epochs: int  # first epochs, at the peak rate, in which only the head is trained

    @property
    def network(self) -> nn.Module: ...
    def parameter_groups(self) -> list[dict[str, Any]]: ...  # for the optimiser, each with `params` and peak `lr`
    def start_epoch(self, number: int) -> list[np.ndarray]: ...
    def read(self, rows: np.ndarray) -> Any: ...
    def loss(self, network: nn.Module, rows: np.ndarray, stored: Any) -> torch.Tensor: ...
    def validate(self, network: nn.Module) -> dict[str, float]: ...
    def merit(self, scores: dict[str, float]) -> list[float]: ...
    def describe(self, rows: np.ndarray) -> str: ...


def fit(task: Task, settings: Entry, seed: int, folder: Path) -> dict[str, Any]:
    """Train the task's network in place to its best epoch's averaged weights; returns facts for the record of the run.

    `folder` takes `checkpoint.pt` and `log.csv`, and training goes on from a checkpoint that is there. TrainingError
    for a loss that is not finite.
    """
    if settings.batch_size < distributed.size():
        raise TrainingError(f"{settings.name}: batch_size {settings.batch_size} is less than one image a process")
    training = _Training(task, settings, seed)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: going on after epoch %d", settings.name, len(training.history))
    while not training.finished():
        training.run_epoch()
        if distributed.rank():
            continue
        training.save(checkpoint)
        with atomic(folder / "log.csv") as path:
            pd.DataFrame(training.history).to_csv(path, index=False)
        row = training.history[-1]
        scores = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if key not in ("epoch", "seconds"))
        log.info("%s: epoch %d of %d, %s, %.1f s", settings.name, row["epoch"], settings.epochs, scores, row["seconds"])
    task.network.load_state_dict(training.best["weights"])
    history, best = pd.DataFrame(training.history), training.best["epoch"]
    kept = training.history[best - 1]
    return {
        "best_epoch": best,
        "epochs": len(history),
        "seconds_per_epoch": round(float(history["seconds"].mean()), 2),
        "share_waiting": round(float(history["share_waiting"].mean()), 4),
        "validation": {key.removeprefix("val_"): kept[key] for key in kept if key.startswith("val_")},
    }


@contextlib.contextmanager
def memory_advice(settings: Entry) -> Iterator[None]:
    """Turn running out of memory into a TrainingError that proposes a batch size."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in text:
            raise
        size = settings.batch_size
        raise TrainingError(
            f"{settings.name}: out of memory with batch_size {size} ({text.splitlines()[0]}): set `batch_size: "
            f"{max(2, size // 2)}` for this entry, or a smaller input"
        ) from None


def open_folder(folder: Path, identity: dict[str, Any], name: str) -> None:
    """Make the folder of a run ready: what a run of anything else than `identity` left there is removed."""
    record = folder / "config.json"
    found = read_json(record) if record.is_file() else {}
    if folder.is_dir() and found != identity:
        other = [key for key, value in identity.items() if found.get(key) != value]
        log.info("%s: %s holds a run of other %s; starting over", name, folder, ", ".join(other))
        shutil.rmtree(folder)
    write_json(record, identity)
    for leftover in folder.rglob(".*"):  # half-written files of a killed process
        leftover.unlink()


def is_up_to_date(folder: Path, identity: dict[str, Any], *outputs: Path) -> bool:
    """Whether the folder holds a finished run of this identity, and its `outputs` exist."""
    record = Path(folder) / "config.json"
    whole = all(Path(path).is_file() for path in (record, Path(folder) / "result.json", *outputs))
    return whole and read_json(record) == identity


def finish(folder: Path, result: dict[str, Any]) -> None:
    """Write the record that says that a run is finished; its checkpoint is no longer needed."""
    write_json(folder / "result.json", result)
    (folder / "checkpoint.pt").unlink(missing_ok=True)


def seed_of(*parts: int) -> int:
    """One seed for torch from several numbers, independent between different ones; zeros at the end do not count."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of weights and buffers, `average = d * average + (1 - d) * weights` after each step.

    Step t uses d = min(decay, (1 + t) / (10 + t)), so that a short training soon forgets its random start (the
    ramp of tf.train.ExponentialMovingAverage).
    """

    def update(
        averages: Sequence[torch.Tensor], current: Sequence[torch.Tensor], n_averaged: torch.Tensor | int
    ) -> None:
        step = int(n_averaged)
        d = min(decay, (1 + step) / (10 + step))
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(current), 1 - d)
        else:  # counters
            torch._foreach_copy_(list(averages), list(current))

    return AveragedModel(network, multi_avg_fn=update, use_buffers=True)


def rate_factor(step: int, n_steps: int, head_epochs: int, settings: Entry) -> float:
    """The learning rate at a step, as a multiple of its peak; `n_steps` an epoch.

    At the peak while the head alone is trained, then linearly up to it, then along the schedule.
    """
    recipe = settings.recipe
    head, total = head_epochs * n_steps, settings.epochs * n_steps
    warmup = min(recipe.warmup_epochs * n_steps, max(0, total - head - 1))
    if step < head:
        return 1.0
    if step < head + warmup:
        return (step - head + 1) / (warmup + 1)
    if recipe.schedule == "constant":
        return 1.0
    if recipe.schedule == "halved":
        epochs = step // n_steps + step % n_steps / n_steps
        return 0.5 ** sum(epochs / settings.epochs >= part for part in HALVED_AT)
    return (1 + math.cos(math.pi * (step - head - warmup) / (total - head - warmup))) / 2


class _Training:
    """Everything that changes while training."""

    def __init__(self, task: Task, settings: Entry, seed: int):
        recipe = settings.recipe
        self.task, self.settings, self.seed = task, settings, seed
        self.place = next(task.network.parameters()).device
        self.ema = averaged(task.network, recipe.ema_decay)
        optimizer = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
        self.optimizer = optimizer(task.parameter_groups(), weight_decay=recipe.weight_decay)
        factor = functools.partial(rate_factor, n_steps=task.n_steps, head_epochs=task.head_epochs, settings=settings)
        self.schedule = LambdaLR(self.optimizer, factor)
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] = {}

    def finished(self) -> bool:
        done, patience = len(self.history), self.settings.recipe.patience
        waited = done - self.best["epoch"] if self.best else 0
        return done >= self.settings.epochs or (patience is not None and waited >= patience)

    def run_epoch(self) -> None:
        """Train for an epoch, validate, and keep the weights if they are the best so far."""
        started = time.monotonic()
        row = {"epoch": len(self.history) + 1} | self.epoch()
        scores = self._validate()
        row |= distributed.from_first(lambda: scores)
        row["seconds"] = round(time.monotonic() - started, 2)
        self.history.append(row)
        merit = self.task.merit(row)
        if not self.best or merit > self.best["merit"]:
            weights = {name: value.clone() for name, value in self.ema.module.state_dict().items()}
            self.best = {"epoch": row["epoch"], "merit": merit, "weights": weights}

    def epoch(self) -> dict[str, float]:
        """Take the steps of an epoch; returns the mean loss and the share of time spent waiting for images."""
        number = len(self.history)
        torch.manual_seed(seed_of(self.seed, number, 0, distributed.rank()))  # dropout
        shares = [distributed.share(rows) for rows in self.task.start_epoch(number)]
        network = distributed.wrap(self.task.network)
        total, waited, started = 0.0, 0.0, time.monotonic()
        read = read_ahead(self.task.read, [rows for rows, _ in shares], self.place)
        bar = tqdm(shares, desc=f"epoch {number + 1}", disable=None, leave=False)
        recent: list[tuple[np.ndarray, torch.Tensor]] = []
        for step, ((rows, weight), (stored, seconds)) in enumerate(zip(bar, read, strict=True), start=1):
            waited += seconds
            recent.append((rows, self._step(network, rows, weight, stored)))
            if step % LOOK_EVERY == 0 or step == len(shares):
                total += self._look_at(recent)
                recent = []
        return {
            "loss": distributed.mean(total / len(shares)),
            "share_waiting": waited / (time.monotonic() - started),
        }

    def _step(self, network: nn.Module, rows: np.ndarray, weight: float, stored: Any) -> torch.Tensor:
        loss = self.task.loss(network, rows, stored) * weight
        self.optimizer.zero_grad()
        loss.backward()
        if self.settings.recipe.gradient_norm is not None:
            nn.utils.clip_grad_norm_(self.task.network.parameters(), self.settings.recipe.gradient_norm)
        self.optimizer.step()
        self.schedule.step()
        self.ema.update_parameters(self.task.network)
        return loss.detach()

    def _look_at(self, recent: list[tuple[np.ndarray, torch.Tensor]]) -> float:
        """The sum of the losses of some batches; TrainingError for the first that is not finite."""
        losses = torch.stack([loss for _, loss in recent]).double().cpu().numpy()
        for (rows, _), loss in zip(recent, losses, strict=True):
            if not np.isfinite(loss):
                raise TrainingError(
                    f"{self.settings.name}: the loss became {loss} in epoch {len(self.history) + 1}, on the batch of "
                    f"{self.task.describe(rows)}: look at their images, or lower recipe.learning_rate"
                )
        return float(losses.sum())

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        self.ema.eval()
        distributed.share_first(self.ema.module)
        return self.task.validate(self.ema.module)

    def _parts(self) -> dict[str, Any]:
        return {"network": self.task.network, "ema": self.ema, "optimizer": self.optimizer, "schedule": self.schedule}

    def save(self, path: Path) -> None:
        state = {name: part.state_dict() for name, part in self._parts().items()}
        with atomic(path) as temporary:
            torch.save(state | {"history": self.history, "best": self.best}, temporary)

    def restore(self, path: Path) -> None:
        state = torch.load(path, map_location=self.place, weights_only=True)  # tensors and plain values, no code
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history, self.best = state["history"], state["best"]
