"""Bootstrap intervals whose unit of resampling is the presynaptic neuron, within its class.

Synapses of one neuron share its staining, vesicles and label, so they are no independent draws: an interval that
resamples synapses is too narrow. Here a neuron is drawn with all its synapses; excitatory and inhibitory neurons are
drawn apart, so that every replicate holds both classes. Intervals are percentile intervals.
"""

import numpy as np
import pandas as pd

from pipeline.stats.metrics import METRICS, PredictionsError, Scored

COLUMNS = ("synapse_id", "pre_neuron_id", "label", "p_excitatory")

_BLOCK = 256  # replicates whose weights are in memory at once


def intervals(frame, tau, n_replicates, confidence, seed):
    """Metrics of one model with their intervals: DataFrame `metric, value, low, high`, in the order of METRICS.

    `frame` holds one row a synapse with the columns of COLUMNS (others are ignored), in any order. Raises
    PredictionsError where ids, labels or scores cannot be used, or where a class has fewer than two neurons.
    """
    value, draws = replicates([frame], [tau], n_replicates, seed)
    return summary(value[0], draws[0], confidence)


def difference(frame_a, frame_b, tau_a, tau_b, n_replicates, confidence, seed):
    """Model a minus model b: DataFrame `metric, value, low, high`; both see the same resampled neurons.

    The two frames must hold the same synapses, with the same labels and neurons.
    """
    value, draws = replicates([frame_a, frame_b], [tau_a, tau_b], n_replicates, seed)
    return summary(value[0] - value[1], draws[0] - draws[1], confidence)


def replicates(frames, taus, n_replicates, seed):
    """Values `[models, metrics]` of M models and replicates `[models, n_replicates, metrics]`, metrics as in METRICS.

    All models see the same resampled neurons, so that averages and differences over models may be taken replicate by
    replicate; `summary` makes intervals of them. The frames must hold the same synapses, labels and neurons.
    """
    frames = [_checked(frame) for frame in frames]
    for other in frames[1:]:
        _check_paired(frames[0], other)
    models = [_scored(frame, tau) for frame, tau in zip(frames, taus, strict=True)]

    def table(model, weights):
        return np.stack(list(model.metrics(weights).values()), axis=1)

    label = frames[0].groupby("pre_neuron_id")["label"].first()
    value = np.array([table(model, None)[0] for model in models])
    blocks = [[table(model, counts) for model in models] for counts in resamples(label, n_replicates, seed)]
    return value, np.concatenate(blocks, axis=1)


def summary(value, draws, confidence):
    """DataFrame `metric, value, low, high` of values `[metrics]` and their replicates `[n_replicates, metrics]`."""
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return pd.DataFrame({"metric": METRICS, "value": value, "low": low, "high": high})


def resamples(label, n_replicates, seed):
    """Yield blocks `[B, G]` of how often each of G neurons is drawn, `n_replicates` rows in all.

    `label` [G] is the class of each neuron; every row draws as many neurons of a class as there are. Each class has
    its own random stream, so that the draws depend on nothing but the seed and the classes.
    """
    label = np.asarray(label)
    members = [np.flatnonzero(label == value) for value in (0, 1)]
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(2)]
    for start in range(0, n_replicates, _BLOCK):
        rows = min(_BLOCK, n_replicates - start)
        counts = np.zeros((rows, label.size), dtype=np.int64)
        for member, stream in zip(members, streams, strict=True):
            drawn = stream.integers(member.size, size=(rows, member.size)) + np.arange(rows)[:, None] * member.size
            counts[:, member] = np.bincount(drawn.ravel(), minlength=rows * member.size).reshape(rows, member.size)
        yield counts


def _scored(frame, tau):
    """The frame's synapses, grouped by neuron in the order of the neurons' ids."""
    _, group = np.unique(frame["pre_neuron_id"], return_inverse=True)
    return Scored(frame["label"], frame["p_excitatory"], tau, group)


def _checked(frame):
    """The frame's rows sorted by synapse id; PredictionsError where they cannot be resampled by neuron."""
    if missing := [column for column in COLUMNS if column not in frame]:
        raise PredictionsError(f"predictions lack the columns {missing}; they have {list(frame.columns)}")
    frame = frame[list(COLUMNS)].sort_values("synapse_id", ignore_index=True)
    _refuse(frame["synapse_id"], frame["synapse_id"].duplicated(), "synapse ids occur more than once")
    _refuse(frame["synapse_id"], ~frame["label"].isin((0, 1)), "synapses have a label that is neither 0 nor 1")
    _refuse(frame["synapse_id"], ~frame["p_excitatory"].between(0, 1), "synapses have p_excitatory outside [0, 1]")
    _refuse(frame["synapse_id"], frame["pre_neuron_id"].isna(), "synapses have no presynaptic neuron")
    frame = frame.astype({"label": np.int64})
    classes = frame.groupby("pre_neuron_id")["label"].agg(["min", "max"])
    _refuse(classes.index, classes["min"] != classes["max"], "neurons have synapses of both classes")
    for value, name in ((1, "excitatory"), (0, "inhibitory")):
        if (n := int((classes["min"] == value).sum())) < 2:
            raise PredictionsError(f"{n} {name} neurons: resampling neurons needs at least 2 of each class")
    return frame


def _refuse(ids, wrong, what):
    if wrong.any():
        raise PredictionsError(f"{int(wrong.sum())} {what}, such as {np.asarray(ids[wrong])[:5].tolist()}")


def _check_paired(a, b):
    only = sorted(set(a["synapse_id"]) ^ set(b["synapse_id"]))
    if only:
        raise PredictionsError(f"models are compared on the same synapses; {len(only)} are in one only: {only[:5]}")
    for column in ("label", "pre_neuron_id"):
        wrong = a[column].to_numpy() != b[column].to_numpy()
        _refuse(a["synapse_id"], wrong, f"synapses differ in {column} between the two models")
