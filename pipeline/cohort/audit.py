"""Leakage audit: what the parts of a split share. Shared presynaptic neurons are an error, the rest is reported."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from pipeline.cohort import CohortError
from pipeline.columns import CENTER_NM, CLASS_OF_LABEL


def audit(synapses: pd.DataFrame, cube_nm: Sequence[float], conflicts: pd.DataFrame) -> dict:
    """Everything that two splits have in common, as a dict for `audit.json`.

    `synapses` follows the contract of `cohort/synapses.parquet`; `cube_nm` is the size (XYZ, nm) of the tissue that
    a model sees around each synapse; `conflicts` comes from `labels.merge`. Raises CohortError on synapse ids that
    repeat, neurons with both labels, and presynaptic neurons in more than one split.
    """
    _refuse(synapses.loc[synapses["synapse_id"].duplicated(), "synapse_id"], "synapse ids occur more than once")
    for column, what in (("label", "neurons have both labels"), ("split", "presynaptic neurons are in several splits")):
        several = synapses.groupby("pre_neuron_id")[column].nunique() > 1
        _refuse(several.index[several], what)
    splits = {name: synapses[synapses["split"] == name] for name in ("train", "val", "test")}
    pairs = [(a, b) for a, b in itertools.combinations(splits, 2) if len(splits[a]) and len(splits[b])]
    return {
        "splits": {name: _counts(part) for name, part in splits.items()},
        "folds": {str(fold): _counts(part) for fold, part in synapses.groupby("fold")},
        "shared_presynaptic_neurons": {
            f"{a}-{b}": len(set(splits[a]["pre_neuron_id"]) & set(splits[b]["pre_neuron_id"])) for a, b in pairs
        },
        "shared_postsynaptic_neurons": {f"{a}-{b}": _shared_post(splits[a], splits[b]) for a, b in pairs},
        "cube_nm": [float(side) for side in cube_nm],
        "overlapping_cubes": {f"{a}-{b}": _overlaps(splits[a], splits[b], cube_nm) for a, b in pairs},
        "label_conflicts": {str(reason): int(n) for reason, n in conflicts["reason"].value_counts().items()},
    }


def _refuse(ids: pd.Series | pd.Index, what: str) -> None:
    if len(ids):
        raise CohortError(f"{len(ids)} {what}, such as {list(ids[:5])}")


def _counts(part: pd.DataFrame) -> dict:
    """Neurons and synapses of each class."""
    classes = {name: part[part["label"] == label] for label, name in CLASS_OF_LABEL.items()}
    classes["unlabelled"] = part[part["label"].isna()]
    return {
        name: {"neurons": int(rows["pre_neuron_id"].nunique()), "synapses": len(rows)}
        for name, rows in classes.items()
        if name != "unlabelled" or len(rows)
    }


def _shared_post(a: pd.DataFrame, b: pd.DataFrame) -> dict:
    """Postsynaptic neurons that both receive synapses of a and of b, and how many synapses they receive."""
    shared = set(a["post_neuron_id"]) & set(b["post_neuron_id"]) - {0}  # 0: no segment
    return {
        "neurons": len(shared),
        "synapses": [int(part["post_neuron_id"].isin(shared).sum()) for part in (a, b)],
    }


def _overlaps(a: pd.DataFrame, b: pd.DataFrame, cube_nm: Sequence[float]) -> dict:
    """Pairs of cubes, one of a and one of b, that share tissue; and the synapses of a and of b in such pairs.

    In units of the cube's sides, two cubes overlap where their centres are less than 1 apart along every axis.
    """
    reach = 1 - 1e-9  # cubes that touch share nothing, whatever the rounding
    trees = [cKDTree(part[CENTER_NM].to_numpy() / np.asarray(cube_nm, dtype=float)) for part in (a, b)]

    def touched(one: cKDTree, other: cKDTree) -> int:
        nearest, _ = other.query(one.data, p=np.inf, distance_upper_bound=reach)
        return int(np.isfinite(nearest).sum())

    return {
        "pairs": int(trees[0].count_neighbors(trees[1], reach, p=np.inf)),
        "synapses": [touched(*trees), touched(*trees[::-1])],
    }
