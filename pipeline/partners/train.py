"""Training of one partner network: from a sample store to a model file."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pipeline.artefacts import read_json, sha256
from pipeline.freshness import code_hash
from pipeline.learn import checkpoint, data, device, distributed, engine
from pipeline.learn.ahead import read_ahead
from pipeline.learn.augment import Augment
from pipeline.learn.engine import seed_of
from pipeline.partners import assign, candidates, model, predict, targets
from pipeline.partners.samples import OWN, Samples, manifest
from pipeline.recipes import PartnerNetwork

log = logging.getLogger("pipeline")

SHARE_REVERSED = 0.5  # of a pruner's wrong pairs: the true one reversed

Volumes = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # EM in [0, 1], clefts, segments: `[N, Z, Y, X]`
Target = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # what the network reads, what it should output, where known


def train(
    samples_dir: Path,
    settings: PartnerNetwork,
    patch_zyx: tuple[int, int, int],
    dilation_nm: float,
    run_dir: Path,
    seed: int,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train a network on the rows `train` of a sample store; returns the result.

    `patch_zyx` is the size of its input and `dilation_nm` that of `candidates.segments_near`; `start`, where given, a
    model file of the same network from whose weights training begins (fine-tuning). The epoch with the lowest loss on
    the rows `val` is kept. Interrupted, a run goes on from its last epoch; a finished one is left alone; one of other
    settings, samples, start or code starts over.
    Raises SamplesError for samples that cannot be used, CheckpointError for a `start` or samples that do not fit,
    TrainingError for a loss that is not finite and where memory does not suffice.
    """
    wanted = identity(samples_dir, settings, patch_zyx, dilation_nm, seed, start)
    distributed.from_first(lambda: engine.open_folder(run_dir, wanted, settings.name))
    if engine.is_up_to_date(run_dir, wanted):
        log.info("%s: already trained", settings.name)
        return read_json(run_dir / "result.json")
    place = device.prepare(settings.recipe.threads, settings.recipe.deterministic)
    samples = Samples(samples_dir)
    card = model.card(settings.name, settings.width, samples.voxel_nm, patch_zyx, dilation_nm)
    card.check(samples)
    torch.manual_seed(seed_of(seed))
    network = (model.build(settings.name, settings.width) if start is None else _started(start, card)).to(place)
    task = (Assignment if card.task == model.ASSIGNMENT else Detection)(network, card, samples, settings, seed)
    with engine.memory_advice(settings):
        facts = engine.fit(task, settings, seed, run_dir)
    if distributed.rank():
        return {}
    facts["validation"] |= task.final_scores()
    checkpoint.save(run_dir / "model.safetensors", network, card)
    result = facts | {
        "network": settings.name,
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "device": device.describe(place),
        "samples": {"train": len(task.train), "val": len(task.val)},
    }
    engine.finish(run_dir, result)
    return result


def identity(
    samples_dir: Path,
    settings: PartnerNetwork,
    patch_zyx: tuple[int, int, int],
    dilation_nm: float,
    seed: int,
    start: Path | None = None,
) -> dict[str, Any]:
    """All that the result depends on, as JSON."""
    return {
        "network": settings.model_dump(mode="json"),
        "patch_zyx": list(patch_zyx),
        "dilation_nm": dilation_nm,
        "seed": seed,
        "samples": sha256(manifest(samples_dir)),
        "start": None if start is None else sha256(start),
        "code": code_hash(Path(__file__)),
    }


def _started(path: Path, card: checkpoint.Card) -> model.PartnerNet:
    network, found = model.load(path)
    if (found.network, found.build) != (card.network, card.build):
        raise checkpoint.CheckpointError(
            f"{path} holds {found.network} of width {found.build['width']}, not {card.network} of {card.build['width']}"
        )
    return network


class OnSamples:
    """An `engine.Task` on the rows of a sample store; what is read and wanted is up to the network."""

    head_epochs = 0

    def __init__(
        self, network: nn.Module, card: checkpoint.Card, samples: Samples, settings: PartnerNetwork, seed: int
    ):
        self.network, self.card, self.samples, self.settings, self.seed = network, card, samples, settings, seed
        self.place = next(network.parameters()).device
        assigns = card.task == model.ASSIGNMENT
        partners = assigns or card.network == "detect_proximity"
        self.train = samples.rows("train", partners, background=not assigns)
        self.val = samples.rows("val", partners)
        self.n_steps = -(-len(self.train) // settings.batch_size)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": self.network.parameters(), "lr": self.settings.recipe.learning_rate}]

    def start_epoch(self, number: int) -> list[np.ndarray]:
        """All training rows in random order."""
        self.network.train()
        draws = seed_of(self.seed, number, 0, distributed.rank())
        self.augment = Augment(self.settings.augmentation, self.card.shape_zyx, draws)
        self.rng = np.random.default_rng([self.seed, number, 1])
        return np.array_split(self.rng.permutation(self.train), self.n_steps)

    def read(self, rows: np.ndarray) -> Volumes:
        em, cleft, segments = self.samples.read(rows)
        return torch.from_numpy(em), torch.from_numpy(cleft), torch.from_numpy(segments.astype(np.int32))

    def loss(self, network: nn.Module, rows: np.ndarray, stored: Volumes) -> torch.Tensor:
        em, *labels = stored
        centre = _centres(labels[0].numpy(), self.card.shape_zyx, self.rng)
        image, (clefts, numbers) = self.augment.with_labels(em, labels, centre, self.place)
        return self.loss_of(network, rows, (image, clefts, numbers), self.rng)

    def validate(self, network: nn.Module) -> dict[str, float]:
        """The mean loss of the middles of the validation rows, with the same wrong pairs each time."""
        rng = np.random.default_rng(self.seed)
        batches = np.split(self.val, range(self.settings.batch_size, len(self.val), self.settings.batch_size))
        total = torch.zeros((), dtype=torch.float64, device=self.place)
        for rows, (stored, _) in zip(batches, read_ahead(self.read, batches, self.place), strict=True):
            sent = (volume.to(self.place, non_blocking=True) for volume in stored)
            em, cleft, segments = (data.centre(volume, self.card.shape_zyx) for volume in sent)
            total += self.loss_of(network, rows, (em.float() / 255, cleft, segments), rng) * len(rows)
        return {"val_loss": float(total) / len(self.val)}

    def merit(self, scores: dict[str, float]) -> list[float]:
        return [-scores["val_loss"]]

    def final_scores(self) -> dict[str, float]:
        """Further scores of the best epoch's network on the validation rows."""
        return {}

    def describe(self, rows: np.ndarray) -> str:
        return f"rows {rows.tolist()} of {self.samples.folder}"

    def loss_of(self, network: nn.Module, rows: np.ndarray, volumes: Volumes, rng: np.random.Generator) -> torch.Tensor:
        """Mean error of `network` on a batch over all that is known."""
        image, cleft, segments = volumes
        truth = self.samples.index.loc[rows, ["pre_local", "post_local"]].to_numpy()
        inputs, target, known = self.target((data.normalise(image), cleft, segments), truth, rng)
        with device.autocast(self.place):
            logits = network(inputs)
        if self.card.network in ("detect_stdt", "detect_proximity"):
            errors = (model.activate(self.card.network, logits) - target) ** 2
        else:
            errors = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return (errors * known).sum() / known.expand_as(errors).sum().clamp(min=1)

    def target(self, volumes: Volumes, truth: np.ndarray, rng: np.random.Generator) -> Target:
        """What the network reads of a batch, and should output; `truth` `[N, 2]` are the partners' local numbers."""
        raise NotImplementedError


class Assignment(OnSamples):
    """AVAN and the pruners: clefts with both true partners."""

    def target(self, volumes: Volumes, truth: np.ndarray, rng: np.random.Generator) -> Target:
        return (self._masks if self.card.network == "avan" else self._pairs)(volumes, truth, rng)

    def _masks(self, volumes: Volumes, truth: np.ndarray, _: np.random.Generator) -> Target:
        """Masks of both partners; unlabelled voxels do not count."""
        image, cleft, segments = volumes
        sides = torch.from_numpy(truth).to(self.place)[:, :, None, None, None]
        inputs = torch.stack([image, (cleft == OWN).float()], dim=1)
        return inputs, (segments[:, None] == sides).float(), (segments > 0)[:, None].float()

    def _pairs(self, volumes: Volumes, truth: np.ndarray, rng: np.random.Generator) -> Target:
        """For each cleft the true pair and a wrong one: half of the time the reverse, else any other of candidates."""
        name, voxel_nm = self.card.network, self.card.voxel_nm
        image, cleft, segments = volumes
        inputs = []
        for n, (pre, post) in enumerate(truth.tolist()):
            labels, own = segments[n].cpu().numpy(), (cleft[n] == OWN).cpu().numpy()
            around = torch.from_numpy(predict.surroundings(name, own, voxel_nm)).to(self.place)
            numbers, _ = candidates.segments_near(labels, own, voxel_nm, self.card.decision["dilation_nm"])
            numbers = np.union1d(numbers, [pre, post])
            pairs = np.transpose([numbers[side] for side in assign.ordered_pairs(len(numbers))]).tolist()
            others = [pair for pair in pairs if pair not in ([pre, post], [post, pre])]
            reverse = rng.random() < SHARE_REVERSED or not others
            wrong = [post, pre] if reverse else others[rng.integers(len(others))]
            inputs += [predict.pair_image(name, image[n], around, segments[n], *pair) for pair in ((pre, post), wrong)]
        target = torch.tensor([1.0, 0.0] * len(truth), device=self.place)
        return torch.stack(inputs), target, torch.ones_like(target)

    def final_scores(self) -> dict[str, float]:
        """The share of the validation clefts to which the network gives the true pair."""
        found = predict.decisions(self.network.eval(), self.card, self.samples, self.val)
        truth = self.samples.index.loc[self.val, ["pre_local", "post_local"]].itertuples()
        return {"right": float(np.mean([(found[row].pre, found[row].post) == (pre, post) for row, pre, post in truth]))}


class Detection(OnSamples):
    """Cleft detectors: clefts and background; the proximity map alone needs both partners."""

    def target(self, volumes: Volumes, truth: np.ndarray, rng: np.random.Generator) -> Target:
        """The map of a representation, see `targets.detection`."""
        image, cleft, segments = volumes
        representation = self.card.network.removeprefix("detect_")
        clefts, numbers = cleft.cpu().numpy(), segments.cpu().numpy()
        maps = [
            targets.detection(representation, clefts[n], numbers[n], pre, post, self.card.voxel_nm)
            for n, (pre, post) in enumerate(truth.tolist())
        ]
        target, known = (
            torch.from_numpy(np.stack(part)).float().to(self.place)[:, None] for part in zip(*maps, strict=True)
        )
        return image[:, None], target, known


def _centres(cleft: np.ndarray, patch_zyx: tuple[int, int, int], rng: np.random.Generator) -> torch.Tensor:
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
