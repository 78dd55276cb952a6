"""Scores of real synapses: on all of them, and on those on shafts, where a spine cannot give the class away."""

from typing import Any

import pandas as pd

from pipeline.stats import checks
from pipeline.stats.auc import auc_interval

CLASSES = {1: "excitatory", 0: "inhibitory"}
FEWEST = 2  # neurons of each class that an interval needs


def subsets(synapses: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """`{subset: its rows}`: all labelled synapses and, where `on_spine` is known of all of them, those on shafts."""
    known = synapses[synapses["label"].notna()]
    found = {"all": known}
    if "on_spine" in known and known["on_spine"].notna().all():
        found["shaft"] = known[~known["on_spine"].astype(bool)]
    return found


def sample(synapses: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a subset: `subset`, and `n_<class>` synapses and `n_<class>_neurons` of each class."""
    found = []
    for subset, rows in subsets(synapses).items():
        counts = dict[str, int]()
        for label, name in CLASSES.items():
            neurons = rows.loc[rows["label"] == label, "pre_neuron_id"]
            counts |= {f"n_{name}": len(neurons), f"n_{name}_neurons": neurons.nunique()}
        found.append({"subset": subset, **counts})
    return found


def aucs(synapses: pd.DataFrame, column: str, confidence: float) -> list[dict[str, Any]]:
    """ROC AUC of a column of scores in [0, 1] in each subset: `subset, n, value, low, high`.

    `synapses` has `synapse_id, pre_neuron_id, label` and perhaps `on_spine`. Synapses whose score is missing do not
    count; a subset with fewer than two neurons of a class, or where all scores are equal (of spines on shafts), is left
    out. Excitatory is positive, the unit is the neuron.
    """
    found = []
    for subset, rows in subsets(synapses).items():
        known = rows[rows[column].notna()]
        neurons = known.groupby("label")["pre_neuron_id"].nunique().reindex(CLASSES).fillna(0)
        if neurons.min() < FEWEST or known[column].nunique() < 2:
            continue
        rows = checks.checked(known.assign(p_excitatory=known[column]))
        estimate = auc_interval(rows["label"], rows["pre_neuron_id"], rows["p_excitatory"], confidence)
        found.append({"subset": subset, "n": len(rows)} | dict(zip(("value", "low", "high"), estimate, strict=True)))
    return found


def floors(measured: pd.DataFrame) -> pd.DataFrame:
    """`synapse_id` and scores in [0, 1], higher where more excitatory, of what `extract.floors.measure` gives.

    A dark postsynaptic side, a smooth bouton, and the mean of their ranks, missing where one of them is.
    """
    dark, smooth = (measured[name].mul(-1).rank(pct=True) for name in ("grey_post", "texture_pre"))
    return measured[["synapse_id"]].assign(dark_post=dark, smooth_pre=smooth, dark_and_smooth=(dark + smooth) / 2)
