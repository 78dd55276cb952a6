"""A run folder: from patches and a cohort to a model file and its predictions, and from a model file to more of them.

`runs/<model>/` holds `config.json` (all that the result depends on), `log.csv`, `model.safetensors` and, written last,
`result.json`; while training also `checkpoint.pt`.
"""

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy import special
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline.artefacts import REPOSITORY, read_json, sha256, write_json, write_parquet
from pipeline.config import DIMENSIONS
from pipeline.learn import calibrate, checkpoint, control, data, device, distributed, loop, predict
from pipeline.learn.threshold import best_threshold
from pipeline.models import registry

log = logging.getLogger("pipeline")

THREADS = 2  # of `predict_run`, which has no recipe


def train(patches_dir, synapses_path, model, run_dir, predictions_path, seed, attention_dir=None):
    """Train `model` (a `config.Model`), or fit the untrained control, and predict every synapse of the cohort.

    `patches_dir` is a finished `patches/`, `synapses_path` the cohort; `attention_dir` holds the masks that a model
    with `attention` reads, in the format of `patches/`. With `model.folds` a network is trained for every fold, in
    `run_dir/fold<k>/`, and predicts the neurons of its fold, see `_cross_validate`. Interrupted, a run
    goes on from its last epoch and ends with the same bytes; a finished run is left alone; a run of other settings,
    images or code starts over. Under `torchrun` all processes call this, and the first one writes.
    Raises DataError for a cohort that cannot be split so or has no images, TrainingError for a loss that is not finite
    and where memory does not suffice.
    """
    run_dir, predictions_path = Path(run_dir), Path(predictions_path)
    wanted = identity(patches_dir, synapses_path, model, seed, attention_dir)
    distributed.from_first(lambda: open_folder(run_dir, wanted, model.name))
    place = device.prepare(model.recipe.threads)
    if (run_dir / "result.json").is_file() and predictions_path.is_file():
        log.info("%s: already trained", model.name)
        return
    synapses = data.with_images(pd.read_parquet(synapses_path), patches_dir)
    images = data.Images(patches_dir, model.images, synapses["synapse_id"], attention_dir=attention_dir)
    own_seed = loop.seed_of(seed, model.seed)
    fit = _cross_validate if model.folds else _fit
    with loop.memory_advice(model.name, model.batch_size):
        used = data.share_of_neurons(synapses, model.train_share, own_seed)
        p, result = fit(images, used, model, own_seed, run_dir, place)
    if distributed.rank():
        return
    if model.folds:
        synapses = synapses.assign(split="test")
        write_json(run_dir / "result.json", result)
    write_parquet(predictions_path, predict.table(synapses, p))
    log.info("%s: validation AUC %.3f, tau %.3f", model.name, result["validation"]["roc_auc"], result["tau"])


def is_up_to_date(patches_dir, synapses_path, model, run_dir, predictions_path, seed, attention_dir=None):
    """Whether `train` with these arguments would find its work done."""
    record, *rest = [Path(run_dir) / "config.json", Path(run_dir) / "result.json", Path(predictions_path)]
    whole = record.is_file() and all(path.is_file() for path in rest)
    return whole and read_json(record) == identity(patches_dir, synapses_path, model, seed, attention_dir)


def _fit(images, synapses, model, seed, folder, place):
    """Train one network on the splits of `synapses`, in `folder`; returns (p_excitatory of all rows, the result).

    A finished folder is not trained again. Processes other than the first return (None, None).
    """
    data.check_splits(synapses)
    model_path, result_path = folder / "model.safetensors", folder / "result.json"
    if distributed.from_first(result_path.is_file):
        if distributed.rank():
            return None, None
        network, card = checkpoint.load(model_path)
        logit = predict.logit(network.to(place), _features(network, images, card.shape_zyx))
        return expit(logit / card.temperature), read_json(result_path)

    torch.manual_seed(seed)
    shape_zyx = images.input_zyx(model)
    sections = model.sections if DIMENSIONS[model.network] == 2 else 1
    network = registry.build(
        model.network, sections, model.norm, model.pretrained, model.recipe.dropout, model.attention
    ).to(place)
    facts = loop.fit(network, images, synapses, model, seed, folder) if model.trained else {}
    if distributed.rank():
        return None, None
    network.eval()
    batches = _features(network, images, shape_zyx)
    if not model.trained:
        batches = list(batches)
        facts = control.fit(network, np.concatenate(batches), synapses)
    logit = predict.logit(network, batches)
    val = (synapses["split"] == "val").to_numpy()
    label = synapses["label"].to_numpy()[val]
    temperature = calibrate.temperature(logit[val], label)
    p = expit(logit / temperature)
    tau = best_threshold(label, p[val])
    facts_of_input = (images.kind, images.voxel_nm, shape_zyx)
    card = checkpoint.Card(model.network, model.norm, *facts_of_input, tau, temperature, model.attention)
    checkpoint.save(model_path, network, card)
    facts |= {
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
    write_json(result_path, facts)
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    return p, facts


def _features(network, images, shape_zyx):
    return predict.features(network, images, np.arange(len(images)), shape_zyx)


def _cross_validate(images, synapses, model, seed, folder, place):
    """Train a network a fold; returns (p_excitatory of each row by the network that never saw it, the result).

    The network of fold k is validated on fold k + 1, which gives its temperature and threshold, and trained on the
    others. Logits are moved by that threshold's, so that 0.5 is the threshold of all.
    """
    folds = np.unique(synapses["fold"])
    p, results = np.empty(len(synapses)), []
    for fold, following in zip(folds, np.roll(folds, -1), strict=True):
        split = synapses["fold"].map(lambda value, t=fold, v=following: {t: "test", v: "val"}.get(value, "train"))
        part = folder / f"fold{fold}"
        part.mkdir(exist_ok=True)
        log.info("%s: fold %d of %d", model.name, len(results) + 1, len(folds))
        found, result = _fit(images, synapses.assign(split=split), model, seed, part, place)
        if result is not None:
            test = (split == "test").to_numpy()
            p[test] = expit(special.logit(found[test]) - special.logit(result["tau"]))
        results.append(result)
    if distributed.rank():
        return None, None
    frame = pd.json_normalize(results)
    mean = {key: float(frame[key].mean()) for key in frame.columns.intersection(("seconds_per_epoch", "epochs"))}
    validation = {key: float(frame[f"validation.{key}"].mean()) for key in results[0]["validation"]}
    same = {key: results[0][key] for key in ("parameters", "device")}
    return p, mean | same | {"tau": 0.5, "validation": validation, "synapses": {"test": len(synapses)}}


def predict_run(run_dir, patches_dir, synapses, out):
    """Write predictions of the model in `run_dir` for a table of extracted synapses to the Parquet file `out`.

    `synapses` needs `synapse_id`; label, neuron and split are kept where it has them. CheckpointError where model and
    images do not belong together.
    """
    place = device.prepare(THREADS)
    write_parquet(out, predict.predict(Path(run_dir) / "model.safetensors", patches_dir, synapses, place))


def identity(patches_dir, synapses_path, model, seed, attention_dir=None):
    """All that the result depends on, as JSON."""
    manifest = Path(patches_dir) / "manifest.json"
    if not manifest.is_file():
        raise data.DataError(f"{patches_dir} holds no finished extraction (no manifest.json); extract first")
    code = sorted((REPOSITORY / "pipeline").glob("models/*.py")) + sorted((REPOSITORY / "pipeline").glob("learn/*.py"))
    return {
        "model": model.model_dump(mode="json"),
        "seed": seed,
        "patches": sha256(manifest),
        "attention": None if attention_dir is None else sha256(Path(attention_dir) / "manifest.json"),
        "synapses": sha256(synapses_path),
        "code": {f"{path.parent.name}/{path.name}": sha256(path) for path in code},
    }


def open_folder(run_dir, wanted, name):
    """Make the run's folder ready: the remains of a run of anything else than `wanted` are removed."""
    record = run_dir / "config.json"
    found = read_json(record) if record.is_file() else {}
    if run_dir.is_dir() and found != wanted:
        other = [key for key, value in wanted.items() if found.get(key) != value]
        log.info("%s: %s holds a run of other %s; starting over", name, run_dir, ", ".join(other))
        shutil.rmtree(run_dir)
    write_json(record, wanted)
    for leftover in run_dir.rglob(".*"):  # half-written files of a killed process
        leftover.unlink()
