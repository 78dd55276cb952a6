"""All methods on a store: seeded, independent of what else is asked; and synapses with several partners, exactly."""

import numpy as np
import pandas as pd
import pytest
import torch
import toy_store as toy

from pipeline.models.names import ASSIGNERS
from pipeline.partners import evaluate, model, polyadic, predict, rules
from pipeline.partners.samples import Samples

CARD = {name: model.card(name, 4, toy.VOXEL_NM, toy.SHAPE_ZYX, 80.0) for name in ASSIGNERS}


@pytest.fixture(scope="module")
def models():
    """Networks that guess."""
    torch.manual_seed(0)
    return {name: (model.build(name, 4).eval(), card) for name, card in CARD.items()}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return Samples(toy.write(tmp_path_factory.mktemp("evaluate") / "samples", n_train=0, n_background=2, n_val=24))


ROWS = np.arange(2, 26)


def test_the_same_seed_gives_the_same_table(models, samples):
    table = evaluate.assignments(models, samples, ROWS, 5)
    pd.testing.assert_frame_equal(evaluate.assignments(models, samples, ROWS, 5), table)
    assert table["method"].unique().tolist() == [*ASSIGNERS, *rules.RULES]
    assert (table.groupby("method")["synapse_id"].nunique() == 24).all()
    other = evaluate.assignments(models, samples, ROWS, 6)
    differing = table["method"][(table["pre_segment_id"] != other["pre_segment_id"])].unique()
    assert differing.tolist() == ["random_direction"]
    pairs = table[table["method"] == "random_direction"]
    directions = pairs["pre_segment_id"] == pairs["true_pre_segment_id"]
    assert 4 <= directions.sum() <= 20  # of 24 tosses


def test_a_cleft_is_decided_by_itself(models, samples):
    """Whatever other clefts are asked for, in whatever order."""
    everything = evaluate.assignments(models, samples, ROWS, 5).set_index(["method", "synapse_id"])
    some = evaluate.assignments(models, samples, ROWS[[20, 3, 11]], 5).set_index(["method", "synapse_id"])
    same = everything.loc[some.index]
    np.testing.assert_allclose(some["confidence"], same["confidence"], atol=1e-2)  # bfloat16 in other batches
    pd.testing.assert_frame_equal(some.loc[list(rules.RULES)], same.loc[list(rules.RULES)])


def test_rules_are_worth_what_they_can_be_worth(models, samples):
    """The toy's presynaptic cell is darker by its vesicles; an untrained network knows no direction."""
    table = evaluate.assignments(models, samples, ROWS, 5)
    right = (table["pre_segment_id"] == table["true_pre_segment_id"]) & (
        table["post_segment_id"] == table["true_post_segment_id"]
    )
    share = right.groupby(table["method"]).mean()
    assert share["darker_is_pre"] > 0.9
    assert share["random_direction"] < 0.8


@pytest.fixture
def perfect(monkeypatch):
    """AVAN replaced by the truth: postsynaptic where `polyadic.divide` put such profiles, else presynaptic."""
    divided, divide = [], polyadic.divide

    def recorded(*arguments):
        found = divide(*arguments)
        divided.append(found[1:])
        return found

    def outputs(network, em, cleft):
        is_post = [np.isin(parts, posts) for parts, posts in divided[-len(em) :]]
        return np.stack([np.logical_not(is_post), is_post], axis=1).astype(np.float32)

    monkeypatch.setattr(polyadic, "divide", recorded)
    monkeypatch.setattr(predict, "avan_outputs", outputs)
    return divided


def test_partners_of_divided_clefts_are_found_exactly_by_a_perfect_network(samples, perfect):
    table = evaluate.several_posts(None, CARD["avan"], samples, ROWS, 3)
    assert len(perfect) == table["synapse_id"].nunique() > 10
    by_synapse = table.groupby("synapse_id")
    assert table["n_posts"].between(2, 4).all()
    assert table["n_posts"].nunique() > 1
    assert (by_synapse["is_post"].sum() == by_synapse["n_posts"].first()).all()
    chosen = polyadic.choose(table)
    assert (chosen["chosen"] == chosen["is_post"]).all()
    assert polyadic.precision_recall(chosen).loc[0, ["precision", "recall", "f1"]].tolist() == [1, 1, 1]


def test_new_segments_have_ids_of_their_own(samples, models):
    table = evaluate.several_posts(*models["avan"], samples, ROWS, 3)
    assert table["segment_id"].dtype == np.uint64
    new = table["segment_id"][table["is_post"]]
    assert not new.duplicated().any()
    assert not set(new.tolist()) & set(samples.segments["segment_id"].tolist())
    stored = samples.segments.merge(samples.index[["row", "synapse_id"]], on="row").groupby("synapse_id")["segment_id"]
    for synapse, rows in table[~table["is_post"]].groupby("synapse_id"):
        assert set(rows["segment_id"].tolist()) <= set(stored.get_group(synapse).tolist())
    pd.testing.assert_frame_equal(evaluate.several_posts(*models["avan"], samples, ROWS, 3), table)
    other = evaluate.several_posts(*models["avan"], samples, ROWS, 4)
    assert other["n_posts"].tolist() != table["n_posts"].tolist()


def test_clefts_of_unknown_partners_are_not_divided(samples, models, tmp_path):
    """The background is no postsynaptic profile."""
    folder = toy.write(tmp_path / "samples", n_train=0, n_background=0, n_val=6)
    index = pd.read_parquet(folder / "index.parquet")
    index.loc[[1, 4], "post_segment_id"] = np.uint64(0)
    index.to_parquet(folder / "index.parquet")
    table = evaluate.several_posts(*models["avan"], Samples(folder), np.arange(6), 3)
    assert not set(table["synapse_id"]) & {2, 5}
    with pytest.raises(ValueError, match=r"none of the clefts of .* with known partners \(0\) can be divided"):
        evaluate.several_posts(*models["avan"], Samples(folder), np.array([1, 4]), 3)
