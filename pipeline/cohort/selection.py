"""Filters: which neurons, and which of their synapses. Each gives the same rows whatever the order of its input."""

import numpy as np
import pandas as pd

from pipeline.cohort import CohortError
from pipeline.columns import CENTER_NM


def proofread(neurons: pd.DataFrame, proofreading: pd.DataFrame) -> pd.DataFrame:
    """The `neurons` whose axon is proofread, so that its synapses are its own and not those of a merged axon.

    `proofreading` is CAVE's `proofreading_status_and_strategy` (`pt_root_id`, `status_axon` = "t" or "f"). Neurons
    that were edited again after the assessment (`valid_id` differs) stay: such edits mostly extend a clean axon.
    """
    if missing := [name for name in ("pt_root_id", "status_axon") if name not in proofreading]:
        raise CohortError(f"the proofreading table lacks {missing}; it has {list(proofreading.columns)}")
    done = proofreading.loc[proofreading["status_axon"] == "t", "pt_root_id"]
    return neurons[neurons["pre_neuron_id"].isin(done)].reset_index(drop=True)


def unique(synapses: pd.DataFrame) -> pd.DataFrame:
    """Synapses without repeated rows, and one (the lowest id) where a pair of neurons has two at the same point."""
    synapses = synapses.drop_duplicates().sort_values("synapse_id", ignore_index=True)
    if (clash := synapses["synapse_id"].duplicated()).any():
        ids = synapses.loc[clash, "synapse_id"].head().tolist()
        raise CohortError(f"{clash.sum()} synapse ids stand for several synapses, such as {ids}")
    return synapses.drop_duplicates(["pre_neuron_id", "post_neuron_id", *CENTER_NM], ignore_index=True)


def without_autapses(synapses: pd.DataFrame) -> pd.DataFrame:
    """Synapses between two neurons; in an automatic segmentation an autapse is nearly always a merge error."""
    return synapses[synapses["pre_neuron_id"] != synapses["post_neuron_id"]].reset_index(drop=True)


def at_most_per_class(neurons: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` neurons of each class, drawn at random."""
    return _at_most(neurons, "pre_neuron_id", "label", limit, seed)


def at_most_per_neuron(synapses: pd.DataFrame, limit: int, seed: int) -> pd.DataFrame:
    """At most `limit` synapses of each presynaptic neuron, drawn at random."""
    return _at_most(synapses, "synapse_id", "pre_neuron_id", limit, seed)


def _at_most(rows: pd.DataFrame, key: str, group: str, limit: int, seed: int) -> pd.DataFrame:
    rows = rows.sort_values(key, ignore_index=True)
    lot = pd.Series(np.random.default_rng(seed).permutation(len(rows)))
    return rows[lot.groupby(rows[group]).rank() <= limit].reset_index(drop=True)
