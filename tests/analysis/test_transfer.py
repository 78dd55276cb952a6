"""Scores on real synapses: against scikit-learn and a count of pairs, and what the table says of them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from fake_build import analyse, build_fake, copied, run_script, succeed
from sklearn.metrics import roc_auc_score

from pipeline import artefacts
from pipeline.artefacts import Build

MODELS = (
    {"name": "resnet18", "network": "resnet18"},
    {"name": "resnet18_untrained", "network": "resnet18", "trained": False},
    {"name": "unet3d", "network": "unet3d", "seeds": [0, 1]},
    {"name": "unet3d_strong", "network": "unet3d", "augmentation": {"gamma": 0.6, "noise": 0.1}},
    {"name": "unet3d_folds", "network": "unet3d", "folds": True},
)
NETWORKS = ("resnet18", "resnet18_untrained", "unet3d_seed0", "unet3d_seed1", "unet3d_strong")


def write_scores(folder, seed=11):
    """What `make transfer` measures: 40 excitatory synapses of 20 axons, 6 inhibitory ones of 3, all on shafts."""
    rng = np.random.default_rng(seed)
    n_excitatory, n_inhibitory = 40, 6
    label = np.repeat([1, 0], [n_excitatory, n_inhibitory])
    axon = np.concatenate([np.arange(n_excitatory) // 2, 100 + np.arange(n_inhibitory) // 2])
    rows = pd.DataFrame({"synapse_id": rng.permutation(46) + 500, "pre_neuron_id": axon})
    rows["label"] = pd.array(label, dtype="Int64")
    rows["on_spine"] = pd.array((label == 1) & (np.arange(46) % 4 > 0), dtype="boolean")
    grey = 130 - 15 * label + rng.normal(scale=12, size=46)
    grey[3] = np.nan  # its postsynaptic segment is not within reach
    texture = 300 - 40 * label + rng.normal(scale=60, size=46)
    artefacts.write_parquet(folder / "floors.parquet", rows.assign(grey_post=grey, texture_pre=texture))
    artefacts.write_json(folder / "volume.json", {"kind": "folder", "datastack": "some_cortex"})
    for name in NETWORKS:
        p, matched = (1 / (1 + np.exp(-(label + rng.normal(size=46)))) for _ in range(2))
        scores = rows.assign(split="test", fold=0, p_excitatory=p, p_matched=matched)
        artefacts.write_parquet(folder / f"{name}.parquet", scores)


@pytest.fixture(scope="module")
def transferred(tmp_path_factory):
    """`(build, environment)` after `analysis/transfer.py`; not to be changed."""
    folder = tmp_path_factory.mktemp("transfer")
    _, root, environment = build_fake(folder, MODELS)
    build = Build("fake", root)
    environment["SYNAPSE_EI_DATA"] = str(folder / "some_cortex")  # the name of a folder that nothing reads
    write_scores(build.on(environment["SYNAPSE_EI_DATA"]).transfer)
    analyse(("performance", "transfer"), environment)
    return build, environment


@pytest.fixture
def changeable(transferred, tmp_path):
    build, environment = transferred
    return copied(build.root.parent.parent, environment, tmp_path)


def _real(build):
    return build.on("some_cortex")


def _values(build):
    entries = artefacts.read_json(_real(build).analysis / "transfer.json")
    return {name: entry["value"] for name, entry in entries.items()}


def _auc(build, model, column, shaft):
    rows = pd.read_parquet(_real(build).transfer / f"{model}.parquet")
    rows = rows[~rows["on_spine"].astype(bool)] if shaft else rows
    return roc_auc_score(rows["label"].astype(int), rows[column])


@pytest.mark.parametrize(("subset", "shaft"), [("all", False), ("shaft", True)])
def test_aucs_and_gains_are_those_of_scikit_learn(transferred, subset, shaft):
    build, _ = transferred
    values = _values(build)
    plain, matched = (
        {model: _auc(build, model, column, shaft) for model in NETWORKS} for column in ("p_excitatory", "p_matched")
    )
    for auc in (plain, matched):  # a family's is the mean of its seeds'
        auc["unet3d"] = (auc["unet3d_seed0"] + auc["unet3d_seed1"]) / 2
    for family in ("resnet18", "resnet18_untrained", "unet3d", "unet3d_strong"):
        assert values[f"{family}_{subset}"] == pytest.approx(plain[family])
        assert values[f"{family}_{subset}_matched"] == pytest.approx(matched[family])
    for family in ("resnet18", "unet3d"):
        gain = values[f"{family}_{subset}_matching_gain"]
        assert gain == pytest.approx(matched[family] - plain[family])
    gain = values[f"unet3d_strong_{subset}_augmentation_gain"]
    assert gain == pytest.approx(plain["unet3d_strong"] - plain["unet3d"])
    assert f"resnet18_{subset}_augmentation_gain" not in values
    assert not any("folds" in name for name in values), "a cross-validated model is no single network"


def test_floors_call_the_dark_the_smooth_and_the_spiny_excitatory(transferred):
    build, _ = transferred
    values, floors = _values(build), pd.read_parquet(_real(build).transfer / "floors.parquet")
    for name, score in (
        ("grey_post", -floors["grey_post"]),
        ("texture_pre", -floors["texture_pre"]),
        ("on_spine", floors["on_spine"].astype(float)),
    ):
        known = floors[score.notna()]
        pairs = itertools.product(*(score[known.index[known["label"] == label]] for label in (1, 0)))
        expected = np.mean([(e > i) + 0.5 * (e == i) for e, i in pairs])
        assert values[f"{name}_all"] == pytest.approx(expected)
    assert values["n_grey_post_all"] == 45
    assert "on_spine_shaft" not in values


def test_the_best_of_a_kind_is_the_best_on_validation(transferred):
    build, _ = transferred
    runs = pd.read_parquet(build.analysis / "performance.runs.parquet").query("trained and not folds")
    best = runs.groupby(["dimensionality", "family"])["validation_auc"].mean()
    values = _values(build)
    assert values["best_2d"] == "resnet18"
    assert values["best_3d"] == best["3D"].idxmax()
    assert values["best_3d_shaft"] == values[f"{values['best_3d']}_shaft"]


def test_intervals_contain_their_values_and_few_axons_make_them_wide(transferred):
    build, _ = transferred
    results = pd.read_parquet(_real(build).analysis / "transfer.results.parquet")
    assert (results["low"] <= results["value"]).all()
    assert (results["value"] <= results["high"]).all()
    assert (results["high"] - results["low"]).median() > 0.2


def test_the_table_names_the_volume_and_counts_axons(transferred):
    build, environment = transferred
    succeed(environment, "tables/transfer.py")
    caption = (_real(build).tables / "transfer.caption.md").read_text()
    assert "simulated neuropil alone" in caption
    assert "the folder some_cortex" in caption
    assert "40 excitatory synapses of 20 axons and 6 inhibitory ones of 3" in caption
    assert "unknown for 1 of them" in caption
    table = pd.read_csv(_real(build).tables / "transfer.csv", dtype=str).set_index("Score")
    texts = artefacts.read_json(_real(build).analysis / "transfer.json")
    assert table.loc["**ResNet-18**", "Shaft, matched"] == texts["resnet18_shaft_matched"]["text"]
    assert table.loc["Baseline: on a spine", ["Shaft", "All, matched"]].tolist() == ["–", "–"]
    assert len(table) == 4 + 3


def test_scores_of_other_synapses_are_refused(changeable):
    build, environment = changeable
    path = _real(build).transfer / "resnet18.parquet"
    rows = pd.read_parquet(path)
    for other in (rows.iloc[1:], rows.assign(pre_neuron_id=rows["pre_neuron_id"] + 1)):
        artefacts.write_parquet(path, other)
        done = run_script("analysis/transfer.py", environment)
        assert done.returncode
        assert "resnet18.parquet does not fit floors.parquet: run `make transfer` again" in done.stderr
        assert not (_real(build).analysis / "transfer.json").exists()
