# %% [markdown]
# # Which two neurons a cleft joins, in real electron microscopy
#
# Methods of partner assignment on a folder of real EM whose partners are known: networks as they come from this
# edition's tissue, and networks that were tuned on one half of the synapses and tested on the other, both halves
# together.
# Rules need no training and stand with the untuned networks.

# %%
import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from pipeline import glue
from pipeline.stats import assignment as scores

PROTOCOLS = ("simulation", "fine-tuned")
NETWORKS = list(glue.PARTNER_NETWORKS)
FLOOR = ("simulation", "darker_is_pre")

study = glue.study("analysis/partner_transfer.py")
confidence = study.config.stats.confidence
folder = study.build.partners / "transfer"
path = folder / "assignments.parquet"
assignments = study.read(path)
volume = study.read(folder / "volume.json")
voxel_nm = study.read(folder / "samples" / "manifest.json")["voxel_nm"]

# %% [markdown]
# Every method must have been asked about every synapse, or their accuracies could not be compared.

# %%
SEGMENTS = [f"{truth}{side}_segment_id" for truth in ("", "true_") for side in ("pre", "post")]
for column in SEGMENTS:
    if assignments[column].dtype != np.uint64:
        raise glue.StudyError(f"{path}: {column} is {assignments[column].dtype}, ids are exact as uint64")
wanted = {("simulation", method) for method in (*glue.PARTNER_NETWORKS, *glue.PARTNER_RULES)} | {
    ("fine-tuned", method) for method in glue.PARTNER_NETWORKS
}
asked = assignments.groupby(["protocol", "method"])["synapse_id"].apply(frozenset)
if set(asked.index) != wanted:
    raise glue.StudyError(f"{path}: protocols and methods differ by {set(asked.index) ^ wanted} from those expected")
synapses = frozenset(assignments["synapse_id"])
for (protocol, method), seen in asked.items():
    if seen != synapses:
        raise glue.StudyError(
            f"{path}: {method} ({protocol}) was not asked about synapses {sorted(synapses - seen)[:5]}"
        )

# %% [markdown]
# ## Accuracy
#
# A synapse is right when both partners and their direction are.
# Direction alone asks whether the true pair scores above its reversal, whichever pair was chosen.
# Where the true partners were found as the two segments nearest to a point, as in the Kasthuri folder, a rule of the
# two nearest segments finds every true pair by construction: there the direction is the independent target.

# %%
by_protocol = dict(tuple(assignments.groupby("protocol")))
methods = pd.concat(
    [scores.accuracy(by_protocol[protocol], confidence).assign(protocol=protocol) for protocol in PROTOCOLS],
    ignore_index=True,
)
methods.insert(0, "label", methods["method"].map(glue.PARTNER_NETWORKS | glue.PARTNER_RULES))
methods["trained"] = methods["method"].isin(NETWORKS)
methods["n_unassigned"] = methods["n"] - methods[["n_correct", "n_direction", "n_identity"]].sum(axis=1)
methods[["protocol", "label", "n_correct", "accuracy", "n_direction", "n_identity", "direction_accuracy"]]

# %% [markdown]
# ## Tests
#
# McNemar's exact test on the same synapses: every network against the rule that takes the darker one of the nearest
# segments for presynaptic, and AVAN against each pruner.
# P-values are adjusted after Holm, over all comparisons of the pair and over all of the direction.
# Synapses whose true pair was not scored say nothing of the direction.

# %%
pairs = [((protocol, network), FLOOR) for protocol in PROTOCOLS for network in NETWORKS]
pairs += [((protocol, "avan"), (protocol, pruner)) for protocol in PROTOCOLS for pruner in NETWORKS[1:]]
right = {
    "pair": pd.concat([scores.verdict(part) == "correct" for part in by_protocol.values()]),
    "direction": assignments["direction_right"],
}
comparisons = []
for target, answers in right.items():
    wide = assignments.assign(right=answers).pivot(index="synapse_id", columns=["protocol", "method"], values="right")
    rows = []
    for a, b in pairs:
        both = wide[[a, b]].dropna().astype(bool)
        counts = {"n": len(both), "only_a": (both[a] & ~both[b]).sum(), "only_b": (both[b] & ~both[a]).sum()}
        p = scores.mcnemar(both[a], both[b])
        rows.append({"target": target, "protocol": a[0], "method_a": a[1], "method_b": b[1], **counts, "p": p})
    rows = pd.DataFrame(rows)
    comparisons.append(rows.assign(p_holm=multipletests(rows["p"], method="holm")[1]))
comparisons = pd.concat(comparisons, ignore_index=True)
comparisons


# %%
values = {
    "volume": glue.text(volume["datastack"]),
    "voxel_nm": glue.text(" × ".join(f"{size:g}" for size in voxel_nm)),
    "split_z": glue.count(volume["split_z"]),
    "n_synapses": glue.count(len(synapses)),
}
for row in methods.itertuples():
    key = f"{row.protocol}_{row.method}".replace("-", "_")
    values |= {
        f"{key}_accuracy": glue.share(row.accuracy, row.low, row.high),
        f"{key}_direction": glue.share(row.direction_accuracy, row.direction_low, row.direction_high),
        f"{key}_direction_n": glue.count(row.direction_n),
        f"{key}_direction_wrong": glue.count(row.direction_n - row.direction_n_right),
        f"{key}_direction_errors": glue.count(row.n_direction),
        f"{key}_identity_errors": glue.count(row.n_identity),
        f"{key}_unassigned": glue.count(row.n_unassigned),
    }
for row in comparisons.itertuples():
    key = f"{row.protocol}_{row.method_a}_{row.target}_against_{row.method_b}".replace("-", "_")
    values |= {f"{key}_p": glue.p_value(row.p), f"{key}_p_holm": glue.p_value(row.p_holm)}
study.save(values, methods=methods, comparisons=comparisons)
