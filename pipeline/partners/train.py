"""Training of one partner network: from a sample store to a model file.

`runs/<network>/` holds `config.json` (all that the result depends on), `log.csv`, `model.safetensors` and, written
last, `result.json`; while training also `checkpoint.pt`. An epoch depends on the saved state and on `(seed, epoch)`
alone, so that a run killed at any moment and started again ends with the same bytes on the same machine.
"""

import logging
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from tqdm import tqdm

from pipeline.artefacts import REPOSITORY, atomic, read_json, sha256, write_json
from pipeline.learn import data, device, loop, run
from pipeline.learn.augment import Augment
from pipeline.partners import assign, candidates, model, predict, targets
from pipeline.partners.samples import OWN, Samples, manifest

log = logging.getLogger("pipeline")

EMA_DECAY = 0.99  # of the weights, per step, as for the classifiers
STEPS = (0.6, 0.8)  # parts of the training after which the learning rate is halved
SHARE_REVERSED = 0.5  # of a pruner's wrong pairs: the true one reversed

#: Settings of config.Partners that change a trained network; the others say how samples are made.
SETTINGS = ("patch_zyx", "dilation_nm", "width", "epochs", "batch_size", "learning_rate", "threads", "augmentation")
#: Code that the result depends on, in `pipeline/`.
CODE = (
    *(f"learn/{name}.py" for name in ("augment", "data", "device", "loop", "run")),
    *(f"models/{name}.py" for name in ("norms", "rsunet")),
    *(f"partners/{name}.py" for name in ("assign", "candidates", "model", "predict", "samples", "targets", "train")),
)


def train(samples_dir, settings, network_name, run_dir, seed, start=None):
    """Train `network_name` (of `config.PARTNER_NETWORKS`) on the rows `train` of a sample store; returns the result.

    `settings` is a `config.Partners`; `start`, where given, a model file of the same network from whose weights
    training begins (fine-tuning). The epoch with the lowest loss on the rows `val` is kept. Interrupted, a run goes on
    from its last epoch; a finished one is left alone; one of other settings, samples, start or code starts over.
    Raises SamplesError for samples that cannot be used, ModelError for a `start` that does not fit, TrainingError for a
    loss that is not finite and where memory does not suffice.
    """
    run_dir, settings = Path(run_dir), _of_network(settings, network_name)
    run.open_folder(run_dir, identity(samples_dir, settings, network_name, seed, start), network_name)
    if (run_dir / "result.json").is_file():
        log.info("%s: already trained", network_name)
        return read_json(run_dir / "result.json")
    place = device.prepare(settings.threads)
    samples = Samples(samples_dir)
    card = model.Card(network_name, settings.width, samples.voxel_nm, settings.patch_zyx, settings.dilation_nm)
    card.check(samples)
    torch.manual_seed(loop.seed_of(seed))
    network = (model.build(network_name, settings.width) if start is None else _started(start, card)).to(place)
    with loop.memory_advice(network_name, settings.batch_size):
        training = _Training(network, card, samples, settings, seed)
        facts = _fit(training, run_dir)
    network.load_state_dict(training.best["weights"])
    if training.assigns:
        facts["validation"]["right"] = training.share_right()
    model.save(run_dir / "model.safetensors", network, card)
    facts |= {
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "device": device.describe(place),
        "samples": {"train": len(training.train), "val": len(training.val)},
    }
    write_json(run_dir / "result.json", facts)
    (run_dir / "checkpoint.pt").unlink(missing_ok=True)
    return facts


def is_up_to_date(samples_dir, settings, network_name, run_dir, seed, start=None):
    """Whether `train` with these arguments would find its work done."""
    files = [Path(run_dir) / name for name in ("config.json", "model.safetensors", "result.json")]
    if not all(path.is_file() for path in files):
        return False
    return read_json(files[0]) == identity(samples_dir, settings, network_name, seed, start)


def identity(samples_dir, settings, network_name, seed, start=None):
    """All that the result depends on, as JSON."""
    settings = _of_network(settings, network_name)
    return {
        "network": network_name,
        "settings": settings.model_dump(mode="json", include=set(SETTINGS)),
        "seed": seed,
        "samples": sha256(manifest(samples_dir)),
        "start": None if start is None else sha256(start),
        "code": {name: sha256(REPOSITORY / "pipeline" / name) for name in CODE},
    }


def _of_network(settings, network_name):
    """The settings with this network's own number of epochs."""
    return settings.model_copy(update={"epochs": settings.epochs_of.get(network_name, settings.epochs)})


def _started(path, card):
    network, found = model.load(path)
    wanted = (card.network, card.width)
    if (found.network, found.width) != wanted:
        raise model.ModelError(f"{path} holds {found.network} of width {found.width}, not {wanted[0]} of {wanted[1]}")
    return network


def _fit(training, folder):
    """Train to the last epoch, going on from `folder`'s checkpoint; returns facts for the record of the run."""
    name, epochs, checkpoint = training.card.network, training.settings.epochs, folder / "checkpoint.pt"
    if checkpoint.is_file():
        training.restore(checkpoint)
        log.info("%s: going on after epoch %d", name, len(training.history))
    while len(training.history) < epochs:
        started = time.monotonic()
        row = {"epoch": len(training.history) + 1, "loss": training.epoch()} | training.validate()
        row["seconds"] = round(time.monotonic() - started, 2)
        training.history.append(row)
        training.keep_if_best()
        training.save(checkpoint)
        history = pd.DataFrame(training.history)
        with atomic(folder / "log.csv") as path:
            history.to_csv(path, index=False)
        scores = ", ".join(f"{key} {value:.3f}" for key, value in row.items() if key not in ("epoch", "seconds"))
        log.info("%s: epoch %d of %d, %s, %.1f s", name, row["epoch"], epochs, scores, row["seconds"])
    return {
        "network": name,
        "best_epoch": training.best["epoch"],
        "epochs": epochs,
        "seconds_per_epoch": round(float(history["seconds"].mean()), 2),
        "validation": {"loss": training.best["val_loss"]},
    }


class _Training:
    """Everything that changes while training, and its steps."""

    def __init__(self, network, card, samples, settings, seed):
        self.network, self.card, self.samples, self.settings, self.seed = network, card, samples, settings, seed
        self.place = next(network.parameters()).device
        self.assigns = not card.network.startswith("detect_")
        partners = self.assigns or card.network == "detect_proximity"
        self.train = samples.rows("train", partners, background=not self.assigns)
        self.val = samples.rows("val", partners)
        self.n_steps = -(-len(self.train) // settings.batch_size)
        self.ema = loop.averaged(network, EMA_DECAY)
        self.optimizer = torch.optim.Adam(network.parameters(), settings.learning_rate)
        self.history = []
        self.best = None

    def epoch(self):
        """One pass over the training rows in random order; returns the mean loss."""
        number = len(self.history)
        augment = Augment(self.settings.augmentation, self.card.patch_zyx, loop.seed_of(self.seed, number, 0))
        rng = np.random.default_rng([self.seed, number, 1])
        batches = np.array_split(rng.permutation(self.train), self.n_steps)
        self.network.train()
        total = 0.0
        for step, rows in enumerate(tqdm(batches, desc=f"epoch {number + 1}", disable=None, leave=False)):
            done = (number + step / self.n_steps) / self.settings.epochs
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings.learning_rate * 0.5 ** sum(done >= part for part in STEPS)
            em, cleft, segments = self.samples.read(rows)
            centre = _centres(cleft, self.card.patch_zyx, rng)
            volumes = [torch.from_numpy(x) for x in (em, cleft, segments.astype(np.int32))]
            image, (cleft, segments) = augment.with_labels(volumes[0], volumes[1:], centre, self.place)
            loss = self._loss(self.network, rows, image, cleft, segments, rng)
            value = loss.item()
            if not np.isfinite(value):
                raise loop.TrainingError(
                    f"{self.card.network}: the loss became {value} in epoch {number + 1}, on rows {rows.tolist()} of "
                    f"{self.samples.folder}: look at their images, or lower learning_rate"
                )
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.ema.update_parameters(self.network)
            total += value
        return total / self.n_steps

    @torch.no_grad()
    def validate(self):
        """Loss of the averaged weights on the validation rows."""
        self.ema.eval()
        network = self.ema.module
        rng = np.random.default_rng(self.seed)  # the same wrong pairs each time
        total = 0.0
        for start in range(0, len(self.val), self.settings.batch_size):
            rows = self.val[start : start + self.settings.batch_size]
            em, cleft, segments = (data.centre(x, self.card.patch_zyx) for x in self.samples.read(rows))
            volumes = [torch.from_numpy(x.copy()).to(self.place) for x in (em, cleft, segments.astype(np.int32))]
            loss = self._loss(network, rows, volumes[0].float() / 255, *volumes[1:], rng)
            total += loss.item() * len(rows)
        return {"val_loss": total / len(self.val)}

    def share_right(self):
        """Of the validation clefts, the share to which `network`, an assigner, gives the true pair."""
        found = predict.decisions(self.network.eval(), self.card, self.samples, self.val)
        truth = self.samples.index.loc[self.val, ["pre_local", "post_local"]].itertuples()
        return float(np.mean([(found[row].pre, found[row].post) == (pre, post) for row, pre, post in truth]))

    def _loss(self, network, rows, image, cleft, segments, rng):
        """Loss of `network` on a batch: images in [0, 1] and labels `[N, Z, Y, X]` of the store's `rows`."""
        image = data.normalise(image)
        truth = self.samples.index.loc[rows, ["pre_local", "post_local"]].to_numpy()
        if self.card.network == "avan":
            inputs, *wanted = self._avan(image, cleft, segments, truth)
        elif self.assigns:
            inputs, *wanted = self._pairs(image, cleft, segments, truth, rng)
        else:
            inputs, *wanted = self._maps(image, cleft, segments, truth)
        with device.autocast(self.place):
            logits = network(inputs)
        target, known = wanted
        if self.card.network in ("detect_stdt", "detect_proximity"):
            errors = (model.activate(self.card.network, logits) - target) ** 2
        else:
            errors = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (errors * known).sum() / known.expand_as(errors).sum().clamp(min=1)

    def _avan(self, image, cleft, segments, truth):
        """Masks of both partners; unlabelled voxels do not count."""
        sides = torch.from_numpy(truth).to(self.place)[:, :, None, None, None]
        inputs = torch.stack([image, (cleft == OWN).float()], dim=1)
        return inputs, (segments[:, None] == sides).float(), (segments > 0)[:, None].float()

    def _pairs(self, image, cleft, segments, truth, rng):
        """For each cleft the true pair and a wrong one: half of the time the reverse, else any other of candidates."""
        name, voxel_nm = self.card.network, self.card.voxel_nm
        inputs = []
        for n, (pre, post) in enumerate(truth.tolist()):
            labels, own = segments[n].cpu().numpy(), (cleft[n] == OWN).cpu().numpy()
            around = torch.from_numpy(predict.surroundings(name, own, voxel_nm)).to(self.place)
            numbers, _ = candidates.segments_near(labels, own, voxel_nm, self.card.dilation_nm)
            numbers = np.union1d(numbers, [pre, post])
            pairs = np.transpose([numbers[side] for side in assign.ordered_pairs(len(numbers))]).tolist()
            others = [pair for pair in pairs if pair not in ([pre, post], [post, pre])]
            reverse = rng.random() < SHARE_REVERSED or not others
            wrong = [post, pre] if reverse else others[rng.integers(len(others))]
            inputs += [predict.pair_image(name, image[n], around, segments[n], *pair) for pair in ((pre, post), wrong)]
        target = torch.tensor([1.0, 0.0] * len(truth), device=self.place)
        return torch.stack(inputs), target, torch.ones_like(target)

    def _maps(self, image, cleft, segments, truth):
        """The map of a detector, see `targets.detection`."""
        representation = self.card.network.removeprefix("detect_")
        labels = zip(cleft.cpu().numpy(), segments.cpu().numpy(), *truth.T.tolist(), strict=True)
        maps = [targets.detection(representation, *one, self.card.voxel_nm) for one in labels]
        target, known = (
            torch.from_numpy(np.stack(part)).float().to(self.place)[:, None] for part in zip(*maps, strict=True)
        )
        return image[:, None], target, known

    def keep_if_best(self):
        row = self.history[-1]
        if self.best is None or row["val_loss"] < self.best["val_loss"]:
            weights = {name: value.clone() for name, value in self.ema.module.state_dict().items()}
            self.best = {"epoch": row["epoch"], "val_loss": row["val_loss"], "weights": weights}

    def _parts(self):
        return {"network": self.network, "ema": self.ema, "optimizer": self.optimizer}

    def save(self, path):
        state = {name: part.state_dict() for name, part in self._parts().items()}
        with atomic(path) as temporary:
            torch.save(state | {"history": self.history, "best": self.best}, temporary)

    def restore(self, path):
        state = torch.load(path, map_location=self.place, weights_only=True)  # tensors and plain values, no code
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self.history, self.best = state["history"], state["best"]


def _centres(cleft, patch_zyx, rng):
    """A random voxel `[N, 3]` (ZYX) of each row's own cleft, or any voxel; at most so far out that the patch is stored.

    `cleft [N, Z, Y, X]` as in the store.
    """
    stored, patch = np.array(cleft.shape[1:]), np.array(patch_zyx)
    places = []
    for mask in cleft:
        own = np.flatnonzero(mask == OWN)
        places.append(own[rng.integers(len(own))] if len(own) else rng.integers(mask.size))
    found = np.transpose(np.unravel_index(places, stored))
    return torch.from_numpy(np.clip(found, patch // 2, stored - patch + patch // 2))
