"""What a table of predictions must be before anything is computed from it."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from pipeline.columns import CLASS_OF_LABEL
from pipeline.stats.metrics import PredictionsError

COLUMNS = ("synapse_id", "pre_neuron_id", "label", "p_excitatory")


def checked(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns of COLUMNS, one row a synapse, sorted by synapse id; PredictionsError where they are unfit.

    Unfit are missing columns, synapse ids that occur twice, labels other than 0 and 1,
    probabilities outside [0, 1] or absent, synapses without a neuron, neurons with synapses of both classes, and
    fewer than two neurons of a class: neurons are what is resampled.
    """
    if missing := [column for column in COLUMNS if column not in rows]:
        raise PredictionsError(f"predictions lack the columns {missing}; they have {list(rows.columns)}")
    rows = rows[list(COLUMNS)].sort_values("synapse_id", ignore_index=True)
    ids = rows["synapse_id"]
    _refuse(ids, ids.duplicated(), "synapse ids occur more than once")
    _refuse(ids, ~rows["label"].isin((0, 1)), "synapses have a label that is neither 0 nor 1")
    _refuse(ids, ~rows["p_excitatory"].between(0, 1), "synapses have p_excitatory outside [0, 1]")
    _refuse(ids, rows["pre_neuron_id"].isna(), "synapses have no presynaptic neuron")
    rows = rows.astype({"label": np.int64})
    classes = rows.groupby("pre_neuron_id")["label"].agg(["min", "max"])
    _refuse(classes.index, classes["min"] != classes["max"], "neurons have synapses of both classes")
    check_classes(classes["min"])
    return rows


def checked_pairs(tables: Iterable[pd.DataFrame]) -> list[pd.DataFrame]:
    """`checked` of each table; PredictionsError unless all hold the same synapses, labels and neurons."""
    first, *others = tables = [checked(rows) for rows in tables]
    for other in others:
        only = sorted(set(first["synapse_id"]) ^ set(other["synapse_id"]))
        if only:
            raise PredictionsError(f"models are compared on the same synapses; {len(only)} are in one only: {only[:5]}")
        for column in ("label", "pre_neuron_id"):
            wrong = first[column].to_numpy() != other[column].to_numpy()
            _refuse(first["synapse_id"], wrong, f"synapses differ in {column} between the two models")
    return tables


def check_classes(label: ArrayLike) -> None:
    """PredictionsError unless the neurons' labels hold each class at least twice."""
    for value, name in CLASS_OF_LABEL.items():
        if (n := int((np.asarray(label) == value).sum())) < 2:
            raise PredictionsError(f"{n} {name} neurons: resampling neurons needs at least 2 of each class")


def by_neuron(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Class of each of G neurons `[G]`, in the order of their ids; neuron of each checked row `[N]`, in [0, G)."""
    label = rows.groupby("pre_neuron_id")["label"].first()
    return label.to_numpy(), label.index.get_indexer(rows["pre_neuron_id"])


def _refuse(ids: pd.Series | pd.Index, wrong: pd.Series | np.ndarray, what: str) -> None:
    if wrong.any():
        raise PredictionsError(f"{int(wrong.sum())} {what}, such as {np.asarray(ids[wrong])[:5].tolist()}")
