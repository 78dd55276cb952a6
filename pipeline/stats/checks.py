"""What a table of predictions must be before anything is computed from it."""

import numpy as np

from pipeline.stats.metrics import PredictionsError

COLUMNS = ("synapse_id", "pre_neuron_id", "label", "p_excitatory")


def checked(frame):
    """The columns of COLUMNS, one row a synapse, sorted by synapse id; PredictionsError where they are unfit.

    Unfit are missing columns, synapse ids that occur twice (in one split or in two), labels other than 0 and 1,
    probabilities outside [0, 1] or absent, synapses without a neuron, neurons with synapses of both classes, and
    fewer than two neurons of a class: neurons are what is resampled.
    """
    if missing := [column for column in COLUMNS if column not in frame]:
        raise PredictionsError(f"predictions lack the columns {missing}; they have {list(frame.columns)}")
    if "split" in frame:
        splits = frame.groupby("synapse_id")["split"].nunique()
        _refuse(splits.index, splits > 1, "synapse ids occur in more than one split")
    frame = frame[list(COLUMNS)].sort_values("synapse_id", ignore_index=True)
    _refuse(frame["synapse_id"], frame["synapse_id"].duplicated(), "synapse ids occur more than once")
    _refuse(frame["synapse_id"], ~frame["label"].isin((0, 1)), "synapses have a label that is neither 0 nor 1")
    _refuse(frame["synapse_id"], ~frame["p_excitatory"].between(0, 1), "synapses have p_excitatory outside [0, 1]")
    _refuse(frame["synapse_id"], frame["pre_neuron_id"].isna(), "synapses have no presynaptic neuron")
    frame = frame.astype({"label": np.int64})
    classes = frame.groupby("pre_neuron_id")["label"].agg(["min", "max"])
    _refuse(classes.index, classes["min"] != classes["max"], "neurons have synapses of both classes")
    check_classes(classes["min"])
    return frame


def checked_pairs(frames):
    """`checked` of each frame; PredictionsError unless all hold the same synapses, labels and neurons."""
    first, *others = frames = [checked(frame) for frame in frames]
    for other in others:
        only = sorted(set(first["synapse_id"]) ^ set(other["synapse_id"]))
        if only:
            raise PredictionsError(f"models are compared on the same synapses; {len(only)} are in one only: {only[:5]}")
        for column in ("label", "pre_neuron_id"):
            wrong = first[column].to_numpy() != other[column].to_numpy()
            _refuse(first["synapse_id"], wrong, f"synapses differ in {column} between the two models")
    return frames


def check_classes(label):
    """PredictionsError unless the neurons' labels hold each class at least twice."""
    for value, name in ((1, "excitatory"), (0, "inhibitory")):
        if (n := int((np.asarray(label) == value).sum())) < 2:
            raise PredictionsError(f"{n} {name} neurons: resampling neurons needs at least 2 of each class")


def by_neuron(frame):
    """Of a checked frame: the class of each of G neurons `[G]`, in the order of their ids, and each row's neuron `[N]`.

    The second holds integers in [0, G).
    """
    label = frame.groupby("pre_neuron_id")["label"].first()
    return label.to_numpy(), label.index.get_indexer(frame["pre_neuron_id"])


def _refuse(ids, wrong, what):
    if wrong.any():
        raise PredictionsError(f"{int(wrong.sum())} {what}, such as {np.asarray(ids[wrong])[:5].tolist()}")
