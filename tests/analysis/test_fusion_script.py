"""Image and wiring together: the analysis, its figure and its table, run alone as a reviewer would."""

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_build import check_picture, copied, run_script, succeed
from sklearn.metrics import roc_auc_score

from pipeline import artefacts


def _values(build):
    return artefacts.read_json(build.analysis / "fusion.json")


@pytest.fixture
def build(performed, tmp_path):
    """`(build, environment)` after the analysis of performance; a copy that a test may change."""
    original, environment = performed
    return copied(original.root.parent.parent, environment, tmp_path)


def test_the_ablation_its_figure_and_its_table(build):
    build, environment = build
    succeed(environment, "analysis/fusion.py", "figures/fusion.py", "tables/fusion.py")
    values = _values(build)
    performance = artefacts.read_json(build.analysis / "performance.json")
    for metric in ("roc_auc", "balanced_accuracy"):
        assert values[f"all_all_alone_{metric}"] == performance[f"best_{metric}"]
    truth = pd.read_parquet(build.source / "truth" / "synapses.parquet")
    test = pd.read_parquet(build.predictions(performance["best_model"]["value"])).query("split == 'test'")
    shaft = test[test["synapse_id"].isin(truth.loc[~truth["on_spine"], "synapse_id"])]
    expected = roc_auc_score(shaft["label"], shaft["p_excitatory"])
    assert values["all_shaft_alone_roc_auc"]["value"] == pytest.approx(expected)
    assert values["n_shaft_excitatory"]["value"] == shaft["label"].sum()
    # in this build only spines and the score itself tell the classes apart
    assert values["gain_all_all_synapse_roc_auc"]["value"] > 0.005
    assert values["all_all_axon_roc_auc"]["value"] > values["all_all_synapse_roc_auc"]["value"]
    assert abs(values["gain_no_spine_all_axon_roc_auc"]["value"]) < 0.03
    assert "a property of the simulation: by construction" in values["spines"]["text"]

    check_picture(build, "fusion")
    rows = pd.read_csv(build.tables / "fusion.csv").set_index(["Score", "Features"])
    assert rows.loc[("+ whole axon", "without spines"), "AUC"] == values["no_spine_all_axon_roc_auc"]["text"]


def test_uninformative_spines_add_nothing(build):
    build, environment = build
    path = build.source / "truth" / "synapses.parquet"
    truth = pd.read_parquet(path)
    truth["on_spine"] = np.random.default_rng(0).permutation(truth["on_spine"])
    truth.to_parquet(path)
    succeed(environment, "analysis/fusion.py")
    values = _values(build)
    assert values["gain_all_all_axon_roc_auc"]["value"] < 0.03, "with so few neurons, a loss is possible"
    assert values["logistic_all_all_roc_auc"]["value"] < 0.75


def test_where_spines_and_some_post_neurons_are_unknown_it_does_without(build):
    build, environment = build
    path = build.root.parent.parent / "fake.yaml"
    settings = yaml.safe_load(path.read_text()) | {"source": {"kind": "cave"}}
    path.write_text(yaml.safe_dump(settings))
    synapses = pd.read_parquet(build.synapses)
    synapses["post_neuron_id"] = synapses["post_neuron_id"].where(synapses["synapse_id"] % 2 == 0, 0)
    synapses.to_parquet(build.synapses)
    succeed(environment, "analysis/fusion.py", "figures/fusion.py", "tables/fusion.py")
    values = _values(build)
    assert not [name for name in values if "no_spine" in name or "shaft" in name]
    assert values["spines"]["text"].startswith("Whether a synapse lies on a spine is not known in these data")
    declared = pd.read_parquet(build.analysis / "fusion.declared.parquet")["feature"].tolist()
    assert "log_multiplicity" in declared
    assert "on_spine" not in declared
    caption = (build.figures / "fusion.caption.md").read_text()
    assert "minnie65_public" in caption
    assert "spine" not in caption


def test_a_cohort_without_its_table_of_neurons_is_refused(build):
    build, environment = build
    (build.cohort / "neurons.parquet").unlink()
    done = run_script("analysis/fusion.py", environment)
    assert done.returncode
    assert "neurons.parquet, which does not exist" in done.stderr
