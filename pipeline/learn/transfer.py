"""Classifiers on images of another volume, with grey levels as they are and matched to those of their training."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from pipeline.learn import classification, data, matching, run
from pipeline.learn.checkpoint import read_card


def predictions(
    files: dict[str, Path], images_dir: Path, synapses: pd.DataFrame, training_dir: Path, training: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield `(model, predictions)` of `synapses`, whose images are in `images_dir`, with `p_matched` as a column more.

    `files` are the models' safetensors. Grey levels are matched to those of the rows of `training` in `training_dir`,
    by one curve for all images (`matching`).
    """
    seen = data.with_images(training, training_dir)["synapse_id"]
    levels = {}
    for name, file in files.items():
        array = classification.array_of(read_card(file))
        if array not in levels:
            source = matching.quantiles(data.Images({"em": images_dir}, array, synapses["synapse_id"]))
            target = matching.quantiles(data.Images({"em": training_dir}, array, seen))
            levels[array] = matching.lookup(source, target)
        plain = run.predict(file, {"em": images_dir}, synapses)
        matched = run.predict(file, {"em": images_dir}, synapses, levels[array])
        yield name, plain.assign(p_matched=matched["p_excitatory"])
