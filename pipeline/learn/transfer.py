"""Classifiers on images of another volume, with grey levels as they are and matched to those of their training."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.learn import checkpoint, data, device, matching, run
from pipeline.learn import predict as predictor


def predictions(
    files: dict[str, Path], images_dir: Path, synapses: pd.DataFrame, training_dir: Path, training: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield `(model, predictions)` of `synapses`, whose images are in `images_dir`, with `p_matched` as a column more.

    `files` are the models' safetensors. Grey levels are matched to those of the rows of `training` in `training_dir`,
    by one curve for all images (`matching`).
    """
    place = device.prepare(run.THREADS)
    seen = data.with_images(training, training_dir)["synapse_id"]
    levels = {}
    for name, file in files.items():
        kind = checkpoint.load(file)[1].input_kind
        if kind not in levels:
            source = matching.quantiles(data.Images(images_dir, kind, synapses["synapse_id"]))
            levels[kind] = matching.lookup(source, matching.quantiles(data.Images(training_dir, kind, seen)))
        plain = predictor.predict(file, images_dir, synapses, place)
        matched = predictor.predict(file, images_dir, synapses, place, levels[kind])
        yield name, plain.assign(p_matched=matched["p_excitatory"])
