# %% [markdown]
# # What the networks look at
#
# A network can be right for the wrong reason.
# In the simulation every voxel's structure is known, so the evidence that a network finds for a synapse's true class
# can be located: how much of it lies at the synapse, and in which structures.
# An untrained network of the same kind says how much of that its architecture brings about by itself.

# %%
import functools

import numpy as np
import pandas as pd
import torch
from cloudvolume import CloudVolume

from pipeline import glue, space
from pipeline.learn import checkpoint, data, device, evidence
from pipeline.stats import bootstrap

N_PER_CLASS, N_EXAMPLES = 12, 2  # synapses of each class: scored, and shown
BOX_NM = (128.0, 128.0, 120.0)  # XYZ, hidden at once: half the length of an active zone, and nearly a cube
REACH_NM = 100.0
METHODS = {"occlusion": "occlusion", "grad_cam": "Grad-CAM"}
STRUCTURES = {"synapse": ("cleft", "density"), "vesicles": ("vesicle",), "mitochondria": ("mitochondrion",)}
PARTS = [*STRUCTURES, "elsewhere"]

study = glue.study("analysis/evidence.py")
if not study.simulated:
    raise glue.StudyError(f"config {study.config.name!r} is not simulated: nobody knows what its voxels show")
voxel_nm = study.config.extract.voxel_nm
if voxel_nm != space.EM.resolution_nm:
    raise glue.StudyError(f"extract.voxel_nm is {voxel_nm}, the truth has {space.EM.resolution_nm}: extract at that")
label_of = study.read(study.build.source / "manifest.json")["structures"]

# %% [markdown]
# ## Which networks
#
# Of each kind of input (one section, several sections as channels, a cube) the trained model with the highest
# validation AUC, and the untrained control of the same network and number of sections, where the edition has one.

# %%
runs = study.frame("performance", "runs").query("not folds").sort_values("validation_auc", ascending=False)
chosen = []
for kind in glue.KINDS:
    for best in runs[runs["trained"] & (runs["kind"] == kind)].head(1).itertuples():
        alike = (runs["network"] == best.network) & (runs["sections"] == best.sections)
        chosen.append(runs[runs["model"] == best.model].assign(role="trained"))
        chosen.append(runs[alike & ~runs["trained"]].head(1).assign(role="control"))
chosen = pd.concat(chosen, ignore_index=True)[["kind", "role", "model", "label", "validation_auc"]]
chosen

# %% [markdown]
# ## Which synapses
#
# Drawn at random from the test synapses whose patch and cube lie inside the volume, as many of either class, and from
# as many neurons as there are before any neuron gives a second one.

# %%
synapses = study.read(study.build.synapses).query("split == 'test'")
quality = study.read(study.build.patches / "quality.parquet").set_index("synapse_id")
padded = quality[["patch_padded", "cube_padded"]].max(axis=1).reindex(synapses["synapse_id"])
whole = synapses[(padded == 0).to_numpy()].sample(frac=1, random_state=study.config.seed)
whole = whole.assign(turn=whole.groupby("pre_neuron_id").cumcount()).sort_values("turn", kind="stable")
drawn = whole.groupby("label").head(N_PER_CLASS).sort_values(["label", "turn"], ascending=[False, True], kind="stable")
drawn = drawn.drop(columns="turn").reset_index(drop=True)
drawn.groupby("label").agg(synapses=("synapse_id", "size"), neurons=("pre_neuron_id", "nunique"))

# %% [markdown]
# ## The true structures
#
# Read at the voxels of each network's input.
# Near is what lies within the stated distance of the synapse's own cleft, in the input or beyond its border.

# %%
volumes = {
    name: CloudVolume(
        f"file://{(study.build.source / name).resolve()}", bounded=False, fill_missing=True, progress=False
    )
    for name in ("clefts", "structures")
}
middle_vx = space.EM.to_vx(drawn[["center_x_nm", "center_y_nm", "center_z_nm"]].to_numpy())
margin_vx = np.ceil(REACH_NM / np.array(voxel_nm)).astype(int)


@functools.cache
def truth(shape_zyx):
    """Masks `[N, Z, Y, X]` of an input: near the synapse, and each of PARTS."""
    shape_vx = space.zyx(shape_zyx)
    inner = tuple(slice(margin, -margin) for margin in space.zyx(margin_vx))
    masks = {name: [] for name in ("near", *PARTS)}
    for synapse_id, middle in zip(drawn["synapse_id"], middle_vx, strict=True):
        low = middle - shape_vx // 2 - margin_vx
        box = tuple(slice(start, stop) for start, stop in zip(low, low + shape_vx + 2 * margin_vx, strict=True))
        clefts, structures = (np.asarray(volumes[name][box])[..., 0].transpose(2, 1, 0) for name in volumes)
        masks["near"].append(evidence.near(clefts == synapse_id, voxel_nm, REACH_NM)[inner])
        of = {part: np.isin(structures[inner], [label_of[n] for n in names]) for part, names in STRUCTURES.items()}
        of["elsewhere"] = ~np.logical_or.reduce(list(of.values()))
        for part, mask in of.items():
            masks[part].append(mask)
    return {name: np.stack(stack) for name, stack in masks.items()}


# %% [markdown]
# ## Evidence for the true class
#
# Occlusion: how much the logit of the true class, less that of the other, falls when a box is hidden behind the image's
# mean grey.
# Grad-CAM: the last feature map weighted by its gradient, with its sign.
# What is scored is the positive part: the share of it in a region, beside the region's share of the input, which is
# what evenly spread evidence would give.


# %%
def evidence_of(model):
    """`(card, grey levels [N, Z, Y, X], {method: evidence, alike})` of a model on the drawn synapses."""
    place = device.prepare(threads=1)  # as fast as two where another process computes too
    network, card = checkpoint.load(study.build.run(model) / "model.safetensors")
    images = data.Images(study.build.patches, card.input_kind, drawn["synapse_id"])
    card.check(images)
    grey = data.centre(images.read(np.arange(len(drawn))), card.shape_zyx)
    network, normal = network.to(place), data.normalise(grey.to(place).float() / 255)
    labels = torch.from_numpy(drawn["label"].to_numpy()).to(place)
    box = tuple(space.zyx(np.round(np.array(BOX_NM) / voxel_nm).astype(int)).tolist())
    maps = {
        "occlusion": evidence.occlusion(network, normal, labels, box),
        "grad_cam": evidence.grad_cam(network, normal, labels),
    }
    return card, grey.numpy(), maps


shares, pictures = [], []
for row in chosen.itertuples():
    card, grey, maps = evidence_of(row.model)
    regions = truth(card.shape_zyx)
    scored = {(row.role, method): found for method, found in maps.items()}
    if row.role == "trained":
        scored["even", "even"] = np.ones(grey.shape, np.float32)
        for shown in drawn.groupby("label").head(N_EXAMPLES).itertuples():
            y, x = np.indices(grey.shape[2:])
            layers = {"grey": grey, "near": regions["near"], "synapse": regions["synapse"]} | maps
            pixels = {name: layer[shown.Index, card.shape_zyx[0] // 2].ravel() for name, layer in layers.items()}
            of = {"kind": row.kind, "synapse_id": shown.synapse_id, "label": shown.label}
            pictures.append(pd.DataFrame({"y": y.ravel(), "x": x.ravel()} | pixels).assign(**of))
    for (role, method), found in scored.items():
        of = {"kind": row.kind, "role": role, "method": method}
        for part, mask in regions.items():
            rows = drawn[["synapse_id", "pre_neuron_id", "label"]]
            shares.append(rows.assign(part=part, share=evidence.share(found, mask), **of))
shares, pictures = pd.concat(shares, ignore_index=True), pd.concat(pictures, ignore_index=True)
without = (
    shares.query("part == 'near'").groupby(["kind", "role", "method"])["share"].agg(lambda part: part.isna().sum())
)
without

# %% [markdown]
# ## Shares, with intervals
#
# Means over synapses; those without any positive evidence are left out of a mean, and counted above.
# Trained, control and even spread are compared on the same resampled neurons.

# %%
KEYS = ["kind", "role", "method", "part"]
wide = shares.pivot(index="synapse_id", columns=KEYS, values="share").reindex(drawn["synapse_id"])
neurons, member = np.unique(drawn["pre_neuron_id"], return_inverse=True)
neuron_label = drawn.groupby("pre_neuron_id")["label"].first()[neurons].to_numpy()
known, value = wide.notna().to_numpy(float), wide.fillna(0).to_numpy()
columns = {key: number for number, key in enumerate(wide.columns)}


def compared(role):
    """Columns of every share that has one of `role` to be compared with, and columns of those."""
    method = {"even": lambda own: "even"}.get(role, lambda own: own)
    pairs = [
        (number, columns[other])
        for (kind, own_role, own, part), number in columns.items()
        if own_role not in ("even", role) and (other := (kind, role, method(own), part)) in columns
    ]
    return np.array(pairs, dtype=int).reshape(-1, 2).T


over_control, over_even = compared("control"), compared("even")


def statistic(weights):
    """Per replicate: mean shares, their differences from the control's, and their ratios to even spread."""
    weights = weights[:, member]
    with np.errstate(invalid="ignore"):  # no synapse with evidence in a replicate
        mean = (weights @ value) / (weights @ known)
    ours, controls = over_control
    own, even = over_even
    return np.concatenate([mean, mean[:, ours] - mean[:, controls], mean[:, own] / mean[:, even]], axis=1)


stats = study.config.stats
result = pd.DataFrame(
    [
        *[(*key, "share") for key in columns],
        *[(*wide.columns[number], "minus control") for number in over_control[0]],
        *[(*wide.columns[number], "times even") for number in over_even[0]],
    ],
    columns=[*KEYS, "measure"],
)
result["value"], result["low"], result["high"] = bootstrap.interval(
    statistic, neuron_label, stats.n_bootstrap, stats.confidence, study.config.seed
)
result.query("part == 'near'")

# %%
found = result.set_index([*KEYS, "measure"])[["value", "low", "high"]]


def said(*key):
    """`47% [39, 58]`, of a share; `5 [−2, 11] percentage points`, of a difference."""
    share, low, high = found.loc[key]
    text = glue.estimate(100 * share, 100 * low, 100 * high, 0).text
    return glue.Value(share, text.replace(" ", "% ", 1) if key[-1] == "share" else f"{text} percentage points")


def verdict(*key):
    """The difference in words; it is resolved when its interval excludes zero."""
    _, low, high = found.loc[key]
    return f"{said(*key).text} ({'resolved' if low > 0 or high < 0 else 'not resolved'})"


values = {
    "n_synapses": glue.count(len(drawn)),
    "n_neurons": glue.count(len(neurons)),
    "reach_nm": glue.number(REACH_NM, 0),
    "box_nm": glue.text("×".join(f"{size:.0f}" for size in BOX_NM)),
    "n_without_evidence": glue.count(without.sum()),
}
sentences = []
for kind, models in chosen.groupby("kind", sort=False):
    key, label = kind.lower().replace(".", ""), models.set_index("role")["label"]
    values[f"model_{key}"] = glue.text(label["trained"])
    even = values[f"even_{key}"] = glue.percent(found.loc[(kind, "even", "even", "near", "share"), "value"])
    for method in METHODS:
        values[f"{method}_{key}"] = said(kind, "trained", method, "near", "share")
        if "control" in label:
            values[f"{method}_{key}_control"] = said(kind, "control", method, "near", "share")
            values[f"{method}_{key}_gain"] = said(kind, "trained", method, "near", "minus control")
    told = " and ".join(f"{values[f'{method}_{key}'].text} ({name})" for method, name in METHODS.items())
    sentence = (
        f"Of the evidence of {label['trained']}, {told} lay within {REACH_NM:.0f} nm of the synapse's cleft, "
        f"where evenly spread evidence would have had {even.text}"
    )
    if "control" in label:
        gains = [f"{verdict(kind, 'trained', m, 'near', 'minus control')} by {name}" for m, name in METHODS.items()]
        sentence += f"; this differed from the same network without training by {' and '.join(gains)}"
    sentences.append(f"{sentence}.")
values["where"] = glue.text(" ".join(sentences))
study.save(values, chosen=chosen, shares=shares, result=result, pictures=pictures)
