# %% [markdown]
# # The simulated tissue
#
# Everything here is read from the volumes and from the truth that the simulation wrote with them.
# It describes the output of a program and not a brain.

# %%
import numpy as np
import pandas as pd
from cloudvolume import CloudVolume
from sklearn.metrics import roc_auc_score

from pipeline import artefacts, glue, reference
from pipeline.extract import junction

study = glue.study("analysis/simulation.py")
if not study.simulated:
    raise glue.StudyError(f"config {study.config.name!r} is not simulated: it has no tissue with a known truth")
source = study.build.source
volumes = {
    name: CloudVolume(f"file://{(source / name).resolve()}", mip=0, progress=False)
    for name in ("em", "segmentation", "clefts")
}
neurons = study.read(source / "truth" / "neurons.parquet")
synapses = study.read(source / "truth" / "synapses.parquet")

# %% [markdown]
# ## Size and counts

# %%
em = volumes["em"]
resolution_nm = np.array(em.resolution, dtype=float)
size_um = np.array(em.volume_size) * resolution_nm / 1000
volume_um3 = float(size_um.prod())
presynaptic = neurons[neurons["presynaptic"]]
summary = pd.DataFrame(
    {
        "class": name,
        "neurons": int((presynaptic["label"] == label).sum()),
        "synapses": int((synapses["label"] == label).sum()),
        "on_spine": float(synapses.loc[synapses["label"] == label, "on_spine"].mean()),
    }
    for label, name in glue.CLASSES.items()
)
summary

# %% [markdown]
# ## What differs between the classes
#
# For each property, the area under the ROC curve that it alone would reach if it could be read without error, in
# whichever direction it separates the classes: 0.5 is chance and 1 is perfect.
# The distributions overlap, so no single property is enough.

# %%
PROPERTIES = {
    "size": "cleft size (voxels)",
    "psd_thickness_nm": "PSD thickness (nm)",
    "n_vesicles": "vesicles",
    "vesicle_diameter_nm": "vesicle diameter (nm)",
    "vesicle_flatness": "vesicle flatness",
}
rows = []
for name, label in PROPERTIES.items():
    by_class = synapses.groupby("label")[name]
    area = roc_auc_score(synapses["label"], synapses[name])
    rows.append(
        {
            "property": name,
            "label": label,
            "excitatory_mean": by_class.mean()[1],
            "excitatory_sd": by_class.std()[1],
            "inhibitory_mean": by_class.mean()[0],
            "inhibitory_sd": by_class.std()[0],
            "auc": max(area, 1 - area),
        }
    )
properties = pd.DataFrame(rows)
properties

# %% [markdown]
# ## A section to look at
#
# Among the middle third of the sections, the one with the most cleft pixels in a central window; missing sections,
# which are black, are left out.

# %%
WINDOW_UM = 5.0

size_vx = np.array(em.volume_size)
offset_vx = np.array(em.voxel_offset)
side_vx = np.minimum(size_vx[:2], (WINDOW_UM * 1000 / resolution_nm[:2]).astype(int))
corner_vx = offset_vx[:2] + (size_vx[:2] - side_vx) // 2
middle_vx = range(int(offset_vx[2] + size_vx[2] // 3), int(offset_vx[2] + np.ceil(size_vx[2] * 2 / 3)))
window = tuple(slice(int(low), int(low + side)) for low, side in zip(corner_vx, side_vx, strict=True))


def section(name, z_vx):
    """One section of the window, `[Y, X]`."""
    return np.asarray(volumes[name][(*window, slice(z_vx, z_vx + 1))])[:, :, 0, 0].T


clefts_in = {z: int((section("clefts", z) > 0).sum()) for z in middle_vx if section("em", z).any()}
if not clefts_in:
    raise glue.StudyError(f"every section in the middle of {source / 'em'} is black")
z_vx = max(clefts_in, key=clefts_in.get)

# %% [markdown]
# Segment ids are replaced by small numbers, with 0 for none.
# The id of a cleft is that of its synapse, which gives its class; contacts too small to be listed as synapses have no
# class.

# %%
ids = section("segmentation", z_vx)
_, segment = np.unique(np.append(ids.ravel(), np.uint64(0)), return_inverse=True)  # so that 0 stays 0
clefts = section("clefts", z_vx)
y, x = np.indices(clefts.shape)
overview = pd.DataFrame({"y": y.ravel(), "x": x.ravel(), "grey": section("em", z_vx).ravel()})
overview["segment"] = segment[:-1]
overview["cleft_id"] = clefts.ravel().astype(np.int64)
label_of = synapses.set_index("synapse_id")["label"]
overview["cleft_label"] = overview["cleft_id"].map(label_of).astype("Int8")
cleft_label = overview.dropna().groupby("cleft_id")["cleft_label"].first()
pd.DataFrame({"clefts": cleft_label.map(glue.CLASSES).value_counts()})

# %% [markdown]
# ## Across the junction
#
# Mean grey level by the distance from the middle between the partners, negative in the bouton, in the section that
# holds the synapse; relative to the median and range of a patch around it, so that volumes can be compared.
# Real tissue is kasthuri_ac3, which has few inhibitory synapses.

# %%
known = synapses.rename(columns={"pre_neuron_id": "pre_segment_id", "post_neuron_id": "post_segment_id"})
paths = [f"precomputed://file://{(source / name).resolve()}" for name in ("em", "segmentation")]
ours = junction.profiles(known, *paths)
kasthuri = reference.load(artefacts.REPOSITORY / "paper/reference/kasthuri_ac3.json").tissues["kasthuri_ac3"]
real = pd.DataFrame(kasthuri.junctions.model_dump())
junctions = pd.concat([ours.assign(tissue="ours"), real.assign(tissue="real")], ignore_index=True)
deviation = ours.merge(real, on=["label", "distance_nm"], suffixes=("", "_real"))
deviation["difference"] = deviation["grey"] - deviation["grey_real"]
behind = deviation.query("label == 1 and distance_nm > 0 and n_synapses_real >= 30")  # the postsynaptic side
largest = behind.loc[behind["difference"].abs().idxmax()]
junctions.pivot_table(index="distance_nm", columns=["tissue", "label"], values="grey")

# %%
values = {
    "volume_um3": glue.count(round(volume_um3)),
    "size_um": glue.Value(size_um.tolist(), " × ".join(glue.number(side, 1).text for side in size_um) + " µm"),
    "n_presynaptic_neurons": glue.count(len(presynaptic)),
    "n_synapses": glue.count(len(synapses)),
    "synapses_per_um3": glue.number(len(synapses) / volume_um3),
    "overview_um": glue.number(side_vx[0] * resolution_nm[0] / 1000, 1),
    "overview_pixel_nm": glue.number(resolution_nm[0], 0),
    "n_overview_clefts": glue.count(len(cleft_label)),
    "n_profiled": glue.count(int(ours.groupby("label")["n_synapses"].max().sum())),
    "n_real_excitatory": glue.count(int(real.loc[real["label"] == 1, "n_synapses"].max())),
    "n_real_inhibitory": glue.count(int(real.loc[real["label"] == 0, "n_synapses"].max())),
    "largest_profile_deviation": glue.percent(abs(largest["difference"])),
    "largest_profile_deviation_at": glue.number(largest["distance_nm"], 0),
    "best_property": glue.text(properties.loc[properties["auc"].idxmax(), "label"].split(" (")[0]),  # without unit
    "best_property_auc": glue.number(properties["auc"].max()),
}
for row in summary.itertuples():
    name = row[1]
    values[f"n_{name}_neurons"] = glue.count(row.neurons)
    values[f"n_{name}_synapses"] = glue.count(row.synapses)
    values[f"{name}_on_spine"] = glue.percent(row.on_spine)
for row in properties.itertuples():
    values[f"{row.property}_auc"] = glue.number(row.auc)
distributions = synapses[["label", "on_spine", *PROPERTIES]]
study.save(
    values, summary=summary, properties=properties, overview=overview, distributions=distributions, junctions=junctions
)
