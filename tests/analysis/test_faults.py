"""The three faults: scores against scikit-learn and plain counts, and claims that follow the data."""

import numpy as np
import pandas as pd
import pytest
from fake_build import analyse, build_fake, check_picture, copied, run_script, succeed, write_images
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from pipeline import artefacts
from pipeline.artefacts import Build
from pipeline.learn.threshold import best_threshold
from pipeline.stats import bootstrap

MODELS = ({"name": "resnet18", "network": "resnet18"}, {"name": "unet3d", "network": "unet3d"})
DEPTH, N_SECTIONS = 32, 240  # slices of a cube, by default; sections of the volume they were cut from


def add_misread(build, skill=0.3, seed=3):
    """What the stage `units` leaves, and the cubes of the right extraction."""
    rng = np.random.default_rng(seed)
    folder = build.units
    index = pd.read_parquet(build.patches / "index.parquet")
    for patches in (build.patches, folder / "patches"):
        write_images(patches, "cube", rng.integers(60, 200, (len(index), DEPTH, 12, 12), dtype=np.uint8))
        artefacts.write_parquet(patches / "index.parquet", index)
    bounds = {"source_resolution_nm": [8.0, 8.0, 40.0], "source_bounds_vx": [[0, 0, 0], [1300, 1300, N_SECTIONS]]}
    artefacts.write_json(folder / "patches" / "manifest.json", bounds)
    rows = pd.read_parquet(build.predictions("unet3d"))
    score = skill * (2 * rows["label"] - 1) + rng.normal(size=len(rows))
    artefacts.write_parquet(folder / "predictions.parquet", rows.assign(p_excitatory=1 / (1 + np.exp(-score))))
    artefacts.write_json(folder / "model.json", {"model": "unet3d"})
    return folder


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """`(build, environment)` after the analyses of units and of leakage; not to be changed."""
    folder = tmp_path_factory.mktemp("faults")
    _, root, environment = build_fake(folder, MODELS)
    build = Build("fake", root)
    add_misread(build)
    analyse(("units", "leakage"), environment)
    return build, environment


@pytest.fixture
def changeable(faulty, tmp_path):
    build, environment = faulty
    return copied(build.root.parent.parent, environment, tmp_path)


def _values(build, name):
    return artefacts.read_json(build.analysis / f"{name}.json")


def _parts(path):
    rows = pd.read_parquet(path)
    val = rows[rows["split"] == "val"]
    return rows[rows["split"] == "test"], best_threshold(val["label"].to_numpy(), val["p_excitatory"].to_numpy())


def test_scores_and_the_paired_difference_of_right_and_misread_cubes(faulty):
    build, _ = faulty
    values = _values(build, "units")
    right, right_tau = _parts(build.predictions("unet3d"))
    misread, misread_tau = _parts(build.units / "predictions.parquet")
    aucs = [roc_auc_score(rows["label"], rows["p_excitatory"]) for rows in (right, misread)]
    assert [values[f"{cubes}_roc_auc"]["value"] for cubes in ("right", "misread")] == pytest.approx(aucs)
    assert values["difference_roc_auc"]["value"] == pytest.approx(aucs[0] - aucs[1])
    pd.testing.assert_frame_equal(
        pd.read_parquet(build.analysis / "units.difference.parquet").set_index("metric").sort_index(),
        bootstrap.difference(right, misread, right_tau, misread_tau, 500, 0.95, 20260)
        .set_index("metric")
        .loc[["accuracy", "balanced_accuracy", "roc_auc"]],
    )
    assert values["resolved"]["text"] == "is resolved"
    assert values["span_um"]["text"] == "51.2", "32 slices, as in the prior work"


def test_of_a_large_cohort_both_networks_are_scored_on_the_sample(changeable):
    """The edition's own network saw more neurons than the sample has: it is not the one to compare with."""
    build, environment = changeable
    whole = pd.read_parquet(build.predictions("unet3d"))
    rows = whole[np.random.default_rng(4).random(len(whole)) < 0.7]
    right = rows.assign(p_excitatory=np.random.default_rng(5).uniform(size=len(rows)))
    misread = pd.read_parquet(build.units / "predictions.parquet")
    artefacts.write_parquet(build.units / "right.parquet", right)
    misread = misread[misread["synapse_id"].isin(rows["synapse_id"])]
    artefacts.write_parquet(build.units / "predictions.parquet", misread)
    assert _values(build, "units")["synapses_used"]["text"] == f"all {len(whole):,} synapses"
    analyse(("units",), environment)
    values = _values(build, "units")
    assert values["synapses_used"]["text"] == f"a fixed sample of {len(rows):,} of the {len(whole):,} synapses"
    test = right[right["split"] == "test"]
    assert values["right_roc_auc"]["value"] == pytest.approx(roc_auc_score(test["label"], test["p_excitatory"]))


def test_the_share_of_slices_from_elsewhere_is_counted_by_hand(faulty):
    build, _ = faulty
    synapses = pd.read_parquet(build.synapses).query("split == 'test'")
    section = (synapses["center_z_nm"] / 40 + 1e-6).astype(int).to_numpy()[:, None]
    steps = np.delete(np.arange(DEPTH) - DEPTH // 2, DEPTH // 2)
    beyond = (section + 40 * steps < 0) | (section + 40 * steps >= N_SECTIONS)
    assert _values(build, "units")["elsewhere_share"]["value"] == pytest.approx(beyond.mean())


def test_the_claims_about_misread_cubes_follow_the_intervals(changeable):
    build, environment = changeable
    path = build.units / "predictions.parquet"
    rows = pd.read_parquet(build.predictions("unet3d"))
    artefacts.write_parquet(path, rows)
    analyse(("units",), environment)
    values = _values(build, "units")
    assert values["difference_roc_auc"]["text"] == "0.00 [0.00, 0.00]"
    assert (values["resolved"]["text"], values["chance"]["text"]) == ("is not resolved", "remains above chance")
    noise = np.random.default_rng(0).uniform(size=len(rows))
    artefacts.write_parquet(path, rows.assign(p_excitatory=noise))
    analyse(("units",), environment)
    assert _values(build, "units")["chance"]["text"] == "does not differ from chance"


def test_misread_predictions_of_another_cohort_are_refused(changeable):
    build, environment = changeable
    path = build.units / "predictions.parquet"
    artefacts.write_parquet(path, pd.read_parquet(path).iloc[:-40])
    done = run_script("analysis/units.py", environment)
    assert done.returncode
    assert "models are compared on the same synapses" in done.stderr


def test_leaky_and_honest_protocol_against_a_second_implementation(faulty):
    build, _ = faulty
    values = _values(build, "leakage")
    assert values["leaky_balanced_accuracy"]["value"] >= 0.9
    assert values["leaky_pre_learned"]["value"] > 5 * abs(values["leaky_post_learned"]["value"])
    assert values["honest_pre_weight"] == {"value": 0.0, "text": "0.00 [0.00, 0.00]"}
    rows = pd.read_parquet(build.synapses)
    rows["p"] = np.nan
    for fold in rows["fold"].unique():
        training = rows[rows["fold"] != fold]
        log_odds = pd.DataFrame(index=rows.index)
        for column in ("pre_neuron_id", "post_neuron_id"):
            counts = training.groupby(column)["label"].agg(["sum", "size"]).reindex(rows[column]).fillna(0).to_numpy()
            log_odds[column] = logit((counts[:, 0] + 1) / (counts[:, 1] + 2))
        model = LogisticRegression().fit(log_odds.loc[training.index], training["label"])
        test = rows["fold"] == fold
        rows.loc[test, "p"] = model.predict_proba(log_odds[test])[:, 1]
    assert values["honest_roc_auc"]["value"] == pytest.approx(roc_auc_score(rows["label"], rows["p"]))
    assert values["honest_accuracy"]["value"] == pytest.approx(((rows["p"] >= 0.5) == rows["label"]).mean())


def test_without_a_leak_the_claim_of_one_fails(changeable):
    """One synapse a neuron: no split can give its label away."""
    build, environment = changeable
    rows = pd.read_parquet(build.synapses).drop_duplicates("pre_neuron_id")
    artefacts.write_parquet(build.synapses, rows)
    done = run_script("analysis/leakage.py", environment)
    assert done.returncode
    assert "the claim does not hold: split by synapse" in done.stderr


def test_coverage_is_reported_as_found(changeable):
    build, environment = changeable
    analyse(("confidence",), environment)
    values, table = _values(build, "confidence"), pd.read_parquet(build.analysis / "confidence.coverage.parquet")
    assert sorted(table["n_neurons"].unique()) == [6, 12, 30, 60, 120]
    row = table.set_index(["interval", "n_neurons", "metric"]).loc[("synapses", 6, "balanced_accuracy")]
    assert values["synapses_6_balanced_accuracy"]["value"] == row["coverage"]
    assert values["n_repeats"]["value"] == 40
    for name in ("confidence", "faults"):
        succeed(environment, f"figures/{name}.py")
        check_picture(build, name)


@pytest.mark.parametrize("name", ["units", "leakage"])
def test_figures(changeable, name):
    build, environment = changeable
    succeed(environment, f"figures/{name}.py")
    check_picture(build, name)
