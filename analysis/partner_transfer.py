# %% [markdown]
# # Which two neurons a cleft joins, in real electron microscopy
#
# Methods of partner assignment on a folder of real EM whose partners are known: networks as trained on this edition's
# tissue, and networks that were tuned on one half of the synapses and tested on the other, with both halves pooled.
# Rules need no training and are listed with the untuned networks.

# %%
import pandas as pd
from statsmodels.stats.multitest import multipletests

from pipeline import glue, labels
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.stats import assignment

PROTOCOLS = ("simulation", "fine-tuned")
NETWORKS = list(labels.PARTNER_NETWORKS)
BASELINE = ("simulation", "darker_is_pre")

study = glue.study("analysis/partner_transfer.py", on_data=True)
confidence = study.config.stats.confidence
folder = study.build.partners
path = folder / "assignments.parquet"
assignments = study.read_exact(path, [*PARTNER_SEGMENTS, *assignment.CELLS])
volume = study.read(folder / "volume.json")
voxel_nm = study.read(folder / "samples" / "manifest.json")["voxel_nm"]

# %% [markdown]
# Accuracies can be compared only if every method was applied to every synapse.

# %%
wanted = {("simulation", method) for method in (*labels.PARTNER_NETWORKS, *labels.PARTNER_RULES)} | {
    ("fine-tuned", method) for method in labels.PARTNER_NETWORKS
}
applied = assignments.groupby(["protocol", "method"])["synapse_id"].apply(frozenset)
if set(applied.index) != wanted:
    raise glue.StudyError(f"{path}: protocols and methods differ by {set(applied.index) ^ wanted} from those expected")
synapses = frozenset(assignments["synapse_id"])
for (protocol, method), seen in applied.items():
    if seen != synapses:
        raise glue.StudyError(
            f"{path}: {method} ({protocol}) was not applied to synapses {sorted(synapses - seen)[:5]}"
        )

# %% [markdown]
# ## Accuracy
#
# An assignment is correct when both partners and their direction are.
# Direction alone is the share of synapses whose true pair scores above its reversal, whichever pair was chosen.
# Intervals and tests group synapses by their postsynaptic and by their presynaptic neuron: the wider interval and the
# larger p-value are given.
# Where the true partners were defined as the two segments nearest to a point, as in the Kasthuri folder, a rule of the
# two nearest segments finds every true pair by construction: there only the direction is an independent target.

# %%
by_protocol = dict(tuple(assignments.groupby("protocol")))
methods = pd.concat(
    [assignment.accuracy(by_protocol[protocol], confidence).assign(protocol=protocol) for protocol in PROTOCOLS],
    ignore_index=True,
)
methods.insert(0, "label", methods["method"].map(labels.PARTNER_NETWORKS | labels.PARTNER_RULES))
methods["trained"] = methods["method"].isin(NETWORKS)
methods["n_unassigned"] = methods["n"] - methods[["n_correct", "n_reversed", "n_wrong_partner"]].sum(axis=1)
methods[["protocol", "label", "n_correct", "accuracy", "n_reversed", "n_wrong_partner", "direction_accuracy"]]

# %% [markdown]
# ## Tests
#
# The exact sign-flip test on the same synapses, neuron by neuron: every network against the rule that the darker of the
# two nearest segments is presynaptic, and AVAN against each pruner.
# P-values are adjusted by Holm's method, separately over the comparisons of the pair and of the direction.
# Synapses whose true pair was not scored are left out of the comparisons of the direction.

# %%
pairs = [((protocol, network), BASELINE) for protocol in PROTOCOLS for network in NETWORKS]
pairs += [((protocol, "avan"), (protocol, pruner)) for protocol in PROTOCOLS for pruner in NETWORKS[1:]]
correct = {
    "pair": pd.concat([assignment.outcome(part) == "correct" for part in by_protocol.values()]),
    "direction": assignments["direction_right"],
}
cells = assignments.drop_duplicates("synapse_id").set_index("synapse_id")[assignment.CELLS]
comparisons = []
for target, answers in correct.items():
    wide = assignments.assign(correct=answers)
    wide = wide.pivot(index="synapse_id", columns=["protocol", "method"], values="correct")
    rows = []
    for a, b in pairs:
        both = wide[[a, b]].dropna().astype(bool)
        counts = {"n": len(both), "only_a": (both[a] & ~both[b]).sum(), "only_b": (both[b] & ~both[a]).sum()}
        p = assignment.difference_p(both[a], both[b], cells.loc[both.index])
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
        f"{key}_reversed": glue.count(row.n_reversed),
        f"{key}_wrong_partner": glue.count(row.n_wrong_partner),
        f"{key}_unassigned": glue.count(row.n_unassigned),
    }
for row in comparisons.itertuples():
    key = f"{row.protocol}_{row.method_a}_{row.target}_against_{row.method_b}".replace("-", "_")
    values |= {f"{key}_p": glue.p_value(row.p), f"{key}_p_holm": glue.p_value(row.p_holm)}
study.save(values, methods=methods, comparisons=comparisons)
