# %% [markdown]
# # Cohort: synapses, neurons and the split into sets
#
# Every synapse carries the class of its presynaptic neuron.
# The filters, the split and the audit were computed by `pipeline.cohort`; this page summarises them.

# %%
import pandas as pd

from pipeline import glue

study = glue.study("analysis/cohort.py")
synapses = study.read(study.build.synapses)
audit = study.read(study.build.cohort / "audit.json")
conflicts = study.read(study.build.cohort / "conflicts.csv")

# %% [markdown]
# ## Filters
#
# What remains after each step, in order.
# Filters on neurons come first; synapses were fetched only for the neurons that passed them.

# %%
flow = pd.DataFrame(study.read(study.build.cohort / "flow.json")).astype({"neurons": "Int64", "synapses": "Int64"})
flow

# %% [markdown]
# ## Sets
#
# All synapses of a presynaptic neuron are in the same set, so that a network that has learned to recognise single
# neurons gains nothing from it at test time.

# %%
sets = {"train": "training", "val": "validation", "test": "test"}
rows = []
for split, title in [*sets.items(), (None, "all")]:
    chosen = synapses if split is None else synapses[synapses["split"] == split]
    for label, name in glue.CLASSES.items():
        of_class = chosen[chosen["label"] == label]
        per_neuron = of_class.groupby("pre_neuron_id").size()
        rows.append(
            {
                "set": title,
                "class": name,
                "neurons": len(per_neuron),
                "synapses": len(of_class),
                "median_per_neuron": per_neuron.median() if len(per_neuron) else None,
            }
        )
splits = pd.DataFrame(rows)
splits

# %% [markdown]
# ## Audit of leakage
#
# What two sets have in common.
# A shared presynaptic neuron would give its label away, so there must be none.
# Shared postsynaptic neurons and overlapping cubes are counted, since they could carry staining or context from one set
# to the other.

# %%
checks = []
for pair, shared in audit["shared_presynaptic_neurons"].items():
    post, cubes = audit["shared_postsynaptic_neurons"][pair], audit["overlapping_cubes"][pair]
    checks.append(
        {
            "sets": " and ".join(sets[split] for split in pair.split("-")),
            "shared_presynaptic": shared,
            "shared_postsynaptic": post["neurons"],
            "overlapping_cubes": cubes["pairs"],
            "synapses_in_overlap": sum(cubes["synapses"]),
        }
    )
columns = ["sets", "shared_presynaptic", "shared_postsynaptic", "overlapping_cubes", "synapses_in_overlap"]
checks = pd.DataFrame(checks, columns=columns)
checks

# %% [markdown]
# ## Label conflicts
#
# Cells on whose class the cell-type tables disagree, and how each conflict was decided.

# %%
conflicts.groupby(["decision", "reason"]).size().rename("cells").reset_index()

# %%
values = {
    "n_synapses": glue.count(len(synapses)),
    "n_neurons": glue.count(synapses["pre_neuron_id"].nunique()),
    "n_conflicts": glue.count(len(conflicts)),
    "n_excluded_conflicts": glue.count((conflicts["decision"] != "kept").sum()),
    "n_shared_presynaptic": glue.count(checks["shared_presynaptic"].sum()),
    "n_overlapping_cubes": glue.count(checks["overlapping_cubes"].sum()),
    "inhibitory_share": glue.percent((synapses["label"] == 0).mean()),
    "median_synapses_per_neuron": glue.number(synapses.groupby("pre_neuron_id").size().median(), 0),
}
for label, name in glue.CLASSES.items():
    of_class = synapses[synapses["label"] == label]
    values[f"n_{name}_synapses"] = glue.count(len(of_class))
    values[f"n_{name}_neurons"] = glue.count(of_class["pre_neuron_id"].nunique())
for split in sets:
    in_set = synapses[synapses["split"] == split]
    values[f"n_{split}_synapses"] = glue.count(len(in_set))
    values[f"n_{split}_neurons"] = glue.count(in_set["pre_neuron_id"].nunique())
study.save(values, flow=flow, splits=splits, audit=checks)
