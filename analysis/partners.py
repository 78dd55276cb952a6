# %% [markdown]
# # Which two neurons a cleft joins
#
# Methods of partner assignment on the clefts of a tissue that no network was trained on, and four uses of them: the
# edges of a graph, a queue for proofreading, clefts with several postsynaptic partners, and a classifier that is given
# the presynaptic side.

# %%
import numpy as np
import pandas as pd
from IPython.display import display

from pipeline import glue, labels
from pipeline.columns import PARTNER_SEGMENTS
from pipeline.learn.threshold import best_threshold
from pipeline.partners import disagreement, graph
from pipeline.partners.polyadic import precision_recall
from pipeline.shards import Rows
from pipeline.stats import assignment, bootstrap

METHODS = labels.PARTNER_NETWORKS | labels.PARTNER_RULES
REPRESENTATIONS = {"mask": "cleft mask", "stdt": "STDT", "proximity": "signed proximity"}

study = glue.study("analysis/partners.py")
folder = study.build.partners
confidence = study.config.stats.confidence

# %% [markdown]
# ## Accuracy
#
# An assignment is correct when both partners and their direction are.
# A wrong pair is *reversed* if it is the true pair in the wrong direction, and a *wrong partner* if it contains another
# segment; a cleft without a pair is wrong too.
# Direction alone is the share of clefts whose true pair scores above its reversal, whichever pair was chosen.
# Clefts of one neuron resemble each other, and each belongs to two neurons: intervals and tests group them by their
# postsynaptic and by their presynaptic neuron, and the wider interval and the larger p-value are given.
# The exact sign-flip test exchanges two methods on all clefts of a neuron at once; Holm's adjustment is over all pairs
# of methods.

# %%
assignments = study.read_exact(folder / "assignments.parquet", [*PARTNER_SEGMENTS, *assignment.CELLS])
assignments["correctness"] = assignment.outcome(assignments)
methods = assignment.accuracy(assignments, confidence).set_index("method")
methods = methods.loc[[name for name in METHODS if name in methods.index]]
methods.insert(0, "label", methods.index.map(METHODS))
pairs = assignment.pairwise(assignments)
with_avan = pairs[(pairs[["method_a", "method_b"]] == "avan").any(axis=1)]
other = with_avan["method_a"].where(with_avan["method_a"] != "avan", with_avan["method_b"])
methods = methods.join(with_avan.set_index(other)[["p", "p_holm"]]).reset_index(names="method")
methods

# %%
pd.crosstab(assignments["method"], assignments["outcome"])

# %% [markdown]
# ## Accuracy against coverage
#
# The margin of a cleft is the lead of its pair over the next one.
# A user who keeps only the clefts with the largest margins should meet fewer errors; a method whose margin knows where
# it errs gains most.
# Clefts that the edge of the volume cuts are included, and counted separately.

# %%
COVERAGES = (0.5, 0.8, 0.9, 1.0)
margins = assignment.at_coverage(assignments, COVERAGES, confidence)
margins = margins[margins["method"].isin(methods["method"])]
at_edge = assignments[assignments["outcome"] == "assigned_at_edge"].groupby("method")["correctness"]
at_edge = at_edge.agg(n="size", right=lambda found: (found == "correct").sum())
at_edge = at_edge.reindex(methods["method"], fill_value=0)
display(at_edge)
margins.pivot(index="method", columns="coverage", values="value")

# %% [markdown]
# ## Clefts detected and given partners: the combined system
#
# An edge of the graph is correct when its cleft is detected and its partners are the true ones.
# Threshold and minimum size of each representation are those with the best F1 of edges in the validation region; the
# test tissue is measured at these settings alone.

# %%
OUTCOMES = (*graph.OF_TRUE, *graph.OF_PREDICTED)
detections = study.read(folder / "detections.parquet")
SETTING = ["representation", "threshold", "min_size_vx"]
chosen = detections.loc[detections["chosen"], SETTING].drop_duplicates()
if chosen["representation"].duplicated().any() or set(chosen["representation"]) != set(detections["representation"]):
    raise glue.StudyError(f"{folder / 'detections.parquet'} must choose one setting of each representation")
detections["label"] = detections["representation"].map(REPRESENTATIONS)
systems = detections[detections["chosen"]].pivot(index=[*SETTING, "label"], columns="region")
systems.columns = [f"{region}_{column}" for column, region in systems.columns]
systems = systems.reset_index().set_index("representation").loc[[r for r in REPRESENTATIONS if r in systems.index]]
systems = systems.reset_index()
best = systems.loc[systems["val_edge_f1"].idxmax()]
systems[["representation", "val_edge_f1", "test_edge_f1", "test_precision", "test_recall"]]

# %% [markdown]
# ## Where methods disagree
#
# All clefts detected in the test tissue, assigned partners by AVAN and by the proximity pruner.
# A proofreader would read only those on which the two disagree.
# Here the truth is known, so we can count the errors among these clefts, and also the clefts on which both methods
# agree and are wrong, which such proofreading never encounters.
# A detection that is no synapse has no true partners and is counted separately.

# %%
PAIRS = [f"{method}_{side}" for method in ("avan", "pruner") for side in ("pre", "post")]
queue = disagreement.queue(study.read_exact(folder / "volume.parquet", [*PAIRS, "true_pre", "true_post"]))
queue["disagree"] = queue["disagreement"] != ""
queue["real"] = queue["true_synapse_id"] > 0
for method in ("avan", "pruner"):
    correct = (queue[f"{method}_pre"] == queue["true_pre"]) & (queue[f"{method}_post"] == queue["true_post"])
    queue[f"{method}_wrong"] = queue["real"] & ~correct
queue["read"] = np.arange(1, len(queue) + 1)
for method in ("avan", "pruner"):
    queue[f"{method}_found"] = queue[f"{method}_wrong"].cumsum()
disputed = queue[queue["disagree"] & queue["real"]]
agreed = queue[~queue["disagree"] & queue["real"]]
cells = disputed.rename(columns={"true_pre": assignment.CELLS[0], "true_post": assignment.CELLS[1]})
p_disputed = assignment.difference_p(~disputed["avan_wrong"], ~disputed["pruner_wrong"], cells)
queue.groupby(["real", "disagreement"])[["avan_wrong", "pruner_wrong"]].agg(["size", "sum"])

# %% [markdown]
# ## Several postsynaptic partners
#
# Every segment beside the cleft whose score exceeds a threshold tuned on validation is assigned as postsynaptic.
# A true partner that is not among the candidates counts as missed.
# Partners of one cleft are not independent, so an interval is given only for the share of clefts with all true partners
# and no other, again with clefts grouped by the neurons that they belong to.

# %%
posts = study.read_exact(folder / "polyadic.parquet", ["segment_id"]).query("region == 'test'")
clefts = posts.assign(correct=posts["chosen"] == posts["is_post"]).groupby("synapse_id")
clefts = clefts.agg(n_posts=("n_posts", "first"), complete=("correct", "all"))
cells = assignments.drop_duplicates("synapse_id").set_index("synapse_id")[assignment.CELLS]
if not clefts.index.isin(cells.index).all():
    raise glue.StudyError(f"{folder / 'polyadic.parquet'} has test clefts that are not among the assignments")
polyadic = []
for n_posts, part in [("all", clefts), *((str(n), part) for n, part in clefts.groupby("n_posts"))]:
    edges = precision_recall(posts[posts["synapse_id"].isin(part.index)]).iloc[0].to_dict()
    complete, low, high = assignment.share(part["complete"], cells.loc[part.index], confidence)
    polyadic.append({"n_posts": n_posts, **edges, "complete": complete, "low": low, "high": high})
polyadic = pd.DataFrame(polyadic)
polyadic

# %% [markdown]
# ## From partners to identity
#
# A classifier that is also given the presynaptic mask predicted by AVAN, compared with the same network on the image
# alone.
# Thresholds are chosen on validation; the unit of the interval is the presynaptic neuron.

# %%


def settings(model):
    return model.model_dump(exclude={"name", "family", "channels"})


def scored(model):
    rows = study.predictions(model.name)
    val, test = (rows[rows["split"] == split].reset_index(drop=True) for split in ("val", "test"))
    return test, best_threshold(val["label"], val["p_excitatory"])


attention = []
for model in (model for model in study.config.models if model.reads_mask):
    bare = next((m for m in study.config.models if not m.reads_mask and settings(m) == settings(model)), None)
    if bare is None:
        raise glue.StudyError(f"model {model.name!r} has no counterpart on the image alone to be compared with")
    (ours, tau), (theirs, bare_tau) = scored(model), scored(bare)
    for what, result in (
        ("attention", bootstrap.intervals(ours, tau, **study.resampling)),
        ("bare", bootstrap.intervals(theirs, bare_tau, **study.resampling)),
        ("difference", bootstrap.difference(ours, theirs, tau, bare_tau, **study.resampling)),
    ):
        attention.append(result.assign(model=model.name, bare=bare.name, what=what))
attention = pd.concat(attention, ignore_index=True) if attention else pd.DataFrame()
attention

# %% [markdown]
# ## Examples
#
# For each method a cleft drawn at random from those that it assigned correctly, and one from those to which it assigned
# a wrong pair; where there is none, the correct one with the smallest margin, the least certain.
# Shown is the section with most of the cleft.

# %%
samples = folder / "samples" / "test"
stored = {name: Rows(samples / "samples.zarr" / name) for name in ("em", "cleft", "segments")}
row_of = study.read(samples / "index.parquet").set_index("synapse_id")["row"]
segments = study.read(samples / "segments.parquet")
voxel_nm = study.read(samples / "manifest.json")["voxel_nm"]


def examples(rows):
    """`(name, assignment)` of the two examples of one method, fewer where it is never correct."""
    correct, wrong = (rows[rows["correctness"].isin(of)] for of in (["correct"], ["reversed", "wrong_partner"]))
    if len(correct):
        yield "correct", correct.sample(1, random_state=study.config.seed).iloc[0]
    if len(wrong):
        yield "wrong", wrong.sample(1, random_state=study.config.seed).iloc[0]
    elif len(correct) > 1:
        yield "least certain", correct.sort_values("margin", kind="stable").iloc[0]


def side_of(local, row, pre, post):
    """1 where a voxel belongs to segment `pre`, 2 where to `post`, else 0."""
    number = segments[segments["row"] == row].set_index("segment_id")["local"]
    return sum(value * np.isin(local, number[number.index == side]) for value, side in ((1, pre), (2, post)))


pictures = []
for method in methods["method"]:
    for example, assigned in examples(assignments[assignments["method"] == method]):
        row = int(row_of[assigned["synapse_id"]])
        em, cleft, local = (array[[row]][0] for array in stored.values())
        z = (cleft == 1).sum(axis=(1, 2)).argmax()
        y, x = np.indices(em[z].shape)
        layers = {
            "grey": em[z],
            "cleft": cleft[z] == 1,
            "assigned": side_of(local[z], row, *assigned[PARTNER_SEGMENTS]),
            "true": side_of(local[z], row, *assigned[assignment.CELLS]),
        }
        pixels = {"y": y, "x": x} | layers
        of = {"method": method, "example": example, "outcome": assigned["correctness"], "margin": assigned["margin"]}
        pictures.append(pd.DataFrame({k: v.ravel() for k, v in pixels.items()}).assign(pixel_nm=voxel_nm[0], **of))
pictures = pd.concat(pictures, ignore_index=True)
pictures.groupby(["method", "example"], sort=False)["outcome"].first()

# %%
partners = study.config.partners
passes = {network.name: network.epochs for network in partners.networks}
values = {
    "n_clefts": glue.count(methods["n"].iloc[0]),
    "n_posts": glue.count(assignments["true_post_segment_id"].nunique()),
    "n_pres": glue.count(assignments["true_pre_segment_id"].nunique()),
    "passes": glue.text(", ".join(f"{passes[name]} ({label})" for name, label in labels.PARTNER_NETWORKS.items())),
    "passes_detectors": glue.text(
        ", ".join(f"{passes[f'detect_{row.representation}']} ({row.label})" for row in systems.itertuples())
    ),
}
for row in methods.itertuples():
    values |= {
        f"accuracy_{row.method}": glue.share(row.accuracy, row.low, row.high),
        f"direction_{row.method}": glue.share(row.direction_accuracy, row.direction_low, row.direction_high),
        f"reversed_{row.method}": glue.count(row.n_reversed),
        f"wrong_partner_{row.method}": glue.count(row.n_wrong_partner),
        f"unassigned_{row.method}": glue.count(row.n_unassigned),
    }
    if row.method != "avan":
        values |= {f"p_{row.method}": glue.p_value(row.p), f"p_holm_{row.method}": glue.p_value(row.p_holm)}
for row in margins.itertuples():
    values[f"accuracy_{row.method}_at_{100 * row.coverage:.0f}"] = glue.share(row.value, row.low, row.high)
for row in at_edge.itertuples():
    values |= {f"edge_{row.Index}": glue.count(row.n), f"edge_right_{row.Index}": glue.count(row.right)}
for row in systems.itertuples():
    key = row.representation
    for measure in ("edge_f1", "edge_precision", "edge_recall", "precision", "recall"):
        found = getattr(row, f"test_{measure}")  # where nothing is detected, precision is undefined
        values[f"{key}_{measure}"] = glue.text("undefined") if np.isnan(found) else glue.number(found)
    for outcome in OUTCOMES:
        values[f"{key}_n_{outcome}"] = glue.count(getattr(row, f"test_n_{outcome}"))
values |= {
    "n_true_test": glue.count(best["test_n_true"]),
    "best_representation": glue.text(best["label"]),
    "best_edge_f1": glue.number(best["test_edge_f1"]),
    "f1_by_representation": glue.text(
        ", ".join(f"{glue.number(row.test_edge_f1).text} ({row.label})" for row in systems.itertuples())
    ),
    "n_detected": glue.count(len(queue)),
    "n_detected_false": glue.count((~queue["real"]).sum()),
    "n_disagreements": glue.count(queue["disagree"].sum()),
    "n_disputed": glue.count(len(disputed)),
    "share_disagreements": glue.percent(queue["disagree"].mean() if len(queue) else 0, 1),
    "disputed_errors_avan": glue.count(disputed["avan_wrong"].sum()),
    "disputed_errors_pruner": glue.count(disputed["pruner_wrong"].sum()),
    "disputed_p": glue.p_value(p_disputed),
    "agreed_errors": glue.count(agreed["avan_wrong"].sum()),
    "n_agreed": glue.count(len(agreed)),
}
whole = polyadic.iloc[0]
values |= {
    "n_polyadic": glue.count(whole["n_clefts"]),
    "n_polyadic_posts": glue.count(whole["n_true"]),
    "polyadic_precision": glue.percent(whole["precision"], 1),
    "polyadic_recall": glue.percent(whole["recall"], 1),
    "polyadic_complete": glue.share(whole["complete"], whole["low"], whole["high"]),
}

# %%
sentences = []
for name, rows in attention.groupby("model", sort=False) if len(attention) else ():
    auc = rows[rows["metric"] == "roc_auc"].set_index("what")
    ours, theirs, gain = (glue.estimate_of(auc.loc[what]) for what in ("attention", "bare", "difference"))
    values |= {f"{name}_roc_auc": ours, f"{name}_bare_roc_auc": theirs, f"{name}_gain": gain}
    label = labels.of_models(study.config)[rows["bare"].iloc[0]]
    resolved = "is resolved" if glue.resolved(auc.loc["difference"]) else "is not resolved"
    sentences.append(
        f"The network {label} had a test AUC of {theirs.text} on the image alone and of {ours.text} "
        f"with the mask; the difference, {gain.text}, {resolved}."
    )
values["attention"] = glue.text(
    " ".join(sentences) or "This edition has no pair of classifiers with and without that mask."
)
results = {"methods": methods, "detections": detections, "systems": systems, "queue": queue, "polyadic": polyadic}
study.save(values, **results, margins=margins, pictures=pictures)
