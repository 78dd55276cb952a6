"""The atlas: a page on which every test synapse has its own address, with its sections and what each model makes of it.

A reader filters the synapses, scrolls through their sections and moves the threshold. What depends on the threshold was
counted beforehand (`analysis/performance.py`); the page only looks it up, and marks each synapse.

The page opens from disk. Its pictures lie in a folder beside it, since a browser then loads those that are looked at.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from PIL import Image

from pipeline import artefacts, glue
from pipeline.columns import CENTER_NM
from pipeline.render import template
from pipeline.scripts import PAPER

MAX_SYNAPSES = 2000  # shown; of a larger test set a sample
BAR_NM = 200

#: Gives the sections `[Z, Y, X]` uint8 of a synapse by its id; the middle one, Z // 2, is that of the synapse.
Look = Callable[[int], np.ndarray]


class Scores(NamedTuple):
    """What `analysis/performance.py` found for the models that the page shows."""

    runs: pd.DataFrame  # one row a model: model, label, tau, sections, side_px, in the order of the page
    thresholds: pd.DataFrame  # model, threshold, tp, fn, fp, tn and balanced accuracy: value, low, high
    aucs: pd.DataFrame  # model, value, low, high
    best: str
    control: str


def sample(synapses: pd.DataFrame, seed: int) -> pd.DataFrame:
    """At most MAX_SYNAPSES rows, drawn at random from as many neurons as possible, by neuron and id."""
    drawn = synapses.sample(frac=1, random_state=seed)
    drawn = drawn.assign(turn=drawn.groupby("pre_neuron_id").cumcount()).sort_values("turn", kind="stable")
    return drawn.head(MAX_SYNAPSES).sort_values(["pre_neuron_id", "synapse_id"]).drop(columns="turn")


def write(
    synapses: pd.DataFrame,
    n_test: int,
    scores: Scores,
    look: Look,
    evidence: pd.DataFrame | None,
    voxel_nm: tuple[float, float, float],
    volume: dict[str, Any],
    page: Path,
) -> None:
    """Write the page, and its pictures to the folder beside it that has its name without suffix.

    `synapses` holds `synapse_id, pre_neuron_id, label, center_{x,y,z}_nm` and a column of p_excitatory for each model,
    `n_test` says of how many they are a sample; `evidence` is the table `pictures` of `analysis/evidence.py`, where
    there is one; `voxel_nm` (XYZ) is that of the sections; `volume` is `cohort/volume.json`.
    """
    with artefacts.atomic_folder(page.with_suffix("")) as folder:
        shape = _write_sections(synapses["synapse_id"], look, folder)
        maps = _write_maps(evidence, folder) if evidence is not None else {}
    data = {
        "models": [_model(row, scores, shape) for row in scores.runs.itertuples()],
        "best": scores.runs["model"].tolist().index(scores.best),
        "control": scores.runs["model"].tolist().index(scores.control),
        "synapses": [
            [str(row["synapse_id"]), str(row["pre_neuron_id"]), row["label"], *(row[axis] for axis in CENTER_NM)]
            + [[row[name] for name in scores.runs["model"]], maps.get(row["synapse_id"], [])]
            for row in synapses.to_dict("records")
        ],
        "neuroglancer": _neuroglancer(volume) if volume["kind"] == "cave" else None,
    }
    words = yaml.safe_load((PAPER / "editions" / volume["kind"] / "words.yml").read_text(encoding="utf-8"))
    count = glue.count(len(synapses)).text
    fields = {
        "badge": template.escape(words["badge"]),
        "shown": f"all {count} test synapses"
        if len(synapses) == n_test
        else f"{count} of the {glue.count(n_test).text} test synapses, drawn at random",
        "n_test": glue.count(n_test).text,
        "folder": page.stem,
        "sections": str(shape[0]),
        "middle": str(shape[0] // 2),
        "bar": f'<span class="bar" style="width:{100 * BAR_NM / (shape[2] * voxel_nm[0]):.2f}%">{BAR_NM} nm</span>',
        "data": template.as_json(data),
    }
    artefacts.write_text(page, template.fill("atlas", fields))


def _write_sections(synapse_ids: pd.Series, look: Look, folder: Path) -> tuple[int, ...]:
    """Write `<synapse_id>.webp` of each, and return the shape ZYX that all have."""
    shape: tuple[int, ...] = ()
    for synapse_id in synapse_ids:
        sections = look(synapse_id)
        shape = sections.shape
        (folder / f"{synapse_id}.webp").write_bytes(template.strip(sections))
    return shape


def _write_maps(evidence: pd.DataFrame, folder: Path) -> dict[int, list[tuple[str, str]]]:
    """Write the evidence maps; returns `{synapse_id: [(name, file)]}`.

    A map is the network's input where it is as bright as in the micrograph where the evidence for the true class is
    strongest, and black where there is none.
    """
    found: dict[int, list[tuple[str, str]]] = {}
    for (synapse_id, seen), pixels in evidence.groupby(["synapse_id", "dimensionality"]):
        pixels = pixels.sort_values(["y", "x"])
        shape = pixels["y"].max() + 1, pixels["x"].max() + 1
        for method, name in (("occlusion", "occlusion"), ("grad_cam", "Grad-CAM")):
            strength = pixels[method].clip(lower=0)
            lit = pixels["grey"] * (strength / strength.max() if strength.max() > 0 else strength) ** 0.5
            file = f"{synapse_id}-{seen}-{method}.webp"
            picture = Image.fromarray(lit.to_numpy().reshape(shape).astype(np.uint8))
            (folder / file).write_bytes(template.webp(picture, quality=80))
            found.setdefault(int(synapse_id), []).append((f"{seen} network, {name}", file))
    return found


def _model(row: Any, scores: Scores, shape: tuple[int, ...]) -> dict[str, Any]:
    """A model as the page reads it: each step of its slider is a threshold with its counts and a text."""
    steps = scores.thresholds[scores.thresholds["model"] == row.model].sort_values("threshold")
    auc = scores.aucs.set_index("model").loc[row.model]
    return {
        "label": row.label,
        "tau": row.tau,
        "auc": glue.estimate_of(auc).text,
        "steps": [
            [step.threshold, step.tp, step.fn, step.fp, step.tn, glue.estimate_of(step).text]
            for step in steps.itertuples()
        ],
        "first": shape[0] // 2 - row.sections // 2,
        "sections": row.sections,
        "side": row.side_px / shape[2],
    }


def _neuroglancer(volume: dict[str, Any]) -> dict[str, Any]:
    """The state of a Neuroglancer that shows the images, but for the position, in nm."""
    return {
        "dimensions": {axis: [1e-9, "m"] for axis in "xyz"},
        "crossSectionScale": 4,
        "layers": [{"type": "image", "name": "electron microscopy", "source": volume["em_path"]}],
        "layout": "xy",
    }
