"""Merging the tables of cell types, on tables small enough to check by eye."""

import pandas as pd
import pytest

from pipeline.cohort import CohortError, labels

ROOT = 864691135000000000

EXC, INH, GLIA = "excitatory_neuron", "inhibitory_neuron", "nonneuron"


def table(source, rows):
    """`{nucleus: class}` or `[(nucleus, root, class)]` as the query layer returns them.

    Nucleus n lies at (n, 10 n, 100 n) nm.
    """
    if isinstance(rows, dict):
        rows = [(nucleus, ROOT + nucleus, cell_class) for nucleus, cell_class in rows.items()]
    found = pd.DataFrame(rows, columns=["target_id", "pt_root_id", labels.SOURCES[source]])
    other = "cell_type" if source != "baylor" else "classification_system"
    place = {f"pt_{axis}_nm": scale * found["target_id"] for axis, scale in zip("xyz", (1, 10, 100), strict=True)}
    return found.assign(id=range(len(found)), **{other: "ignored"}, **place)


def merge(column=None, metamodel=None, baylor=None):
    return labels.merge(
        table("column", column or {}), table("metamodel", metamodel or {}), table("baylor", baylor or {})
    )


def labelled(neurons):
    return dict(zip(neurons["pre_neuron_id"] - ROOT, neurons["label"], strict=True))


def test_precedence_and_agreement():
    neurons, conflicts, flow = merge(
        column={1: "aibs_coarse_excitatory", 2: "aibs_coarse_inhibitory", 3: "aibs_coarse_inhibitory"},
        metamodel={2: INH, 3: EXC, 4: EXC, 5: EXC, 6: None, 7: ""},
        baylor={3: "inhibitory", 5: "excitatory", 6: "inhibitory"},
    )
    # 3: the manual column overrules the metamodel; 6: only Baylor knows; 7: no one does
    assert labelled(neurons) == {1: 1, 2: 0, 3: 0, 4: 1, 5: 1, 6: 0}
    assert neurons["pre_neuron_id"].dtype == "int64"
    assert conflicts[["nucleus_id", "metamodel", "decision", "reason"]].to_numpy().tolist() == [
        [3, "excitatory", "kept", "the manual column overrules the metamodel"]
    ]
    assert [entry["neurons"] for entry in flow] == [7, 7, 7, 6, 6, 6]


def test_disagreement_of_aibs_and_baylor_excludes_and_is_listed():
    neurons, conflicts, flow = merge(
        column={1: "aibs_coarse_inhibitory"},
        metamodel={2: EXC, 3: GLIA, 4: EXC},
        baylor={1: "excitatory", 2: "inhibitory", 3: "excitatory", 4: "excitatory"},
    )
    assert labelled(neurons) == {4: 1}
    assert list(conflicts["nucleus_id"]) == [1, 2, 3]
    assert set(conflicts["reason"]) == {"AIBS and Baylor disagree"}
    assert conflicts.iloc[1][["root_id", "metamodel", "baylor", "decision"]].tolist() == [
        ROOT + 2,
        "excitatory",
        "inhibitory",
        "excluded",
    ]
    assert flow[-2]["step"] == "AIBS and Baylor do not disagree"
    assert (flow[-2]["neurons"], flow[-2]["synapses"]) == (1, None)


def test_manual_class_overrules_the_metamodel_only_where_baylor_does_not_object():
    _, conflicts, _ = merge(column={1: "aibs_coarse_inhibitory"}, metamodel={1: EXC}, baylor={1: "excitatory"})
    assert conflicts[["decision", "reason"]].to_numpy().tolist() == [["excluded", "AIBS and Baylor disagree"]]


def test_glia_are_no_neurons_but_no_conflict_either():
    neurons, conflicts, flow = merge(column={1: "aibs_coarse_nonneuronal"}, metamodel={1: GLIA, 2: GLIA, 3: INH})
    assert labelled(neurons) == {3: 0}
    assert conflicts.empty
    assert flow[-1]["neurons"] == 1
    assert flow[-2]["neurons"] == 3


def test_merged_cells_and_nuclei_without_a_segment_are_excluded_and_listed():
    neurons, conflicts, _ = merge(
        metamodel=[(1, ROOT, EXC), (2, ROOT, EXC), (3, 0, EXC), (4, 0, INH), (5, ROOT + 5, EXC)],
        baylor=[(1, ROOT, "excitatory")],
    )
    assert labelled(neurons) == {5: 1}
    assert dict(zip(conflicts["nucleus_id"], conflicts["reason"], strict=True)) == {
        1: "several nuclei in one segment",
        2: "several nuclei in one segment",
        3: "no segment at the nucleus (root id 0)",
        4: "no segment at the nucleus (root id 0)",
    }


def test_a_table_that_contradicts_itself_decides_nothing():
    rows = [(1, ROOT + 1, EXC), (1, ROOT + 1, INH), (2, ROOT + 2, INH), (2, ROOT + 2, INH), (2, ROOT + 2, None)]
    neurons, conflicts, _ = merge(metamodel=rows, baylor={1: "excitatory"})
    assert labelled(neurons) == {2: 0}
    assert conflicts[["nucleus_id", "reason"]].to_numpy().tolist() == [[1, "one table gives several classes"]]


def test_cells_that_the_annotator_left_open_count_as_unlabelled():
    neurons, _, _ = merge(column={1: "aibs_coarse_unclear", 2: "aibs_coarse_error"}, metamodel={2: INH})
    assert labelled(neurons) == {2: 0}


def test_no_labels_at_all_leave_no_neurons():
    neurons, conflicts, flow = merge(metamodel={1: None})
    assert len(neurons) == len(conflicts) == 0
    assert flow[-1]["neurons"] == 0


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"metamodel": {1: "excitatry"}}, r"the metamodel table has unknown classes \['excitatry'\]"),
        ({"baylor": [(1, ROOT, "excitatory")], "metamodel": [(1, ROOT + 1, EXC)]}, "nucleus 1 has several root ids"),
    ],
)
def test_tables_that_cannot_be_merged_are_refused(tables, message):
    with pytest.raises(CohortError, match=message):
        merge(**tables)


@pytest.mark.parametrize("column", ["cell_type", "pt_x_nm"])
def test_a_missing_column_is_named(column):
    with pytest.raises(CohortError, match=rf"the baylor table .* lacks the columns \['{column}'\]"):
        labels.merge(table("column", {}), table("metamodel", {}), table("baylor", {}).drop(columns=column))


def test_every_named_neuron_has_its_class_where_that_is_certain():
    metamodel = {1: EXC, 2: INH, 3: GLIA, 4: EXC, 5: None}
    rows = [(n, ROOT + n, name) for n, name in metamodel.items()]
    rows += [(6, ROOT + 6, EXC), (7, ROOT + 6, EXC), (8, 0, EXC)]  # two nuclei in a segment; none at the nucleus
    found = labels.neurons(
        table("column", {2: "aibs_coarse_excitatory"}),
        table("metamodel", rows),
        table("baylor", {4: "inhibitory", 9: "inhibitory"}),
    )
    assert list(found.columns) == labels.NEURON_COLUMNS
    found = found.set_index(found["neuron_id"] - ROOT)
    known = {1: "excitatory", 2: "excitatory", 3: "nonneuron", 9: "inhibitory"}
    assert found["cell_class"].dropna().to_dict() == known
    assert list(found.index) == [1, 2, 3, 4, 5, 6, 9]
    assert found.loc[9, labels.SOMA].tolist() == [9, 90, 900]
    assert found.loc[4, labels.SOMA].notna().all()
    assert found.loc[6, labels.SOMA].isna().all(), "which of the two somata?"
