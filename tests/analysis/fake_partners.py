"""Files of `partners/` with plausible content, for its analysis, figures and tables; see `fake_build` for the rest.

Segment ids lie above 2^53 and one apart, so that whoever takes them for floats confuses partners.
"""

import numpy as np
import pandas as pd
import zarr
from fake_build import build_fake

from pipeline import artefacts, shards
from pipeline.artefacts import Build

FIRST_ID = np.uint64(2**63)
VOXEL_NM = (16.0, 16.0, 40.0)
SHAPE_ZYX = (9, 48, 48)
N = 160  # clefts of the test tissue
N_POSTS = 20  # their postsynaptic neurons, each with every twentieth cleft; the presynaptic ones have one each
POST_ID = FIRST_ID + np.uint64(10_000)

#: Clefts that a method gets wrong: (direction, identity, no pair given).
ERRORS = {
    "avan": ((3,), (7,), ()),
    "mask_pruner": ((3, 11), (20, 21), ()),
    "proximity_pruner": ((5,), (7, 20), (30,)),
    "largest_overlap": (tuple(range(40, 115)), tuple(range(5)), (30,)),
    "darker_is_pre": (tuple(range(60, 68)), (2,), (30,)),
    "random_direction": (tuple(range(0, 160, 2)), (), (31,)),
}
#: Of each representation: the threshold with the best validation F1.
CHOSEN = {"mask": 0.5, "stdt": 0.0, "proximity": 0.4}
NETWORKS = [
    {"name": name, "epochs": 1 + number}
    for number, name in enumerate(
        ("avan", "mask_pruner", "proximity_pruner", "detect_mask", "detect_stdt", "detect_proximity")
    )
]
MODELS = (
    {"name": "cnn", "network": "cnn"},
    {"name": "cnn_untrained", "network": "cnn", "trained": False},
    {"name": "cnn_attention", "network": "cnn", "channels": ["em", "presynaptic"]},
)


def build_fake_partners(folder, models=MODELS[:2], seed=3):
    """`(build, environment)` of a fake build with the files of `partners/`."""
    _, root, environment = build_fake(folder, models, partners={"networks": NETWORKS})
    build = Build("fake", root)
    write_partners(build.partners, np.random.default_rng(seed))
    return build, environment


def write_partners(folder, rng):
    truth = pd.DataFrame({"synapse_id": np.arange(N) + 900})
    truth["true_pre_segment_id"] = FIRST_ID + np.arange(N, dtype=np.uint64) * np.uint64(4)
    truth["true_post_segment_id"] = POST_ID + np.uint64(4) * (np.arange(N, dtype=np.uint64) % np.uint64(N_POSTS))
    artefacts.write_parquet(folder / "assignments.parquet", _assignments(truth, rng))
    artefacts.write_parquet(folder / "detections.parquet", _detections())
    artefacts.write_parquet(folder / "volume.parquet", volume_rows(rng))
    artefacts.write_parquet(folder / "polyadic.parquet", _polyadic(rng))
    _samples(folder / "samples" / "test", truth, rng)


def _assignments(truth, rng):
    tables = []
    for method, (direction, identity, none) in ERRORS.items():
        rows = truth.assign(method=method, outcome="assigned")
        pre, post = (truth[f"true_{side}_segment_id"].to_numpy().copy() for side in ("pre", "post"))
        direction, identity, none = (np.array(part, dtype=int) for part in (direction, identity, none))
        pre[direction], post[direction] = post[direction], pre[direction]
        post[identity] += np.uint64(1)
        pre[none] = post[none] = 0
        rows["confidence"] = rng.uniform(0.6, 1, N)
        rows["margin"] = rng.uniform(0.05, 0.6, N)
        rows.loc[none, ["confidence", "margin"]] = np.nan
        rows.loc[none, "outcome"] = "one_segment"
        rows["direction_right"] = pd.array(~np.isin(np.arange(N), direction), dtype="boolean")
        rows.loc[none, "direction_right"] = pd.NA
        rows.loc[[150, 151], "outcome"] = "assigned_at_edge"
        tables.append(rows.assign(pre_segment_id=pre, post_segment_id=post))
    return pd.concat(tables, ignore_index=True)


def _detections():
    """Every setting on validation, the chosen one on test, as the grid search writes them."""
    rows = []
    for representation, best in CHOSEN.items():
        for threshold in np.round(best + np.array([-0.3, -0.2, -0.1, 0, 0.1, 0.2]), 2):
            for min_size in (10, 40):
                chosen = threshold == best and min_size == 10
                fall = (threshold - best) ** 2 + (min_size - 10) / 1000
                for region in ("val", "test")[: 1 + chosen]:
                    f1 = 0.9 - fall - 0.05 * (representation == "proximity") - 0.01 * (region == "test")
                    rows.append(
                        {
                            "representation": representation, "region": region, "threshold": threshold,
                            "min_size_vx": min_size, "n_true": N, "n_predicted": 150, "matched_true": 144,
                            "matched_predicted": 141, "precision": 141 / 150, "recall": 144 / N,
                            "edge_precision": f1 + 0.01, "edge_recall": f1 - 0.01, "edge_f1": f1, "n_correct": 137,
                            "n_wrong_partner": 3, "n_reversed": 2, "n_unassigned": 2, "n_merged": 4,
                            "n_missed": 12, "n_split": 1, "n_false": 9, "chosen": chosen,
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def volume_rows(rng, n=300):
    """Detected clefts: 30 are false, the methods disagree on 24 true ones, and make the same error on 2."""
    at = np.arange(n)
    rows = pd.DataFrame({"cleft_id": at + 1, "size_vx": rng.integers(20, 400, n)})
    for axis in "xyz":
        rows[f"{axis}_nm"] = rng.uniform(500, 4000, n).round()
    real = at >= 30
    pre = FIRST_ID + at.astype(np.uint64) * np.uint64(4)
    rows["true_synapse_id"] = np.where(real, at + 900, 0)
    rows["true_pre"], rows["true_post"] = np.where(real, pre, np.uint64(0)), np.where(real, pre + np.uint64(1), 0)
    rows = rows.astype({"true_pre": np.uint64, "true_post": np.uint64})
    for method in ("avan", "pruner"):
        rows[f"{method}_pre"], rows[f"{method}_post"] = pre, pre + np.uint64(1)
        rows[f"{method}_confidence"] = rng.uniform(0.7, 1, n)
    rows["avan_margin"] = rng.uniform(0.2, 0.9, n)
    wrong = {"avan": (*range(40, 50), 7, 100, 101), "pruner": (*range(50, 64), 8, 100, 101)}
    for method, clefts in wrong.items():
        rows.loc[list(clefts), f"{method}_post"] += np.uint64(1)
    rows.loc[list(range(40, 50)), "avan_margin"] = rng.uniform(0.0, 0.2, 10)
    rows.loc[45, ["avan_pre", "avan_post"]] = np.uint64(0)  # AVAN gives no pair
    rows.loc[45, ["avan_confidence", "avan_margin"]] = np.nan
    return rows


def _polyadic(rng):
    rows = []
    for synapse in range(60):
        n_posts = 2 + synapse % 3
        region = "val" if synapse < 20 else "test"
        for segment in range(n_posts + 2):
            is_post = segment < n_posts
            score = rng.beta(6, 2) if is_post else rng.beta(2, 6)
            if segment == 0 and synapse % 10 == 9:
                score = np.nan  # a partner that is no candidate: it can only be missed
            rows.append((synapse + 900, region, FIRST_ID + np.uint64(segment), score, is_post, score > 0.5, n_posts))
    columns = ["synapse_id", "region", "segment_id", "score", "is_post", "chosen", "n_posts"]
    return pd.DataFrame(rows, columns=columns).astype({"segment_id": np.uint64})


def _samples(folder, truth, rng):
    """Two cells on either side of a cleft in the middle; the third segment lies beside the postsynaptic one."""
    z, y, x = np.indices(SHAPE_ZYX)
    local = np.where(x < 22, 1, np.where(y < 32, 2, 3)).astype(np.uint16)
    cleft = ((abs(x - 22) <= 1) & (abs(y - 24) <= 6) & (abs(z - 4) <= 1)).astype(np.uint8)
    em = np.clip(150 - 40 * (x < 22) + rng.normal(0, 20, SHAPE_ZYX), 0, 255).astype(np.uint8)
    group = zarr.open_group(folder / "samples.zarr", mode="w")
    for name, array in (("em", em), ("cleft", cleft), ("segments", local)):
        axes, dtype = ("n", "z", "y", "x"), str(array.dtype)
        stored = shards.create(group, name, (N, *SHAPE_ZYX), shards.MAX_ROWS, axes, dtype, name != "em")
        stored[:] = np.broadcast_to(array, stored.shape)
    row = np.arange(N)
    segments = pd.DataFrame({"row": np.repeat(row, 3), "local": np.tile([1, 2, 3], N).astype(np.uint16)})
    pre, post = (truth[f"true_{side}_segment_id"].to_numpy() for side in ("pre", "post"))
    segments["segment_id"] = np.stack([pre, post, post + np.uint64(1)], axis=1).ravel()
    artefacts.write_parquet(folder / "segments.parquet", segments)
    index = truth.rename(columns={f"true_{side}_segment_id": f"{side}_segment_id" for side in ("pre", "post")})
    index = index.assign(row=row, region="test", padded=0.0, at_edge=False, fault="")
    for axis in "xyz":
        index[f"center_{axis}_nm"] = rng.uniform(500, 4000, N)
    artefacts.write_parquet(folder / "index.parquet", index)
    artefacts.write_json(folder / "manifest.json", {"voxel_nm": VOXEL_NM, "shape_zyx": SHAPE_ZYX, "seed": 3})
