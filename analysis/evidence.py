# %% [markdown]
# # What the networks look at
#
# A network can be right for the wrong reason.
# In the simulation the structure of every voxel is known, so we can locate the evidence that a network finds for the
# true class of a synapse: how much of it lies at the synapse, and in which structures.
# An untrained network of the same architecture shows how much of that is due to the architecture alone.

# %%
import functools

import numpy as np
import pandas as pd
import torch
from cloudvolume import CloudVolume

from pipeline import glue, labels, space
from pipeline.learn import classification, data, device, evidence
from pipeline.stats import bootstrap

N_PER_CLASS, N_EXAMPLES = 12, 2  # synapses of each class that are scored, and shown
BOX_NM = (128.0, 128.0, 120.0)  # XYZ of the hidden box: half the length of an active zone, and nearly a cube
REACH_NM = 100.0
METHODS = {"occlusion": "occlusion", "grad_cam": "Grad-CAM"}
STRUCTURES = {"synapse": ("cleft", "density"), "vesicles": ("vesicle",), "mitochondria": ("mitochondrion",)}
PARTS = [*STRUCTURES, "elsewhere"]

study = glue.study("analysis/evidence.py")
if not study.simulated:
    raise glue.StudyError(f"config {study.config.name!r} is not simulated: the structure of its voxels is unknown")
voxel_nm = study.config.extract.voxel_nm
if voxel_nm != space.EM.resolution_nm:
    raise glue.StudyError(
        f"extract.voxel_nm is {voxel_nm}, but the truth has {space.EM.resolution_nm}: extract at that size"
    )
label_of = study.read(study.build.source / "manifest.json")["structures"]

# %% [markdown]
# ## Which networks
#
# For each dimensionality of the input (one section, several sections as channels, a cube), the trained model with the
# highest validation AUC, and the untrained control of the same network and number of sections where there is one.

# %%
runs = study.rows("performance", "runs").query("not folds").sort_values("validation_auc", ascending=False)
chosen = []
for dimensionality in labels.DIMENSIONALITIES:
    for best in runs[runs["trained"] & (runs["dimensionality"] == dimensionality)].head(1).itertuples():
        same_network = (runs["network"] == best.network) & (runs["sections"] == best.sections)
        chosen.append(runs[runs["model"] == best.model].assign(role="trained"))
        chosen.append(runs[same_network & ~runs["trained"]].head(1).assign(role="control"))
chosen = pd.concat(chosen, ignore_index=True)[["dimensionality", "role", "model", "label", "validation_auc"]]
chosen

# %% [markdown]
# ## Which synapses
#
# Drawn at random from the test synapses whose patch and cube lie inside the volume, with equal numbers of both classes
# and from as many neurons as possible: no neuron contributes a second synapse before each has contributed one.

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
# Near are the voxels within the stated distance of the synapse's own cleft, including the part of the cleft beyond the
# border of the input.

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
    """Masks `[N, Z, Y, X]` of an input of this shape: near the synapse, and each of PARTS."""
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
# Occlusion: how much the logit of the true class minus that of the other class falls when a box is replaced by the mean
# grey level of the image.
# Grad-CAM: the last feature map weighted by its gradient, with its sign.
# We score the share of the positive evidence in a region, and compare it with the region's share of the input, which
# evenly spread evidence would have.


# %%
def evidence_of(model):
    """`(card, grey levels [N, Z, Y, X], {method: evidence [N, Z, Y, X]})` of a model on the drawn synapses."""
    place = device.prepare(threads=1)  # as fast as two where another process runs as well
    network, card = classification.load(study.build.run(model) / "model.safetensors")
    images = data.Images({"em": study.build.patches}, classification.array_of(card), drawn["synapse_id"])
    card.check(images)
    grey = data.centre(images.read(np.arange(len(drawn)))[:, 0], card.shape_zyx)
    network, normal = network.to(place), data.normalise(grey.to(place).float() / 255)
    label = torch.from_numpy(drawn["label"].to_numpy()).to(place)
    box = tuple(space.zyx(np.round(np.array(BOX_NM) / voxel_nm).astype(int)).tolist())
    maps = {
        "occlusion": evidence.occlusion(network, normal, label, box),
        "grad_cam": evidence.grad_cam(network, normal, label),
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
            of = {"dimensionality": row.dimensionality, "synapse_id": shown.synapse_id, "label": shown.label}
            pictures.append(pd.DataFrame({"y": y.ravel(), "x": x.ravel()} | pixels).assign(**of))
    for (role, method), found in scored.items():
        of = {"dimensionality": row.dimensionality, "role": role, "method": method}
        for part, mask in regions.items():
            rows = drawn[["synapse_id", "pre_neuron_id", "label"]]
            shares.append(rows.assign(part=part, share=evidence.share(found, mask), **of))
shares, pictures = pd.concat(shares, ignore_index=True), pd.concat(pictures, ignore_index=True)
near = shares.query("part == 'near'").groupby(["dimensionality", "role", "method"])["share"]
without = near.agg(lambda part: part.isna().sum())
without

# %% [markdown]
# ## Shares, with intervals
#
# Means over synapses; those without any positive evidence, counted above, are excluded.
# Trained network, control and even spread are compared on the same resampled neurons.

# %%
KEYS = ["dimensionality", "role", "method", "part"]
wide = shares.pivot(index="synapse_id", columns=KEYS, values="share").reindex(drawn["synapse_id"])
neurons, member = np.unique(drawn["pre_neuron_id"], return_inverse=True)
neuron_label = drawn.groupby("pre_neuron_id")["label"].first()[neurons].to_numpy()
known, value = wide.notna().to_numpy(float), wide.fillna(0).to_numpy()
columns = {key: number for number, key in enumerate(wide.columns)}


def compared(role):
    """Columns of the shares that have a counterpart with this role, and the columns of the counterparts `[2, n]`."""
    method = {"even": lambda own: "even"}.get(role, lambda own: own)
    pairs = [
        (number, columns[other])
        for (dimensionality, own_role, own, part), number in columns.items()
        if own_role not in ("even", role) and (other := (dimensionality, role, method(own), part)) in columns
    ]
    return np.array(pairs, dtype=int).reshape(-1, 2).T


over_control, over_even = compared("control"), compared("even")


def statistic(weights):
    """Per replicate: mean shares, their differences from those of the control, and their ratios to even spread."""
    weights = weights[:, member]
    with np.errstate(invalid="ignore"):  # where a replicate holds no synapse with evidence
        mean = (weights @ value) / (weights @ known)
    ours, controls = over_control
    own, even = over_even
    return np.concatenate([mean, mean[:, ours] - mean[:, controls], mean[:, own] / mean[:, even]], axis=1)


result = pd.DataFrame(
    [
        *[(*key, "share") for key in columns],
        *[(*wide.columns[number], "minus control") for number in over_control[0]],
        *[(*wide.columns[number], "times even") for number in over_even[0]],
    ],
    columns=[*KEYS, "measure"],
)
result["value"], result["low"], result["high"] = bootstrap.interval(statistic, neuron_label, **study.resampling)
result.query("part == 'near'")

# %%
found = result.set_index([*KEYS, "measure"])[glue.ESTIMATE]


def percentage(*key):
    """`47% [39, 58]` for a share; `5 [−2, 11] percentage points` for a difference."""
    row = found.loc[key]
    text = glue.estimate_of(100 * row, 0).text
    return glue.Value(row["value"], text.replace(" ", "% ", 1) if key[-1] == "share" else f"{text} percentage points")


def gain_of(*key):
    """The difference from the control in words; it is resolved when its interval excludes zero."""
    return f"{percentage(*key).text} ({'resolved' if glue.resolved(found.loc[key]) else 'not resolved'})"


values = {
    "n_synapses": glue.count(len(drawn)),
    "n_neurons": glue.count(len(neurons)),
    "reach_nm": glue.number(REACH_NM, 0),
    "box_nm": glue.text("×".join(f"{size:.0f}" for size in BOX_NM)),
    "n_without_evidence": glue.count(without.sum()),
}
sentences = []
for seen, models in chosen.groupby("dimensionality", sort=False):
    key, label = seen.lower().replace(".", ""), models.set_index("role")["label"]
    values[f"model_{key}"] = glue.text(label["trained"])
    even = values[f"even_{key}"] = glue.percent(found.loc[(seen, "even", "even", "near", "share"), "value"])
    for method in METHODS:
        values[f"{method}_{key}"] = percentage(seen, "trained", method, "near", "share")
        if "control" in label:
            values[f"{method}_{key}_control"] = percentage(seen, "control", method, "near", "share")
            values[f"{method}_{key}_gain"] = percentage(seen, "trained", method, "near", "minus control")
    near = " and ".join(f"{values[f'{method}_{key}'].text} ({name})" for method, name in METHODS.items())
    sentence = (
        f"For {label['trained']}, {near} of the evidence lay within {REACH_NM:.0f} nm of the synapse's cleft, "
        f"compared with {even.text} for evenly spread evidence"
    )
    if "control" in label:
        gains = [f"{gain_of(seen, 'trained', m, 'near', 'minus control')} for {name}" for m, name in METHODS.items()]
        sentence += f"; the difference from the same network without training was {' and '.join(gains)}"
    sentences.append(f"{sentence}.")
values["where"] = glue.text(" ".join(sentences))
study.save(values, chosen=chosen, shares=shares, result=result, pictures=pictures)
