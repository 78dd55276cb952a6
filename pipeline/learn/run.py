"""Classifiers, from patches and a cohort to a model file and its predictions, and from a model file to more of them."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline.artefacts import read_json, sha256, write_parquet
from pipeline.freshness import code_hash
from pipeline.learn import calibrate, checkpoint, classification, control, data, device, distributed, engine
from pipeline.learn.threshold import best_threshold
from pipeline.models.registry import Classifier
from pipeline.recipes import Model

log = logging.getLogger("pipeline")

THREADS = 2  # of prediction, which has no recipe
COLUMNS = ["synapse_id", "pre_neuron_id", "label", "split", "fold"]  # what predictions keep of the cohort

Stores = Mapping[str, Path]  # {channel: folder in the format of patches/}, EM first


def train(
    stores: Stores,
    synapses_path: Path,
    model: Model,
    run_dir: Path,
    predictions_path: Path,
    seed: int,
    start: Path | None = None,
) -> None:
    """Train `model`, or fit the untrained control, and predict every synapse of the cohort.

    With `model.folds` a network is trained for every fold, in `run_dir/fold<k>/`, and predicts the neurons of its fold,
    see `_cross_validate`. `start`, where given, is a model file of the same network from whose weights training begins
    (tuning). Interrupted, a run goes on from its last epoch and ends with the same bytes; a finished run
    is left alone; a run of other settings, images or code starts over. Under `torchrun` all processes call this, and
    the first one writes.
    Raises DataError for a cohort that cannot be split so or has no images, CheckpointError for a `start` that does not
    fit, TrainingError for a loss that is not finite
    and where memory does not suffice.
    """
    wanted = identity(stores, synapses_path, model, seed, start)
    distributed.from_first(lambda: engine.open_folder(run_dir, wanted, model.name))
    if engine.is_up_to_date(run_dir, wanted, predictions_path):
        log.info("%s: already trained", model.name)
        return
    synapses = data.with_images(pd.read_parquet(synapses_path), stores["em"])
    images = data.Images(stores, model.array, synapses["synapse_id"])
    own_seed = engine.seed_of(seed, model.seed)
    fit = _cross_validate if model.folds else _fit
    with engine.memory_advice(model):
        used = data.share_of_neurons(synapses, model.train_share, own_seed)
        p, result = fit(images, used, model, own_seed, run_dir, start)
    if distributed.rank():
        return
    if model.folds:
        synapses = synapses.assign(split="test")
        engine.finish(run_dir, result)
    write_parquet(predictions_path, table(synapses, p))
    log.info("%s: validation AUC %.3f, tau %.3f", model.name, result["validation"]["roc_auc"], result["tau"])


def identity(stores: Stores, synapses_path: Path, model: Model, seed: int, start: Path | None = None) -> dict[str, Any]:
    """All that the result depends on, as JSON."""
    return {
        "model": model.model_dump(mode="json"),
        "seed": seed,
        "images": {channel: sha256(data.manifest(folder)) for channel, folder in stores.items()},
        "synapses": sha256(synapses_path),
        "start": None if start is None else sha256(start),
        "code": code_hash(Path(__file__)),
    }


def _fit(
    images: data.Images, synapses: pd.DataFrame, model: Model, seed: int, folder: Path, start: Path | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train one network on the splits of `synapses`, in `folder`; returns p_excitatory of all rows, and the result.

    A finished folder is not trained again. Only the first process's return counts.
    """
    data.check_splits(synapses)
    place = device.prepare(model.recipe.threads, model.recipe.deterministic)
    path, result_path = folder / "model.safetensors", folder / "result.json"
    if distributed.from_first(result_path.is_file):
        return _p_excitatory(path, images, place), read_json(result_path)
    torch.manual_seed(seed)
    network, arguments = classification.build(model, start)
    network.to(place)
    shape_zyx = images.input_zyx(model)
    facts: dict[str, Any] = {}
    if model.trained:
        task = classification.Classification(network, images, synapses, model, seed)
        facts = engine.fit(task, model, seed, folder)
    elif not model.pretrained:
        classification.settle(network, images, np.flatnonzero(synapses["split"] == "train"), shape_zyx)
    network.eval()
    if model.trained:
        logit = _logits(network, images, shape_zyx)
    else:
        features = distributed.in_parts(
            lambda rows: np.concatenate(list(classification.features(network, images, rows, shape_zyx))),
            np.arange(len(images)),
        )
        facts = control.fit(network, features, synapses)
        logit = classification.logits(network, [features])
    if distributed.rank():
        return np.empty(0), {}
    val = (synapses["split"] == "val").to_numpy()
    label = synapses["label"].to_numpy()[val]
    temperature = calibrate.temperature(logit[val], label)
    p = expit(logit / temperature)
    tau = best_threshold(label, p[val])
    checkpoint.save(
        path,
        network,
        checkpoint.Card(
            task=classification.TASK,
            network=model.network,
            build=arguments,
            channels=model.channels,
            voxel_nm=images.voxel_nm,
            shape_zyx=shape_zyx,
            decision={"tau": tau, "temperature": temperature},
        ),
    )
    result = facts | {
        "tau": tau,
        "temperature": temperature,
        "validation": {
            "balanced_accuracy": float(balanced_accuracy_score(label, p[val] >= tau)),
            "roc_auc": float(roc_auc_score(label, p[val])),
        },
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "device": device.describe(place),
        "synapses": synapses["split"].value_counts().to_dict(),
        "train_neurons": int(synapses.loc[synapses["split"] == "train", "pre_neuron_id"].nunique()),
    }
    engine.finish(folder, result)
    return p, result


def _cross_validate(
    images: data.Images, synapses: pd.DataFrame, model: Model, seed: int, folder: Path, start: Path | None
) -> tuple[np.ndarray, dict[str, Any]]:
    """Train a network a fold; returns p_excitatory of each row by the network that never saw it, and the result.

    The network of fold k is validated on fold k + 1, which gives its temperature and threshold, and trained on the
    others. Logits are moved by that threshold's, so that 0.5 is the threshold of all.
    """
    folds = np.unique(synapses["fold"])
    p, results = np.empty(len(synapses)), list[dict[str, Any]]()
    for fold, following in zip(folds, np.roll(folds, -1), strict=True):
        split = synapses["fold"].map({fold: "test", following: "val"}).fillna("train")
        part = folder / f"fold{fold}"
        part.mkdir(exist_ok=True)
        log.info("%s: fold %d of %d", model.name, len(results) + 1, len(folds))
        found, result = _fit(images, synapses.assign(split=split), model, seed, part, start)
        if not distributed.rank():
            test = (split == "test").to_numpy()
            p[test] = expit(special.logit(found[test]) - special.logit(result["tau"]))
        results.append(result)
    if distributed.rank():
        return p, {}
    folds = pd.json_normalize(results)
    mean = {key: float(folds[key].mean()) for key in folds.columns.intersection(("seconds_per_epoch", "epochs"))}
    validation = {key: float(folds[f"validation.{key}"].mean()) for key in results[0]["validation"]}
    same = {key: results[0][key] for key in ("parameters", "device")}
    return p, mean | same | {"tau": 0.5, "validation": validation, "synapses": {"test": len(synapses)}}


def predict(path: Path, stores: Stores, synapses: pd.DataFrame, levels: np.ndarray | None = None) -> pd.DataFrame:
    """Predictions of the model file `path` for all rows of `synapses` that have an image, as `table` gives them.

    `synapses` needs `synapse_id`. `levels` `[256]` uint8 replaces grey levels on reading (`matching.lookup`).
    CheckpointError where model and images do not belong together.
    """
    array = classification.array_of(checkpoint.read_card(path))
    synapses = data.with_images(synapses, stores["em"])
    images = data.Images(stores, array, synapses["synapse_id"], levels)
    return table(synapses, _p_excitatory(path, images, device.prepare(THREADS)))


def table(synapses: pd.DataFrame, p_excitatory: np.ndarray) -> pd.DataFrame:
    """The predictions of the contract: identity, label and split of each row, as far as known, and `p_excitatory`."""
    return synapses[[name for name in COLUMNS if name in synapses]].assign(p_excitatory=p_excitatory)


def _p_excitatory(path: Path, images: data.Images, place: torch.device) -> np.ndarray:
    """Probabilities `[N]` of a saved model for all images; CheckpointError where they do not belong together."""
    network, card = classification.load(path)
    card.check(images)
    if card.channels != images.channels:
        raise checkpoint.CheckpointError(
            f"{path} reads the channels {list(card.channels)}, the images have {list(images.channels)}"
        )
    return expit(_logits(network.to(place), images, card.shape_zyx) / card.decision["temperature"])


def _logits(network: Classifier, images: data.Images, shape_zyx: tuple[int, int, int]) -> np.ndarray:
    """Logits `[N]` of all images, in all processes."""

    def predict(rows: np.ndarray) -> np.ndarray:
        return classification.logits(network, classification.features(network, images, rows, shape_zyx))

    return distributed.in_parts(predict, np.arange(len(images)))
