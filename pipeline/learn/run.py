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
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from pipeline.artefacts import REPOSITORY, read_json, sha256, write_json, write_parquet
from pipeline.learn import checkpoint, control, data, device, loop, predict
from pipeline.learn.threshold import best_threshold
from pipeline.models import registry

log = logging.getLogger("pipeline")

THREADS = 2  # of `predict_run`, which has no recipe


def train(patches_dir, synapses_path, model, run_dir, predictions_path, seed):
    """Train `model` (a `config.Model`), or fit the untrained control, and predict every synapse of the cohort.

    `patches_dir` is a finished `patches/`, `synapses_path` the cohort. Interrupted, it goes on from its last epoch and
    ends with the same bytes; a finished run is left alone; a run of other settings, images or code starts over.
    Raises DataError for a cohort that cannot be split so or has no images, TrainingError for a loss that is not finite.
    """
    run_dir, predictions_path = Path(run_dir), Path(predictions_path)
    identity = _identity(patches_dir, synapses_path, model, seed)
    _start_over_if_other(run_dir, identity, model.name)
    write_json(run_dir / "config.json", identity)
    for leftover in run_dir.glob(".*"):  # half-written files of a killed process
        leftover.unlink()
    place = device.prepare(model.recipe.threads)
    model_path, result_path = run_dir / "model.safetensors", run_dir / "result.json"
    if result_path.is_file():
        if predictions_path.is_file():
            log.info("%s: already trained", model.name)
            predictions_path.touch()  # up to date, for Make
            return
        found = predict.predict(model_path, patches_dir, pd.read_parquet(synapses_path), place)
        write_parquet(predictions_path, found)
        return

    synapses = data.with_images(pd.read_parquet(synapses_path), patches_dir)
    data.check_splits(synapses)
    images = data.Images(patches_dir, registry.INPUT[model.network], synapses["synapse_id"])
    shape_zyx = images.crop_zyx(model.crop)
    own_seed = loop.seed_of(seed, model.seed)
    torch.manual_seed(own_seed)
    network = registry.build(model.network, model.pretrained, model.recipe.dropout).to(place)
    facts = loop.fit(network, images, synapses, model, own_seed, run_dir) if model.trained else {}
    network.eval()
    batches = predict.features(network, images, np.arange(len(images)), shape_zyx)
    if not model.trained:
        batches = list(batches)
        facts = control.fit(network, np.concatenate(batches), synapses)
    p = predict.probability(predict.logits(network, batches))
    val = (synapses["split"] == "val").to_numpy()
    label = synapses["label"].to_numpy()[val]
    tau = best_threshold(label, p[val])
    card = checkpoint.Card(model.network, images.kind, images.voxel_nm, shape_zyx, tau)
    checkpoint.save(model_path, network, card)
    write_parquet(predictions_path, predict.table(synapses, p))
    result = facts | {
        "tau": tau,
        "validation": {
            "balanced_accuracy": float(balanced_accuracy_score(label, p[val] >= tau)),
            "roc_auc": float(roc_auc_score(label, p[val])),
        },
        "parameters": sum(weights.numel() for weights in network.parameters()),
        "device": device.describe(place),
        "synapses": synapses["split"].value_counts().to_dict(),
    }
    write_json(result_path, result)
    (run_dir / "checkpoint.pt").unlink(missing_ok=True)
    log.info("%s: validation AUC %.3f, tau %.3f", model.name, result["validation"]["roc_auc"], tau)


def predict_run(run_dir, patches_dir, synapses, out):
    """Write predictions of the model in `run_dir` for a table of extracted synapses to the Parquet file `out`.

    `synapses` needs `synapse_id`; label, neuron and split are kept where it has them. CheckpointError where model and
    images do not belong together.
    """
    place = device.prepare(THREADS)
    write_parquet(out, predict.predict(Path(run_dir) / "model.safetensors", patches_dir, synapses, place))


def _identity(patches_dir, synapses_path, model, seed):
    """All that the result depends on, as JSON."""
    manifest = Path(patches_dir) / "manifest.json"
    if not manifest.is_file():
        raise data.DataError(f"{patches_dir} holds no finished extraction (no manifest.json); extract first")
    code = sorted((REPOSITORY / "pipeline").glob("models/*.py")) + sorted((REPOSITORY / "pipeline").glob("learn/*.py"))
    return {
        "model": model.model_dump(mode="json"),
        "seed": seed,
        "patches": sha256(manifest),
        "synapses": sha256(synapses_path),
        "code": {f"{path.parent.name}/{path.name}": sha256(path) for path in code},
    }


def _start_over_if_other(run_dir, identity, name):
    """Remove the folder of a run of anything else than `identity`."""
    found = run_dir / "config.json"
    if not run_dir.is_dir() or (found.is_file() and read_json(found) == identity):
        return
    other = [key for key, value in identity.items() if not found.is_file() or read_json(found).get(key) != value]
    log.info("%s: %s holds a run of other %s; starting over", name, run_dir, ", ".join(other))
    shutil.rmtree(run_dir)
