"""Edges of the combined system against a small graph whose every error is known."""

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from pipeline.partners.graph import JOIN_NM, OF_PREDICTED, OF_TRUE, compare, grid_search, join_pieces, matched, outcomes

BIG = 2**63


def edges(key, *rows):
    """Rows `(id, voxels, pre, post)`, a micrometre apart; ids of segments are shifted to where floats fail."""
    table = pd.DataFrame(rows, columns=[key, "size_vx", "pre_segment_id", "post_segment_id"])
    for column in ("pre_segment_id", "post_segment_id"):
        table[column] = np.array([BIG + n if n else 0 for n in table[column]], np.uint64)
    table["center_x_nm"], table["center_y_nm"], table["center_z_nm"] = 1000.0 * np.arange(len(table)), 0.0, 0.0
    return table.astype({key: np.int64})


TRUTH = edges(
    "synapse_id",
    (101, 200, 1, 2),  # found and right
    (102, 200, 1, 3),  # wrong postsynaptic neuron
    (103, 200, 4, 5),  # reversed
    (104, 200, 4, 6),  # found, no pair
    (105, 200, 7, 8),  # merged into the cleft of 101
    (106, 200, 7, 9),  # missed
)
PREDICTED = edges(
    "cleft_id",
    (1, 300, 1, 2),
    (2, 180, 1, 2),
    (3, 150, 5, 4),
    (4, 150, 0, 0),
    (5, 40, 1, 2),  # a second piece of 101
    (6, 60, 8, 9),  # nothing there
)
SHARED = pd.DataFrame(
    [(1, 101, 150), (1, 105, 90), (2, 102, 150), (3, 103, 120), (4, 104, 120), (5, 101, 30)],
    columns=["cleft_id", "synapse_id", "n_vx"],
)


def test_every_error_has_its_outcome():
    table = outcomes(PREDICTED, TRUTH, matched(PREDICTED, SHARED, TRUTH))
    by_synapse = table[table["synapse_id"] != 0].set_index("synapse_id")
    assert by_synapse["outcome"].to_dict() == {
        101: "correct", 102: "wrong_partner", 103: "reversed", 104: "unassigned", 105: "merged", 106: "missed",
    }  # fmt: skip
    assert by_synapse["cleft_id"].tolist() == [1, 2, 3, 4, 0, 0]
    rest = table[table["synapse_id"] == 0].set_index("cleft_id")
    assert rest["outcome"].to_dict() == {5: "split", 6: "false"}


def test_counts_and_shares():
    measured = compare(PREDICTED, SHARED, TRUTH)
    assert measured["matched_true"] == 5
    assert measured["matched_predicted"] == 5
    assert measured["precision"] == pytest.approx(5 / 6)
    assert measured["recall"] == pytest.approx(5 / 6)
    assert measured["edge_precision"] == pytest.approx(1 / 5)  # five detections have a pair
    assert measured["edge_recall"] == pytest.approx(1 / 6)
    assert measured["edge_f1"] == pytest.approx(2 / (1 / measured["edge_precision"] + 1 / measured["edge_recall"]))
    assert sum(measured[f"n_{outcome}"] for outcome in OF_TRUE) == len(TRUTH)
    assert measured["n_predicted"] - sum(measured[f"n_{v}"] for v in OF_PREDICTED) == len(TRUTH) - 2  # merged, missed


def test_neighbouring_64_bit_ids_are_told_apart():
    truth = edges("synapse_id", (1, 50, 1, 2))
    shared = pd.DataFrame([(1, 1, 50)], columns=["cleft_id", "synapse_id", "n_vx"])
    assert compare(edges("cleft_id", (1, 50, 1, 2)), shared, truth)["n_correct"] == 1
    assert compare(edges("cleft_id", (1, 50, 1, 3)), shared, truth)["n_wrong_partner"] == 1


def test_edges_equal_those_networkx_finds_where_clefts_are_perfect():
    rng = np.random.default_rng(4)
    n = 60
    pairs = [rng.permutation(6)[:2] + 1 for _ in range(n)]
    guesses = [pair if rng.random() < 0.7 else rng.permutation(6)[:2] + 1 for pair in pairs]
    truth = edges("synapse_id", *((k + 1, 100, *pair) for k, pair in enumerate(pairs)))
    predicted = edges("cleft_id", *((k + 1, 100, *pair) for k, pair in enumerate(guesses)))
    shared = pd.DataFrame({"cleft_id": range(1, n + 1), "synapse_id": range(1, n + 1), "n_vx": 100})
    graphs = [nx.MultiDiGraph(), nx.MultiDiGraph()]
    for graph, found in zip(graphs, (pairs, guesses), strict=True):
        graph.add_edges_from((int(a), int(b), key) for key, (a, b) in enumerate(found))
    common = len(set(graphs[0].edges) & set(graphs[1].edges))
    assert compare(predicted, shared, truth)["edge_f1"] == pytest.approx(common / n)


def test_no_detection_is_no_division_by_zero():
    measured = compare(PREDICTED.iloc[:0], SHARED.iloc[:0], TRUTH)
    assert (measured["edge_recall"], measured["edge_f1"], measured["n_missed"]) == (0, 0, 6)
    assert np.isnan(measured["edge_precision"])


def test_tables_without_an_answer_are_refused():
    with pytest.raises(ValueError, match=r"no true partners .*\[106\]"):
        compare(PREDICTED, SHARED, pd.concat([TRUTH.iloc[:5], edges("synapse_id", (106, 200, 0, 9))]))
    with pytest.raises(ValueError, match=r"cleft_id occurs twice: \[6\]"):
        compare(pd.concat([PREDICTED, PREDICTED.iloc[5:]]), SHARED, TRUTH)


def test_pieces_of_a_synapse_are_known_by_their_partners():
    predicted = edges("cleft_id", *((k, 10 * k, 1, 2) for k in range(1, 5)), (5, 60, 2, 1), (6, 7, 0, 0), (7, 8, 0, 0))
    predicted["center_x_nm"] = [0.0, 0.9 * JOIN_NM, 1.8 * JOIN_NM, 3 * JOIN_NM, 0.0, 0.0, 0.0]
    shared = pd.DataFrame(
        {"cleft_id": [1, 2, 3, 4, 6], "synapse_id": [101, 101, 102, 103, 101], "n_vx": [9, 8, 7, 6, 5]}
    )
    joined, overlap = join_pieces(predicted, shared)
    sizes = dict(zip(joined["cleft_id"], joined["size_vx"], strict=True))
    assert sizes == {3: 60, 4: 40, 5: 60, 6: 7, 7: 8}  # 1, 2 and 3 are a chain; 5 is reversed; 6, 7 have no pair
    assert joined.set_index("cleft_id").loc[3, "center_x_nm"] == 1.8 * JOIN_NM
    assert joined["pre_segment_id"].dtype == np.uint64
    assert sorted(overlap.itertuples(index=False, name=None)) == [(3, 101, 17), (3, 102, 7), (4, 103, 6), (6, 101, 5)]
    nothing, _ = join_pieces(predicted.iloc[:0], shared)
    assert len(nothing) == 0


def test_the_grid_is_searched_on_validation_and_test_is_met_once():
    met = []

    def detect(region, threshold):
        """The lowest threshold merges, the highest loses the second cleft; specks of 5 voxels are everywhere."""
        met.append((region, threshold))
        rows = [(1, 100, 1, 2), (2, 100, 1, 3), (3, 5, 1, 2), (4, 5, 8, 9)]
        shared = [(1, 101, 90), (2, 102, 90), (3, 101, 5)]
        if threshold == 0.3:
            rows, shared = [(1, 200, 1, 2), *rows[2:]], [(1, 101, 90), (1, 102, 90), (3, 101, 5)]
        if threshold == 0.9:
            rows, shared = [rows[0], *rows[2:]], [shared[0], shared[2]]
        return edges("cleft_id", *rows), pd.DataFrame(shared, columns=["cleft_id", "synapse_id", "n_vx"])

    truth = edges("synapse_id", (101, 100, 1, 2), (102, 100, 1, 3))
    table = grid_search("stdt", detect, {"val": truth, "test": truth}, [0.9, 0.3, 0.6], [50, 1, 20])
    assert [region for region, _ in met].count("test") == 1
    assert met[-1] == ("test", 0.6)
    assert len(table) == 3 * 3 + 1
    chosen = table[table["chosen"]]
    assert chosen["region"].tolist() == ["val", "test"]
    assert chosen["threshold"].tolist() == [0.6, 0.6]
    assert set(chosen["min_size_vx"]) == {50}  # 20 and 50 are equally good: the middle of the list
    assert chosen["edge_f1"].tolist() == [1.0, 1.0]
    assert chosen["n_correct"].tolist() == [2, 2]
    val = table.set_index(["region", "threshold", "min_size_vx"])
    assert val.loc[("val", 0.3, 20), "n_merged"] == 1
    assert val.loc[("val", 0.9, 20), "n_missed"] == 1
    assert val.loc[("val", 0.6, 1), ["n_split", "n_false"]].tolist() == [1, 1]
