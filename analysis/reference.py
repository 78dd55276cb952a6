# %% [markdown]
# # Real tissue and real connectivity
#
# What the published networks do on real data, from statistics that `make real` measured.
# The data are not part of the repository, and nothing was trained on them, apart from what is marked.
# Statistics of a folder that is given beside the edition (`DATA`) are computed again and replace those of the
# repository, which are called *reference runs*.

# %%
import pandas as pd

from pipeline import artefacts, glue, labels, reference

FILES = {
    "kasthuri": "paper/reference/kasthuri_ac3.json",
    "pixels": "paper/reference/minnie65_pixels.json",
    "wiring": "paper/reference/minnie65_connectome.json",
}
PUBLISHED = (
    "pretrained/avan/model.safetensors",
    "pretrained/cnn/model.safetensors",
    "pretrained/unet3d/model.safetensors",
)
FLOORS = {
    "dark_post": "Dark postsynaptic side",
    "smooth_pre": "Smooth bouton",
    "dark_and_smooth": "Mean rank of these two",
    "spine": "On a spine",
}

study = glue.study("analysis/reference.py")
given = study.config.data and study.config.data.resolve().name
runs, values = {}, {}
for key, file in FILES.items():
    own = study.folder is not None and f"{given}.json" == file.rpartition("/")[2]
    runs[key] = reference.load(study.folder.statistics if own else artefacts.REPOSITORY / file, PUBLISHED)
    made = runs[key].provenance
    values[f"{key}_run"] = glue.text(
        "computed with this page" if own else f"reference run of {made.finished:%-d %B %Y}, commit {made.commit[:7]}"
    )
    values[f"{key}_command"] = glue.text(made.command)
for key, run in runs.items():
    wanted = {"kasthuri": {"kasthuri_ac3"}, "pixels": {"cubes", "patches"}, "wiring": set()}[key]
    if set(run.tissues) != wanted or bool(run.connectivity) != (key == "wiring"):
        raise glue.StudyError(f"{FILES[key]}, keys tissues and connectivity: not of this folder; run `make real` again")
pd.DataFrame({key: run.provenance.model_dump(include={"command", "commit", "finished"}) for key, run in runs.items()}).T

# %% [markdown]
# ## Synapses
#
# Labels are those of the presynaptic cell.
# In `patches` the presynaptic cell of most synapses is not known, and each counts as a neuron of its own.

# %%
tissues = {name: tissue for run in runs.values() for name, tissue in run.tissues.items()}
sample = pd.DataFrame({"tissue": name} | row.model_dump() for name, tissue in tissues.items() for row in tissue.sample)
sample

# %% [markdown]
# ## Excitatory or inhibitory
#
# ROC AUC of published networks, of their untrained controls, and of floors, which need no network.
# The texture of the bouton was chosen with the synapses of `kasthuri_ac3` in view, which favours it there.

# %%
scores = pd.DataFrame({"tissue": name} | row.model_dump() for name, tissue in tissues.items() for row in tissue.scores)
network = scores["score"].str.partition("_untrained")
scores["label"] = (
    scores["score"]
    .map(FLOORS)
    .fillna(
        network[0].map(labels.NETWORKS) + network[1].str.replace("_", ", ") + network[2].str.replace("_seed", ", seed ")
    )
)
glue.require(scores["label"].notna().all(), "every score has a name")
scores

# %% [markdown]
# ## Direction
#
# Share of true pairs of partners that are directed correctly.
# A network that was tuned on these very synapses is marked: its share is no test.

# %%
direction = pd.DataFrame(
    {"tissue": name} | row.model_dump() for name, tissue in tissues.items() for row in tissue.direction
)
direction["label"] = direction["method"].map(labels.PARTNER_NETWORKS | labels.PARTNER_RULES)
direction

# %% [markdown]
# ## What does not apply

# %%
pd.DataFrame({name: pd.Series(tissue.left_out, dtype=object) for name, tissue in tissues.items()}).stack()

# %%
real = scores[scores["tissue"] == "kasthuri_ac3"]
for row in sample[sample["tissue"] == "kasthuri_ac3"].itertuples():
    values[f"n_{row.subset}"] = glue.count(row.n_excitatory + row.n_inhibitory)
    values[f"n_{row.subset}_inhibitory"] = glue.count(row.n_inhibitory)
    values[f"n_{row.subset}_inhibitory_axons"] = glue.count(row.n_inhibitory_neurons)
glue.require(
    values["n_all_inhibitory"] == values["n_shaft_inhibitory"], "all inhibitory synapses of kasthuri_ac3 lie on shafts"
)
for row in real.itertuples():
    values[f"{row.score}_{row.subset}"] = glue.estimate_of(row)
for key, rows in {
    "all": real[real["subset"] == "all"],
    "shaft": real[real["subset"] == "shaft"],
    "patches": scores[scores["tissue"] == "patches"],
}.items():
    controls = rows.loc[rows["kind"] == "control", "value"]
    if controls.empty:
        raise glue.StudyError(f"{key}: no untrained control was run on real tissue; see docs/real-em.md")
    ends = " to ".join(glue.number(end).text for end in (controls.min(), controls.max()))
    values[f"controls_{key}"] = glue.Value(controls.tolist(), f"{ends} ({len(controls)} networks)")
for row in direction.itertuples():
    values[f"{row.method}_{row.tissue}"] = glue.text(f"{row.n_right} of {row.n}")
values["cnn_patches"] = glue.estimate_of(scores.query("tissue == 'patches' and score == 'cnn'").iloc[0])
values["n_patches"] = glue.count(int(sample.query("tissue == 'patches'").eval("n_excitatory + n_inhibitory").sum()))
tuned = direction.query("in_sample")[["method", "tissue"]].to_numpy().tolist()
glue.require(tuned == [["avan", "kasthuri_ac3"]], "AVAN was tuned on kasthuri_ac3, and no other network on these data")
for name in ("n_connections", "n_neurons", "all_boosting_connection", "all_logistic_connection", "all_boosting_neuron"):
    entry = runs["wiring"].connectivity.get(name)
    if entry is None:
        raise glue.StudyError(f"{FILES['wiring']}, key connectivity.{name}: missing; run `make real` again")
    values[f"wiring_{name}"] = glue.Value(entry.value, entry.text)
study.save(values, sample=sample, scores=scores, direction=direction)
