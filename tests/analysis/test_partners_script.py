"""Results on partners, from files whose errors are counted by hand; and the figures and tables that quote them."""

import re

import numpy as np
import pandas as pd
import pytest
from fake_build import analyse, check_picture, copied, run_script, succeed
from fake_partners import CHOSEN, ERRORS, MODELS, N_POSTS, N, build_fake_partners
from scipy.stats import binom
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

from pipeline import artefacts
from pipeline.stats.permutation import sign_flip
from pipeline.stats.shares import share_interval


@pytest.fixture(scope="module")
def partnered(tmp_path_factory):
    """`(build, environment)` after `analysis/partners.py`; not to be changed."""
    build, environment = build_fake_partners(tmp_path_factory.mktemp("partners"))
    analyse(["partners"], environment)
    return build, environment


@pytest.fixture
def changeable(partnered, tmp_path):
    build, environment = partnered
    return copied(build.root.parent.parent, environment, tmp_path)


def _values(build, part="value"):
    return {name: entry[part] for name, entry in artefacts.read_json(build.analysis / "partners.json").items()}


def _edit(path, change):
    rows = pd.read_parquet(path)
    change(rows)
    rows.to_parquet(path)


@pytest.mark.parametrize("method", ERRORS)
def test_errors_are_counted_separately_and_intervals_are_by_neuron(partnered, method):
    values, texts = _values(partnered[0]), _values(partnered[0], "text")
    reversed_pair, wrong_partner, none = (len(clefts) for clefts in ERRORS[method])
    assert values[f"reversed_{method}"] == reversed_pair
    assert values[f"wrong_partner_{method}"] == wrong_partner
    assert values[f"unassigned_{method}"] == none
    k = N - reversed_pair - wrong_partner - none
    assert values[f"direction_{method}"] == pytest.approx(1 - reversed_pair / (N - none))
    right = ~np.isin(np.arange(N), [n for part in ERRORS[method] for n in part])
    limits = [share_interval(right, neuron, 0.95) for neuron in (np.arange(N), np.arange(N) % N_POSTS)]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    assert texts[f"accuracy_{method}"] == f"{100 * k / N:.1f}% [{100 * low:.1f}%, {100 * high:.1f}%]"


@pytest.mark.parametrize("method", [name for name in ERRORS if name != "avan"])
def test_methods_are_exchanged_on_all_clefts_of_a_neuron(partnered, method):
    ours, theirs = ({n for part in ERRORS[name] for n in part} for name in ("avan", method))
    n, fewer = len(ours ^ theirs), min(len(ours - theirs), len(theirs - ours))
    of_pre = min(1, 2 * binom.cdf(fewer, n, 0.5))  # each presynaptic neuron has one cleft: McNemar's test
    gains = np.array([(n in theirs) - (n in ours) for n in range(N)])
    of_post = sign_flip([gains[np.arange(N) % N_POSTS == post].sum() for post in range(N_POSTS)])
    assert _values(partnered[0])[f"p_{method}"] == pytest.approx(max(of_pre, of_post))


def test_accuracy_against_coverage_and_clefts_at_the_edge(partnered):
    build, _ = partnered
    values = _values(build)
    rows = pd.read_parquet(build.partners / "assignments.parquet").query("method == 'proximity_pruner'")
    right = (rows["pre_segment_id"] == rows["true_pre_segment_id"]) & (
        rows["post_segment_id"] == rows["true_post_segment_id"]
    )
    best = rows["margin"].sort_values(ascending=False, na_position="last").index
    for coverage in (50, 80, 90, 100):
        kept = right[best[: N * coverage // 100]]
        assert values[f"accuracy_proximity_pruner_at_{coverage}"] == pytest.approx(kept.mean())
    assert (values["edge_avan"], values["edge_right_avan"]) == (2, 2)
    assert values["edge_right_random_direction"] == 1


def test_the_combined_system_is_quoted_on_test_at_the_setting_chosen_on_validation(partnered):
    build, _ = partnered
    values = _values(build)
    systems = pd.read_parquet(build.analysis / "partners.systems.parquet").set_index("representation")
    assert systems["threshold"].to_dict() == pytest.approx(CHOSEN)
    assert values["mask_edge_f1"] == pytest.approx(0.89)
    assert values["proximity_edge_f1"] == pytest.approx(0.84)
    assert [values[f"stdt_n_{error}"] for error in ("missed", "merged", "wrong_partner", "false")] == [12, 4, 3, 9]
    assert values["best_representation"] == "cleft mask"


def test_errors_among_disagreements_and_those_that_would_not_be_read(partnered):
    values = _values(partnered[0])
    # The fake file: 30 false detections and disagreements on two of them and on 24 true clefts; the same error on two.
    assert values["n_detected"] == 300
    assert values["n_detected_false"] == 30
    assert values["n_disagreements"] == 26
    assert values["n_disputed"] == 24
    assert (values["disputed_errors_avan"], values["disputed_errors_pruner"]) == (10, 14)
    assert values["agreed_errors"] == 2
    assert values["disputed_p"] == pytest.approx(2 * binom.cdf(10, 24, 0.5))


def test_partners_that_are_no_candidates_count_as_missed(partnered):
    build, _ = partnered
    values = _values(build)
    rows = pd.read_parquet(build.partners / "polyadic.parquet").query("region == 'test'")
    assert (rows["is_post"] & rows["score"].isna()).any()
    precision, recall, *_ = precision_recall_fscore_support(rows["is_post"], rows["chosen"], average="binary")
    assert (values["polyadic_precision"], values["polyadic_recall"]) == pytest.approx((precision, recall))
    right = [(part["chosen"] == part["is_post"]).all() for _, part in rows.groupby("synapse_id")]
    assert values["polyadic_complete"] == pytest.approx(np.mean(right))


def test_pictures_show_the_segments_of_the_pair_that_was_given(partnered):
    pictures = pd.read_parquet(partnered[0].analysis / "partners.pictures.parquet")
    assert set(pictures["method"]) == set(ERRORS)
    for (method, example), pixels in pictures.groupby(["method", "example"]):
        left, right = pixels[pixels["x"] < 22], pixels[(pixels["x"] >= 22) & (pixels["y"] < 32)]
        assert (left["true"] == 1).all()
        assert (right["true"] == 2).all()
        same = (pixels["assigned"] == pixels["true"]).all()
        assert same == (example == "correct"), f"{method}, {example}"
        if (pixels["outcome"] == "reversed").all():
            assert (left["assigned"] == 2).all()
            assert (right["assigned"] == 1).all()


def test_where_a_method_never_errs_its_least_certain_cleft_is_shown(changeable):
    build, environment = changeable

    def perfect(rows):
        avan = rows["method"] == "avan"
        for side in ("pre", "post"):
            rows.loc[avan, f"{side}_segment_id"] = rows.loc[avan, f"true_{side}_segment_id"]
        rows.loc[(rows["synapse_id"] == 950) & avan, "margin"] = 0.001

    _edit(build.partners / "assignments.parquet", perfect)
    analyse(["partners"], environment)
    pictures = pd.read_parquet(build.analysis / "partners.pictures.parquet").query("method == 'avan'")
    assert set(pictures["example"]) == {"correct", "least certain"}
    assert set(pictures.loc[pictures["example"] == "least certain", "margin"]) == {0.001}
    assert re.fullmatch(r"100.0% \[9[67]\.\d%, 100\.0%\]", _values(build, "text")["accuracy_avan"])


def test_ids_that_were_rounded_are_refused(changeable):
    build, environment = changeable
    path = build.partners / "assignments.parquet"
    pd.read_parquet(path).astype({"pre_segment_id": float}).to_parquet(path)
    done = run_script("analysis/partners.py", environment)
    assert done.returncode
    assert "pre_segment_id is float64" in done.stderr
    assert not (build.analysis / "partners.json").exists(), "a failed script leaves no stale result"


def test_methods_on_different_clefts_are_not_compared(changeable):
    build, environment = changeable
    _edit(build.partners / "assignments.parquet", lambda rows: rows.drop(index=5, inplace=True))
    done = run_script("analysis/partners.py", environment)
    assert done.returncode
    assert "methods are compared on the same synapses" in done.stderr


def test_a_network_with_the_mask_is_compared_with_the_same_network_on_the_image_alone(tmp_path):
    build, environment = build_fake_partners(tmp_path, models=MODELS)
    analyse(["partners"], environment)
    values = _values(build)
    for name, model in (("cnn_attention_roc_auc", "cnn_attention"), ("cnn_attention_bare_roc_auc", "cnn")):
        test = pd.read_parquet(build.predictions(model)).query("split == 'test'")
        assert values[name] == pytest.approx(roc_auc_score(test["label"], test["p_excitatory"]))
    difference = values["cnn_attention_roc_auc"] - values["cnn_attention_bare_roc_auc"]
    assert values["cnn_attention_gain"] == pytest.approx(difference)
    assert "on the image alone" in values["attention"]


@pytest.mark.parametrize("name", ["partners", "partner_examples"])
def test_a_figure_is_whole_and_says_what_the_data_are(partnered, tmp_path, name):
    build, environment = copied(partnered[0].root.parent.parent, partnered[1], tmp_path)
    succeed(environment, f"figures/{name}.py")
    check_picture(build, name)


def test_tables_quote_the_analysis(changeable):
    build, environment = changeable
    texts = _values(build, "text")
    for name in ("partners", "margins", "detection", "disagreements"):
        succeed(environment, f"tables/{name}.py")
        assert "simulated neuropil" in (build.tables / f"{name}.caption.md").read_text()
    methods = pd.read_csv(build.tables / "partners.csv").set_index("Method")
    assert methods.loc["AVAN", "Accuracy"] == texts["accuracy_avan"]
    margins = pd.read_csv(build.tables / "margins.csv").set_index("Method")
    assert margins.loc["AVAN", "100% of clefts"] == texts["accuracy_avan"]
    assert margins.loc["AVAN", "At the edge"] == "2 of 2"
    assert methods.loc["Rule: largest overlaps", "Reversed"] == 75
    assert pd.read_csv(build.tables / "detection.csv").set_index("Measure").loc["Edge F1", "STDT"] == 0.89
    volume = pd.read_csv(build.tables / "disagreements.csv").set_index("The two methods")
    assert volume.loc["Agree", "Both wrong"] == 2
    assert volume.loc["All"].tolist() == [300, 30, 12, 16, 2]


def test_the_figure_refuses_a_setting_that_was_not_the_best_on_validation(changeable):
    build, environment = changeable

    def better(rows):
        other = (rows["region"] == "val") & ~rows["chosen"]
        rows.loc[rows.index[other][0], "edge_f1"] = 0.99

    _edit(build.partners / "detections.parquet", better)
    analyse(["partners"], environment)
    done = run_script("figures/partners.py", environment)
    assert done.returncode
    assert re.search("the claim does not hold: no setting of cleft mask has a higher F1", done.stderr)


def test_the_length_of_training_is_that_of_the_configuration(partnered):
    texts = _values(partnered[0], "text")
    assert texts["passes"] == "1 (AVAN), 2 (Mask pruner), 3 (Proximity pruner)"
    assert texts["passes_detectors"] == "4 (cleft mask), 5 (STDT), 6 (signed proximity)"
