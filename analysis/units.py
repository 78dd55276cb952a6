# %% [markdown]
# # The first fault: units
#
# The three-dimensional networks of the earlier work scored at chance.
# Their cubes had been cut with positions in voxels read as nanometres along the third axis: consecutive slices were 40
# sections apart instead of one, so that a single slice showed the synapse.
# Here the same network is trained again, with the same settings, seed, synapses and split, on cubes cut with that
# mistake (`pipeline.extract.misread`).

# %%
import numpy as np
import pandas as pd

from pipeline import glue, labels
from pipeline.columns import CENTER_NM
from pipeline.extract import misread
from pipeline.learn.threshold import best_threshold
from pipeline.space import VoxelFrame
from pipeline.stats import bootstrap

METRICS = ["roc_auc", "balanced_accuracy", "accuracy"]

study = glue.study("analysis/units.py")
folder = study.build.units
name = study.read(folder / "model.json")["model"]
model = study.config.model(name)
whole = study.predictions(name)
sampled = (folder / "right.parquet").is_file()  # a large cohort: both networks were trained on a sample of it
right = study.read(folder / "right.parquet") if sampled else whole
predictions = {"right": right, "misread": study.read(folder / "predictions.parquet")}

# %% [markdown]
# ## Scores on the test neurons
#
# Each network has its own threshold, chosen on the validation neurons.
# The difference, correct minus misread, is taken on the same resampled neurons.

# %%
test, tau = {}, {}
for cubes, rows in predictions.items():
    validation = rows[rows["split"] == "val"]
    tau[cubes] = best_threshold(validation["label"], validation["p_excitatory"])
    test[cubes] = rows[rows["split"] == "test"]
scores = pd.concat(
    bootstrap.intervals(test[cubes], tau[cubes], **study.resampling).assign(cubes=cubes) for cubes in predictions
)
scores = scores[scores["metric"].isin(METRICS)].reset_index(drop=True)
difference = bootstrap.difference(*test.values(), *tau.values(), **study.resampling)
difference = difference[difference["metric"].isin(METRICS)].reset_index(drop=True)
scores

# %%
difference

# %% [markdown]
# ## Where the slices come from
#
# Slices that the mistake places beyond the volume were taken from other places in it, drawn at random.

# %%
manifest = study.read(folder / "patches" / "manifest.json")
frame, bounds_vx = VoxelFrame(tuple(manifest["source_resolution_nm"])), manifest["source_bounds_vx"]
synapses = study.read(study.build.synapses).set_index("synapse_id")


def lies_inside(synapse_id):
    """Which slices of a misread cube lie where the mistake places them, `[Z]`."""
    center_nm = synapses.loc[synapse_id, CENTER_NM].to_numpy(float)
    return misread.slice_centers(center_nm, study.config.extract, frame, bounds_vx, study.config.seed)[1]


depth = study.config.extract.cube_zyx[0]
section_um = study.config.extract.voxel_nm[2] / 1000
inside = np.stack([lies_inside(synapse_id) for synapse_id in test["right"]["synapse_id"]])
others = np.delete(inside, depth // 2, axis=1)

# %% [markdown]
# ## An example
#
# The excitatory test synapse to which the network trained on correct cubes gives the highest probability, in the slices
# around the middle of both cubes.

# %%
N_SHOWN = 5
example = test["right"].query("label == 1").set_index("synapse_id")["p_excitatory"].idxmax()
first = max(0, depth // 2 - N_SHOWN // 2)
pictures = []
images = {
    "right": study.patches([example], "cube")[0],
    "misread": study.patches([example], "cube", folder / "patches")[0],
}
for cubes, cube in images.items():
    step_um = section_um * (1 if cubes == "right" else misread.STEP)
    for z in range(first, min(first + N_SHOWN, depth)):
        y, x = np.indices(cube[z].shape)
        pictures.append(
            pd.DataFrame({"y": y.ravel(), "x": x.ravel(), "grey": cube[z].ravel()}).assign(
                cubes=cubes,
                offset_um=(z - depth // 2) * step_um,
                elsewhere=bool(cubes == "misread" and not lies_inside(example)[z]),
            )
        )
pictures = pd.concat(pictures, ignore_index=True)
example

# %%
_, n_seen = labels.input_of(model, study.config)
low, high = difference.set_index("metric").loc["roc_auc", ["low", "high"]]
resolved = "is resolved" if low > 0 else "is resolved in favour of misread cubes" if high < 0 else "is not resolved"
low, high = scores.set_index(["cubes", "metric"]).loc[("misread", "roc_auc"), ["low", "high"]]
chance = "remains above chance" if low > 0.5 else "is below chance" if high < 0.5 else "does not differ from chance"
values = {
    "model": glue.Value(name, labels.of_models(study.config)[name]),
    "step": glue.count(misread.STEP),
    "n_slices": glue.count(depth),
    "n_seen": glue.count(n_seen),
    "span_um": glue.number(depth * misread.STEP * section_um, 1),
    "right_span_um": glue.number(depth * section_um, 2),
    "elsewhere_share": glue.percent(1 - others.mean()),
    "synapses_used": glue.text(
        f"a fixed sample of {len(right):,} of the {len(whole):,} synapses"
        if sampled
        else f"all {len(right):,} synapses"
    ),
    "n_test_synapses": glue.count(len(test["right"])),
    "n_test_neurons": glue.count(test["right"]["pre_neuron_id"].nunique()),
    "resolved": glue.text(resolved),
    "chance": glue.text(chance),
}
for row in scores.itertuples():
    values[f"{row.cubes}_{row.metric}"] = glue.estimate_of(row)
for row in difference.itertuples():
    values[f"difference_{row.metric}"] = glue.estimate_of(row)
study.save(values, scores=scores, difference=difference, pictures=pictures)
