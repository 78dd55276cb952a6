"""Comparison, pooling, calibration, power and errors: the analyses, figures and tables, against plain computations."""

import numpy as np
import pandas as pd
import pytest
from fake_build import check_picture, copied, succeed
from sklearn.metrics import brier_score_loss, roc_auc_score
from statsmodels.stats.multitest import multipletests

from pipeline import artefacts
from pipeline.learn.threshold import best_threshold
from pipeline.stats import power

FIGURES = ("pooling", "calibration", "power")
TABLES = ("comparison", "errors")


@pytest.fixture(scope="module")
def inferred(performed, tmp_path_factory):
    """`(build, environment)` after these analyses; not to be changed."""
    original, environment = performed
    build, environment = copied(original.root.parent.parent, environment, tmp_path_factory.mktemp("inferred"))
    succeed(environment, "analysis/inference.py", "analysis/errors.py")
    return build, environment


def _test_rows(build, model):
    """Test rows of a model and its threshold."""
    rows = pd.read_parquet(build.predictions(model))
    val = rows[rows["split"] == "val"]
    return rows[rows["split"] == "test"], best_threshold(val["label"].to_numpy(), val["p_excitatory"].to_numpy())


def test_differences_are_those_of_scikit_learn_and_p_values_are_adjusted_over_all_pairs(inferred):
    build, _ = inferred
    pairs = pd.read_parquet(build.analysis / "inference.pairs.parquet").query("metric == 'roc_auc'")
    assert len(pairs) == 10, "five families of networks that share their test synapses; one seed of each"
    for row in pairs.itertuples():
        auc = [roc_auc_score(*_test_rows(build, name)[0][["label", "p_excitatory"]].to_numpy().T) for name in row[2:4]]
        assert row.value == pytest.approx(auc[0] - auc[1])
    np.testing.assert_allclose(pairs["p_holm"], multipletests(pairs["p"], method="holm")[1])
    values = artefacts.read_json(build.analysis / "inference.json")
    assert values["n_pairs"]["value"] == 10
    assert values["n_resolved_roc_auc"]["value"] == (pairs["p_holm"] < 0.05).sum()


def test_pooling_starts_at_single_synapses_and_ends_at_the_neuron(inferred):
    build, _ = inferred
    values = artefacts.read_json(build.analysis / "inference.json")
    rows, tau = _test_rows(build, values["best_model"]["value"])
    right = (rows["p_excitatory"] >= tau) == (rows["label"] == 1)
    neurons = right.groupby([rows["label"], rows["pre_neuron_id"]]).mean()
    assert values["best_pooled_1"]["value"] == pytest.approx(neurons.groupby("label").mean().mean())
    margin = np.log(rows["p_excitatory"] / (1 - rows["p_excitatory"])) - np.log(tau / (1 - tau))
    called = margin.groupby([rows["label"], rows["pre_neuron_id"]]).mean() >= 0
    right = called == (called.index.get_level_values("label") == 1)
    assert values["best_pooled_all"]["value"] == pytest.approx(right.groupby("label").mean().mean())


def test_brier_scores_and_the_number_of_neurons_needed(inferred):
    build, _ = inferred
    values = artefacts.read_json(build.analysis / "inference.json")
    rows, tau = _test_rows(build, values["best_model"]["value"])
    assert values["best_brier"]["value"] == pytest.approx(brier_score_loss(rows["label"], rows["p_excitatory"]))
    n = values["neurons_needed"]["value"]
    found = power.half_widths(rows, tau, [n - 2, n], 0.95, 100, 0)["closed_form"]
    assert found[1] <= 0.05 < found[0]


def test_the_learning_curve_is_of_networks_of_one_recipe_that_are_compared_nowhere_else(inferred):
    build, environment = inferred
    learning = pd.read_parquet(build.analysis / "inference.learning.parquet").query("metric == 'roc_auc'")
    assert learning["n_train_neurons"].tolist() == [22, 43]
    for name, value in zip(("resnet18_half", "resnet18"), learning["value"], strict=True):
        rows, _ = _test_rows(build, name)
        assert value == pytest.approx(roc_auc_score(rows["label"], rows["p_excitatory"]))
    assert "is resolved." in artefacts.read_json(build.analysis / "inference.json")["learning"]["text"]
    # the best on validation by far, it is neither chosen nor compared
    assert "resnet18_half" not in pd.read_parquet(build.analysis / "performance.runs.parquet")["model"].tolist()
    assert "half" not in pd.read_parquet(build.analysis / "inference.pairs.parquet")["model_b"].str.cat()


def test_errors_are_modelled_with_what_varies(inferred):
    build, _ = inferred
    values = artefacts.read_json(build.analysis / "errors.json")
    odds = pd.read_parquet(build.analysis / "errors.odds.parquet").set_index(["model", "predictor"])
    assert values["left_out"]["text"] == "standard deviation of grey levels", "it is the same everywhere"
    assert set(odds.loc["together"].index) == set(odds.loc["alone"].index)
    assert {"on_spine", "log_vesicles", "log_size", "padded", "excitatory"} < set(odds.loc["together"].index)
    rows, tau = _test_rows(build, values["model"]["value"])
    assert values["n_errors"]["value"] == ((rows["p_excitatory"] >= tau) != (rows["label"] == 1)).sum()


def test_figures_and_tables(inferred):
    build, environment = inferred
    succeed(environment, *(f"figures/{name}.py" for name in FIGURES), *(f"tables/{name}.py" for name in TABLES))
    for name in FIGURES:
        check_picture(build, name)
    for name in TABLES:
        assert "simulated neuropil" in (build.tables / f"{name}.caption.md").read_text()
    values = artefacts.read_json(build.analysis / "errors.json")
    table = pd.read_csv(build.tables / "errors.csv").set_index("Predictor")
    found = table.loc["On a spine", "Odds ratio, all together"]
    assert found == f"{values['on_spine_together']['text']}, {values['on_spine_together_p']['text']}"
    assert len(pd.read_csv(build.tables / "comparison.csv")) == 10


def test_a_model_without_errors_has_no_odds_ratios_and_says_why(performed, tmp_path):
    original, environment = performed
    build, environment = copied(original.root.parent.parent, environment, tmp_path)
    best = artefacts.read_json(build.analysis / "performance.json")["best_model"]["value"]
    rows = pd.read_parquet(build.predictions(best))
    rows.assign(p_excitatory=0.01 + 0.98 * rows["label"]).to_parquet(build.predictions(best))
    succeed(environment, "analysis/errors.py", "tables/errors.py")
    values = artefacts.read_json(build.analysis / "errors.json")
    assert values["n_errors"]["value"] == 0
    assert values["found"]["text"].startswith("No model of all predictors could be fitted: `error` must hold 0 and 1")
    assert "no model could be fitted" in (build.tables / "errors.md").read_text()
