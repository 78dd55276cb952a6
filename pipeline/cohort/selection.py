"""Filters: which neurons, and which of their synapses. Each gives the same rows whatever the order of its input."""

import numpy as np
import pandas as pd


class SelectionError(ValueError):
    """Tables that cannot be filtered; the text names the column or the synapses."""


def proofread(neurons, proofreading):
    """The `neurons` whose axon is proofread, so that its synapses are its own and not those of a merged axon.

    `proofreading` is CAVE's `proofreading_status_and_strategy` (`pt_root_id`, `status_axon` = "t" or "f"). Neurons
    that were edited again after the assessment (`valid_id` differs) stay: such edits mostly extend a clean axon.
    """
    if missing := [name for name in ("pt_root_id", "status_axon") if name not in proofreading]:
        raise SelectionError(f"the proofreading table lacks {missing}; it has {list(proofreading.columns)}")
    done = proofreading["status_axon"].astype(str).str.lower().isin(("t", "true"))
    return neurons[neurons["pre_neuron_id"].isin(proofreading.loc[done, "pt_root_id"])].reset_index(drop=True)


def at_most_per_class(neurons, limit, seed):
    """At most `limit` neurons of each class, drawn at random; None keeps all."""
    return _at_most(neurons, "pre_neuron_id", "label", limit, seed)


def unique(synapses):
    """Synapses without repeated rows, and one (the lowest id) where a pair of neurons has two at the same point.

    Raises SelectionError where two different synapses share an id.
    """
    synapses = synapses.drop_duplicates().sort_values("synapse_id", ignore_index=True)
    if (clash := synapses["synapse_id"].duplicated()).any():
        ids = synapses.loc[clash, "synapse_id"].head().tolist()
        raise SelectionError(f"{clash.sum()} synapse ids stand for several synapses, such as {ids}")
    place = ["pre_neuron_id", "post_neuron_id", "center_x_nm", "center_y_nm", "center_z_nm"]
    return synapses.drop_duplicates(place, ignore_index=True)


def without_autapses(synapses):
    """Synapses between two neurons; in an automatic segmentation an autapse is nearly always a merge error."""
    return synapses[synapses["pre_neuron_id"] != synapses["post_neuron_id"]].reset_index(drop=True)


def at_most_per_neuron(synapses, limit, seed):
    """At most `limit` synapses of each presynaptic neuron, drawn at random; None keeps all."""
    return _at_most(synapses, "synapse_id", "pre_neuron_id", limit, seed)


def _at_most(frame, key, group, limit, seed):
    frame = frame.sort_values(key, ignore_index=True)
    if limit is None:
        return frame
    lot = pd.Series(np.random.default_rng(seed).permutation(len(frame)))
    return frame[lot.groupby(frame[group]).rank() <= limit].reset_index(drop=True)
