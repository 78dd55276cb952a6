"""The whole cohort from tables in CAVE's shape, and from a folder's rows."""

import json

import numpy as np
import pandas as pd
import pytest

from pipeline import artefacts, config
from pipeline.cohort import CohortError, assemble, labels

ROOT = 864691135000000000
CUBE_NM = (1024.0, 1024.0, 1280.0)
SETTINGS = config.Cohort(max_synapses_per_neuron=12)


def tables(n_neurons=40, seed=0):
    """Forty neurons, a quarter inhibitory; neuron 1 in conflict, 2 unlabelled, 3 not proofread."""
    nuclei = np.arange(1, n_neurons + 1)
    excitatory = nuclei % 4 != 0
    cells = pd.DataFrame({"id": nuclei, "target_id": nuclei, "pt_root_id": ROOT + nuclei})
    cells[["pt_x_nm", "pt_y_nm", "pt_z_nm"]] = nuclei[:, None] * [1000.0, 2000.0, 3000.0]
    aibs = np.where(excitatory, "excitatory_neuron", "inhibitory_neuron").astype(object)
    aibs[1] = None
    metamodel = cells.assign(classification_system=aibs, cell_type="x")
    baylor = cells.assign(classification_system="x", cell_type=np.where(excitatory, "excitatory", "inhibitory"))
    baylor.loc[0, "cell_type"] = "inhibitory"
    baylor = baylor.drop(index=1)
    column = cells.head(0).assign(classification_system="", cell_type="")
    proofreading = pd.DataFrame({"pt_root_id": ROOT + nuclei, "status_axon": np.where(nuclei == 3, "f", "t")})

    rng = np.random.default_rng(seed)
    n = 20 * n_neurons
    synapses = pd.DataFrame(
        {
            "id": rng.permutation(n) + 1,
            "pre_pt_root_id": ROOT + rng.integers(1, n_neurons + 1, n),
            "post_pt_root_id": ROOT + 1000 + rng.integers(0, 50, n),
            **{f"ctr_pt_{axis}_nm": rng.integers(0, 4000, n) * 4.0 for axis in "xyz"},
            "size": rng.integers(50, 900, n),
        }
    )
    synapses.loc[5, "post_pt_root_id"] = synapses.loc[5, "pre_pt_root_id"] = ROOT + 10
    return column, metamodel, baylor, proofreading, synapses


def build(column, metamodel, baylor, proofreading, synapses, seed=1, settings=SETTINGS):
    found = assemble.candidates(column, metamodel, baylor, proofreading, settings, seed)
    wanted = synapses[synapses["pre_pt_root_id"].isin(found.neurons["pre_neuron_id"])]
    return assemble.assemble(found, wanted, settings, CUBE_NM, seed)


def test_cohort_holds_the_labelled_proofread_neurons_and_the_contracts_columns():
    column, metamodel, baylor, proofreading, synapses = tables()
    cohort = build(column, metamodel, baylor, proofreading, synapses)
    assert list(cohort.synapses.columns) == [*assemble.SYNAPSE_COLUMNS, "label", "split", "fold"]
    numbers = set(cohort.synapses["pre_neuron_id"] - ROOT)
    assert numbers == set(range(4, 41))
    truth = {ROOT + n: int(n % 4 != 0) for n in range(4, 41)}
    assert (cohort.synapses["label"] == cohort.synapses["pre_neuron_id"].map(truth)).all()
    assert (cohort.synapses.groupby("pre_neuron_id").size() <= 12).all()
    source = synapses.set_index("id").loc[cohort.synapses["synapse_id"]]
    np.testing.assert_array_equal(source["ctr_pt_y_nm"], cohort.synapses["center_y_nm"])
    assert list(cohort.conflicts["nucleus_id"]) == [1]


def test_neurons_are_all_cells_of_the_tables_with_their_class_and_place():
    found = build(*tables()).neurons.set_index("neuron_id")
    assert list(found.index) == [ROOT + n for n in range(1, 41)], "neurons without a proofread axon too"
    assert found["cell_class"].isna()[[ROOT + 1, ROOT + 2]].all(), "in conflict, and without a class"
    assert found["cell_class"][[ROOT + 3, ROOT + 4]].tolist() == ["excitatory", "inhibitory"]
    assert found.loc[ROOT + 7].tolist()[1:] == [7000, 14000, 21000]


def test_flow_counts_what_every_step_leaves(tmp_path):
    cohort = build(*tables())
    n_before, n_after = (cohort.flow[i]["synapses"] for i in (-3, -2))
    steps = [(entry["step"], entry["neurons"]) for entry in cohort.flow]
    assert steps == [
        ("cells in a table of cell types", 40),
        ("nucleus lies in a segment", 40),
        ("one nucleus in the segment", 40),
        ("a class from AIBS or Baylor", 39),
        ("AIBS and Baylor do not disagree", 38),
        ("excitatory or inhibitory", 38),
        ("axon proofread", 37),
        ("with synapses", 37),
        ("without duplicates", 37),
        ("without autapses", 37),
        ("at most 12 synapses per neuron", 37),
    ]
    assert n_before - n_after == 1  # the autapse
    assert [(entry["excitatory"], entry["inhibitory"]) for entry in cohort.flow[:-4]] == [
        (29, 10),  # one of the 30 has no class in any table
        (29, 10),
        (29, 10),
        (29, 10),
        (28, 10),
        (28, 10),
        (27, 10),
    ]
    assert cohort.flow[-1]["synapses"] == len(cohort.synapses)
    artefacts.write_json(tmp_path / "flow.json", cohort.flow)
    artefacts.write_json(tmp_path / "audit.json", cohort.audit)
    assert json.loads((tmp_path / "audit.json").read_text())["shared_presynaptic_neurons"]["train-test"] == 0


def test_order_of_rows_in_any_table_changes_nothing_and_the_seed_does():
    ordered = build(*tables())
    shuffled = build(*(table.sample(frac=1, random_state=3) for table in tables()))
    pd.testing.assert_frame_equal(ordered.synapses, shuffled.synapses)
    pd.testing.assert_frame_equal(ordered.conflicts, shuffled.conflicts)
    assert (ordered.flow, ordered.audit) == (shuffled.flow, shuffled.audit)
    assert not ordered.synapses["split"].equals(build(*tables(), seed=2).synapses["split"])


def test_unproofread_axons_stay_where_the_configuration_says_so():
    settings = SETTINGS.model_copy(update={"proofread_axons_only": False})
    assert ROOT + 3 in set(build(*tables(), settings=settings).synapses["pre_neuron_id"])


def test_candidates_can_be_limited_per_class():
    found = assemble.candidates(*tables()[:4], SETTINGS, 0, max_neurons_per_class=8)
    assert found.neurons["label"].value_counts().to_dict() == {1: 8, 0: 8}
    step = {"step": "at most 8 neurons per class", "neurons": 16, "excitatory": 8, "inhibitory": 8, "synapses": None}
    assert found.flow[-1] == step


def test_synapses_in_voxels_instead_of_nanometres_are_refused():
    *labels_and_status, synapses = tables()
    synapses = synapses.rename(columns={f"ctr_pt_{axis}_nm": f"ctr_pt_position_{axis}" for axis in "xyz"})
    with pytest.raises(CohortError, match=r"lacks \['ctr_pt_x_nm', 'ctr_pt_y_nm', 'ctr_pt_z_nm'\]"):
        build(*labels_and_status, synapses)


def test_filters_that_leave_nothing_say_where_the_neurons_went():
    column, metamodel, baylor, proofreading, _ = tables()
    with pytest.raises(CohortError, match="leave no neuron .*excitatory or inhibitory: 38; axon proofread: 0"):
        assemble.candidates(column, metamodel, baylor, proofreading.assign(status_axon="f"), SETTINGS, 0)


def folder_rows(axons, cell_types):
    n = len(axons)
    return pd.DataFrame(
        {
            "synapse_id": np.arange(n),
            "pre_neuron_id": axons,
            "post_neuron_id": 0,
            **{f"center_{axis}_nm": np.arange(n) * 500.0 for axis in "xyz"},
            "size": pd.array([pd.NA] * n, dtype="Int64"),
            "label": pd.array(cell_types, dtype="Int64"),
        }
    )


def test_a_folder_is_all_test_with_as_many_folds_as_its_rarer_class_allows():
    rows = folder_rows([1, 1, 2, 3, 4, 5, 6, 7, 7, 8], [1, 1, 1, 1, 1, 1, 0, 0, 0, 0])
    cohort = assemble.assemble_folder(rows, config.Cohort(split="all_test"), CUBE_NM, 0)
    assert set(cohort.synapses["split"]) == {"test"}
    inhibitory = cohort.synapses[cohort.synapses["label"] == 0]
    assert sorted(inhibitory.groupby("pre_neuron_id")["fold"].first()) == [0, 1, 2]
    assert (cohort.synapses.groupby("pre_neuron_id")["fold"].nunique() == 1).all()
    assert list(cohort.conflicts.columns) == labels.CONFLICT_COLUMNS
    assert list(cohort.neurons.columns) == labels.NEURON_COLUMNS


@pytest.mark.parametrize("cell_types", [[None] * 4, [1, 1, 1, 0], [1, 1, 0, None]])
def test_a_folder_that_allows_no_folds_has_one(cell_types):
    cohort = assemble.assemble_folder(
        folder_rows([1, 2, 3, 4], cell_types), config.Cohort(split="all_test"), CUBE_NM, 0
    )
    assert set(cohort.synapses["fold"]) == {0}


def test_images_that_all_reach_beyond_the_volume_leave_no_cohort():
    *cells, synapses = tables()
    found = assemble.candidates(*cells, SETTINGS, 0)
    wanted = synapses[synapses["pre_pt_root_id"].isin(found.neurons["pre_neuron_id"])]
    with pytest.raises(CohortError, match=r"all \d+ synapses reach beyond the volume; enlarge it .*size_um.*patch_px"):
        assemble.assemble(found, wanted, SETTINGS, CUBE_NM, 0, lambda synapses: synapses["size"] < 0)
