"""A connectome on disk: what is scored, what is refused, and the reference points on the real one."""

import numpy as np
import pandas as pd
import pytest
import toy
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from pipeline.connectivity import ConnectivityError, connectome, features, models


def test_one_row_a_scored_connection_with_exact_ids(tmp_path):
    neurons, connections = toy.connectome()
    neurons.loc[[3, 4], "cell_class"] = ["nonneuron", None]  # as presynaptic neurons not scored, as posts kept
    neurons.loc[5:40, "soma_x_nm"] = np.nan
    connections.loc[0, "post_neuron_id"] = connections.loc[0, "pre_neuron_id"]  # synapses on itself
    connections = connections.drop_duplicates(["pre_neuron_id", "post_neuron_id"])
    folder = toy.write(tmp_path / "toy", neurons.assign(cell_type="?", extra=1), connections)
    connectome.predict(folder, tmp_path / "out.parquet")
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert list(found.columns) == connectome.COLUMNS

    unscored = connections["pre_neuron_id"].isin([toy.ROOT_ID + 3, toy.ROOT_ID + 4])
    expected = connections[~unscored].reset_index(drop=True)
    pd.testing.assert_frame_equal(found[connectome.COLUMNS[:3]], expected)
    assert found["label"].tolist() == [int((i - toy.ROOT_ID) % 3 > 0) for i in expected["pre_neuron_id"].tolist()]
    assert (found.groupby("pre_neuron_id")["fold"].nunique() == 1).all()
    assert sorted(found["fold"].unique()) == list(range(5))
    assert found["p_excitatory"].between(0, 1).all()
    assert roc_auc_score(found["label"], found["p_excitatory"]) > 0.7, "the toy connectome has a rule to find"


def test_the_class_of_a_neuron_does_not_reach_its_own_scores(tmp_path):
    """One neuron's class is turned: with the folds kept, its own scores must not move towards it."""
    neurons, connections = toy.connectome()
    before = connectome.scored(toy.write(tmp_path / "a", neurons, connections))
    before = before[before["post_neuron_id"] != toy.ROOT_ID + 1]
    own = before["pre_neuron_id"] == toy.ROOT_ID + 1
    turned = before.assign(label=before["label"].where(~own, 1 - before["label"]))
    fold = before.loc[own, "fold"].iloc[0]
    p = [
        models.out_of_fold(links["label"], links["fold"], connectome.tables(links), models.boosting)
        for links in (before, turned)
    ]
    np.testing.assert_array_equal(p[0][before["fold"] == fold], p[1][before["fold"] == fold])


def test_optional_columns_may_be_absent(tmp_path, caplog):
    neurons, connections = toy.connectome()
    folder = toy.write(tmp_path, neurons[["neuron_id", "cell_class"]], connections)
    found = connectome.predict(folder, tmp_path / "out.parquet")
    assert roc_auc_score(found["label"], found["p_excitatory"]) > 0.7
    assert "no column soma_y_nm" in caplog.text


def test_the_seed_decides(tmp_path):
    folder = toy.write(tmp_path, *toy.connectome(n_neurons=90))
    first, again, other = (connectome.predict(folder, tmp_path / "out.parquet", seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert (first["fold"] != other["fold"]).any()


def _set(column, row, value):
    def change(table):
        table = table.astype({column: object if not isinstance(value, float) else float})
        table.loc[row, column] = value
        return table.convert_dtypes() if value is None else table.infer_objects()

    return change


NEURONS = {
    "twice": (_set("neuron_id", 7, toy.ROOT_ID), r"neurons.parquet, row 7, column neuron_id: \d+ is there twice"),
    "no id": (_set("neuron_id", 7, None), "neurons.parquet, row 7, column neuron_id: <NA> is missing"),
    "class": (_set("cell_class", 2, "glia"), "neurons.parquet, row 2, column cell_class: glia is none of excitatory"),
    "soma": (_set("soma_y_nm", 4, np.inf), "neurons.parquet, row 4, column soma_y_nm: inf is no position"),
    "text": (lambda t: t.astype({"soma_x_nm": str}), "column soma_x_nm is stored as string, not as numbers"),
    "floats": (lambda t: t.astype({"neuron_id": float}), "column neuron_id is stored as .*must hold 64-bit integers"),
    "column": (lambda t: t.drop(columns="cell_class"), r"neurons.parquet lacks the columns \['cell_class'\]"),
    "empty": (lambda t: t.head(0), "neurons.parquet has no rows"),
}
CONNECTIONS = {
    "unknown": (_set("post_neuron_id", 5, 12), "connections.parquet, row 5, column post_neuron_id: 12 is no neuron_id"),
    "stranger": (_set("pre_neuron_id", 5, 12), "connections.parquet, row 5, column pre_neuron_id: 12 is no neuron_id"),
    "negative": (_set("n_synapses", 5, -2), "row 5, column n_synapses: -2 is no number of synapses"),
    "none": (_set("n_synapses", 5, 0), "row 5, column n_synapses: 0 is no number of synapses"),
    "missing": (_set("n_synapses", 5, None), "row 5, column n_synapses: <NA> is missing"),
    "pair": (lambda t: pd.concat([t, t.iloc[[9, 3]]]), r"row 1920, column post_neuron_id.*twice.*\(and 1 more rows\)"),
    "column": (lambda t: t.drop(columns="n_synapses"), r"connections.parquet lacks the columns \['n_synapses'\]"),
}


@pytest.mark.parametrize(
    ("table", "case"), [("neurons", c) for c in NEURONS] + [("connections", c) for c in CONNECTIONS]
)
def test_errors_name_their_place(tmp_path, table, case):
    neurons, connections = toy.connectome()
    change, message = {"neurons": NEURONS, "connections": CONNECTIONS}[table][case]
    if table == "neurons":
        neurons = change(neurons)
    else:
        connections = change(connections)
    folder = toy.write(tmp_path / "toy", neurons, connections)
    with pytest.raises(ConnectivityError, match=message):
        connectome.predict(folder, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_missing_and_broken_files_and_a_class_with_few_neurons(tmp_path):
    with pytest.raises(ConnectivityError, match=r"neurons.parquet does not exist"):
        connectome.predict(tmp_path, tmp_path / "out.parquet")
    neurons, connections = toy.connectome()
    folder = toy.write(tmp_path, neurons, connections)
    (folder / "connections.parquet").write_text("no table")
    with pytest.raises(ConnectivityError, match=r"connections.parquet is no readable Parquet file"):
        connectome.predict(folder, tmp_path / "out.parquet")
    inhibitory = neurons.index[neurons["cell_class"] == "inhibitory"]
    neurons.loc[inhibitory[4:], "cell_class"] = None
    folder = toy.write(tmp_path, neurons, connections)
    with pytest.raises(ConnectivityError, match="4 inhibitory presynaptic neurons"):
        connectome.predict(folder, tmp_path / "out.parquet")


def test_a_neuron_is_scored_by_the_mean_log_odds_of_its_connections():
    rows = pd.DataFrame({"pre_neuron_id": [1, 1, 2], "label": [1, 1, 0], "p_excitatory": [0.9, 0.5, 0.2]})
    found = connectome.per_neuron(rows).set_index("pre_neuron_id")
    assert found.loc[1, "p_excitatory"] == pytest.approx(0.75)  # odds 9 and 1, whose geometric mean is 3
    assert found.loc[2, "p_excitatory"] == pytest.approx(0.2)
    assert found["label"].tolist() == [1, 0]


#: Edge AUROC measured once on a superset of the real table (README of the data), by group of features.
REFERENCE = {
    ("multiplicity",): 0.629,
    ("post",): 0.689,
    ("multiplicity", "post"): 0.737,
    ("geometry",): 0.609,
    ("multiplicity", "post", "geometry"): 0.747,
}


def test_reference_points_of_the_real_connectome(real_data):
    links = connectome.scored(real_data / "minnie65_connectome")
    assert len(links) == 82_007
    tables = connectome.tables(links)
    for groups, reference in REFERENCE.items():
        chosen = [name for name in tables[0] if features.FEATURES[name].group in groups]
        sub = {fold: table[chosen] for fold, table in tables.items()}
        p = models.out_of_fold(links["label"], links["fold"], sub, models.logistic)
        assert roc_auc_score(links["label"], p) == pytest.approx(reference, abs=0.012), groups
    p = models.out_of_fold(links["label"], links["fold"], tables, models.boosting)
    assert roc_auc_score(links["label"], p) == pytest.approx(0.842, abs=0.012)
    label, held_out = links["label"].to_numpy(), (links["fold"] == 0).to_numpy()  # one fold shows the leak
    table = tables[0].assign(post_inhibitory_share=features.leave_one_out_share(links)).to_numpy()
    with threadpool_limits(1):
        leaky = models.boosting().fit(table[~held_out], label[~held_out]).predict_proba(table[held_out])[:, 1]
    leak = roc_auc_score(label[held_out], leaky) - roc_auc_score(label[held_out], p[held_out])
    assert leak > 0.01, "leaving out the scored edge alone must leak"
