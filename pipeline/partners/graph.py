"""The combined system: detected clefts with their assigned pairs, against the true graph with one edge a synapse.

An edge is right where the detected cleft is the true one and both of its neurons are, in this direction. Three tables
go in: `predicted` has `cleft_id, size_vx, center_{x,y,z}_nm, pre_segment_id, post_segment_id` (ids 0: no pair),
`truth` has `synapse_id, size_vx, pre_segment_id, post_segment_id`, and `shared` are their `detections.overlaps`.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from pipeline.columns import CENTER_NM, PARTNER_SEGMENTS
from pipeline.partners.detections import matches

#: Detections of the same ordered pair whose centres are no further apart are pieces of one synapse. In sections of
#: 40 nm a thin oblique cleft is not connected: of the 1,708 true ones of the simulated demo tissue 283 fell into
#: pieces. This distance joins them all, and merges 2 pairs of synapses (500 nm: 5 pairs).
JOIN_NM = 400.0

#: What became of a true synapse: it was found and its pair assigned correctly, with a wrong partner, reversed, or not
#: at all; it was lost in a detected cleft that belongs to another synapse; or it was not found.
OF_TRUE = ("correct", "wrong_partner", "reversed", "unassigned", "merged", "missed")
#: What else was predicted: a further piece of a cleft that has its detection, or no cleft at all.
OF_PREDICTED = ("split", "false")

Detected = tuple[pd.DataFrame, pd.DataFrame]  # `predicted` and `shared`


def join_pieces(predicted: pd.DataFrame, shared: pd.DataFrame) -> Detected:
    """One edge a synapse: `(predicted, shared)` with the pieces of a synapse (see JOIN_NM) made one detection.

    It has the id, centre and pair of its largest piece, and all of their voxels. Detections without a pair stay as they
    are. As in Turner et al.'s pipeline, pieces can be known only by their partners, that is after assignment.
    """
    predicted = predicted.sort_values(["size_vx", "cleft_id"], ascending=[False, True], ignore_index=True)
    links = KDTree(predicted[CENTER_NM].to_numpy()).query_pairs(JOIN_NM, output_type="ndarray")
    edges = predicted[PARTNER_SEGMENTS].to_numpy(np.uint64)
    first, second = links[((edges[links[:, 0]] == edges[links[:, 1]]) & (edges[links[:, 0]] != 0)).all(1)].T
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(predicted),) * 2)
    _, group = connected_components(graph, directed=False)
    _, largest = np.unique(group, return_index=True)
    whole = predicted["cleft_id"].to_numpy()[largest][group]  # of each piece
    joined = predicted.iloc[np.sort(largest)].set_index("cleft_id")
    joined["size_vx"] = predicted.groupby(whole)["size_vx"].sum()
    name = dict(zip(predicted["cleft_id"], whole, strict=True))
    shared = shared[shared["cleft_id"].isin(name)]
    shared = shared.assign(cleft_id=shared["cleft_id"].map(name).astype(predicted["cleft_id"].dtype))
    return joined.reset_index(), shared.groupby(["cleft_id", "synapse_id"], as_index=False)["n_vx"].sum()


def matched(predicted: pd.DataFrame, shared: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """The `detections.matches` of the two tables' clefts.

    Raises ValueError for synapses of unknown partners, and clefts or synapses that occur twice.
    """
    for table, key in ((predicted, "cleft_id"), (truth, "synapse_id")):
        if table[key].duplicated().any():
            raise ValueError(f"{key} occurs twice: {table[key][table[key].duplicated()].tolist()[:5]}")
    unknown = truth["synapse_id"][(truth[PARTNER_SEGMENTS] == 0).any(axis=1)]
    if len(unknown):
        raise ValueError(f"{len(unknown)} synapses have no true partners to compare with: {unknown.tolist()[:5]}")
    sizes = (
        dict(zip(table[key], table["size_vx"], strict=True))
        for table, key in ((predicted, "cleft_id"), (truth, "synapse_id"))
    )
    return matches(shared, *sizes)


def outcomes(predicted: pd.DataFrame, truth: pd.DataFrame, matches: pd.DataFrame) -> pd.DataFrame:
    """One row a true synapse, then one a detected cleft that is none's: `synapse_id, cleft_id, outcome`.

    Outcomes are those of OF_TRUE and OF_PREDICTED; ids are 0 where there is none. Where several detections match a
    synapse, or several synapses a detection, the pair of the largest overlap counts.
    """
    pairs = matches[matches["partners"]]
    cleft_of = dict(zip(pairs["synapse_id"], pairs["cleft_id"], strict=True))
    edge_of = {cleft: edge for cleft, *edge in predicted[["cleft_id", *PARTNER_SEGMENTS]].itertuples(index=False)}
    touched, matching, owned = set(matches["synapse_id"]), set(matches["cleft_id"]), set(cleft_of.values())
    rows = []
    for synapse, *edge in truth[["synapse_id", *PARTNER_SEGMENTS]].itertuples(index=False):
        if synapse in cleft_of:
            rows.append((synapse, cleft_of[synapse], _of_edge(edge_of[cleft_of[synapse]], edge)))
        else:
            rows.append((synapse, 0, "merged" if synapse in touched else "missed"))
    rows += [
        (0, cleft, "split" if cleft in matching else "false") for cleft in predicted["cleft_id"] if cleft not in owned
    ]
    dtypes = {"synapse_id": truth["synapse_id"].dtype, "cleft_id": predicted["cleft_id"].dtype, "outcome": object}
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def _of_edge(edge: list[int], true: list[int]) -> str:
    if edge == true:
        return "correct"
    if edge == true[::-1]:
        return "reversed"
    return "wrong_partner" if all(edge) else "unassigned"


def compare(predicted: pd.DataFrame, shared: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Counts, precision and recall of clefts and of edges: the columns of `detections.parquet` from `n_true` on.

    For clefts, `precision` is the share of detections that match any synapse, `recall` the share of synapses that match
    any detection: pieces and mergers count as found. For edges, every synapse and every detection with a pair counts
    once. `n_<outcome>` counts each of `outcomes`. A share of nothing is NaN.
    """
    found = matched(predicted, shared, truth)
    count = outcomes(predicted, truth, found)["outcome"].value_counts()
    n_true, n_predicted = len(truth), len(predicted)
    matched_true, matched_predicted = found["synapse_id"].nunique(), found["cleft_id"].nunique()
    n_edges = int((predicted["pre_segment_id"] != 0).sum())
    n_correct = int(count.get("correct", 0))
    return {
        "n_true": n_true,
        "n_predicted": n_predicted,
        "matched_true": matched_true,
        "matched_predicted": matched_predicted,
        "precision": _share(matched_predicted, n_predicted),
        "recall": _share(matched_true, n_true),
        "edge_precision": _share(n_correct, n_edges),
        "edge_recall": _share(n_correct, n_true),
        "edge_f1": _share(2 * n_correct, n_edges + n_true),
        **{f"n_{outcome}": int(count.get(outcome, 0)) for outcome in (*OF_TRUE, *OF_PREDICTED)},
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def grid_search(
    representation: str,
    detect: Callable[[str, float], Detected],
    truth: Mapping[str, pd.DataFrame],
    thresholds: Iterable[float],
    min_sizes_vx: Iterable[int],
) -> pd.DataFrame:
    """Try every setting on `val`, then the one of the best edge F1 on `test`, once: rows of `detections.parquet`.

    `detect(region, threshold)` gives `(predicted, shared)` with every component, however small; those of the least size
    are joined (`join_pieces`) before they are compared. `truth` is `{region: table}`. Of settings with equal F1 the
    middle one of the list is chosen, ordered by threshold and size.
    """
    if truth["val"].empty:
        raise ValueError("the validation region has no true cleft: enlarge it (partners.val_fraction)")
    rows = []
    for threshold in sorted(thresholds):
        detected = detect("val", threshold)
        rows += [_measured("val", threshold, size, detected, truth["val"]) for size in sorted(min_sizes_vx)]
    table = pd.DataFrame(rows)
    best = np.flatnonzero(table["edge_f1"] == table["edge_f1"].max())
    chosen = best[len(best) // 2]
    threshold, size = table.loc[chosen, ["threshold", "min_size_vx"]].tolist()
    test = pd.DataFrame([_measured("test", threshold, int(size), detect("test", threshold), truth["test"])])
    table["chosen"], test["chosen"] = table.index == chosen, True
    table = pd.concat([table, test], ignore_index=True)
    table.insert(0, "representation", representation)
    return table


def _measured(region: str, threshold: float, size: int, detected: Detected, truth: pd.DataFrame) -> dict:
    predicted, shared = detected
    joined = join_pieces(predicted[predicted["size_vx"] >= size], shared)
    return {"region": region, "threshold": threshold, "min_size_vx": size, **compare(*joined, truth)}
