"""Partners in real EM, from assignments whose errors are counted by hand: scores, tests and what the table says."""

import numpy as np
import pandas as pd
import pytest
from fake_build import analyse, build_fake, copied, run_script, succeed
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests

from pipeline import artefacts
from pipeline.artefacts import Build
from pipeline.stats.shares import share_interval

FIRST_ID = np.uint64(2**63)  # ids one apart, which floats cannot distinguish
N = 71
UNSCORED = 70  # no method's candidates have the true pair of this synapse

#: By protocol and method: synapses whose pair is reversed, and those with a wrong segment.
ERRORS = {
    ("simulation", "avan"): ((3,), (7,)),
    ("simulation", "mask_pruner"): ((3, 11), (20, 21)),
    ("simulation", "proximity_pruner"): (tuple(range(9)), ()),
    ("simulation", "largest_overlap"): (tuple(range(30, 60)), (0, 1)),
    ("simulation", "darker_is_pre"): ((60, 61, 62, 63, 64, 65, 66, 67), ()),
    ("simulation", "random_direction"): (tuple(range(0, 70, 2)), ()),
    ("fine-tuned", "avan"): ((), ()),
    ("fine-tuned", "mask_pruner"): ((11,), (20,)),
    ("fine-tuned", "proximity_pruner"): ((0, 1, 2, 4), (5,)),
}
CASES = [*ERRORS]


def write_assignments(folder):
    """What `make partners-transfer` measures: the last synapse has no pair in any method."""
    truth = pd.DataFrame({"synapse_id": np.arange(N) + 300, "confidence": 0.9, "margin": 0.4})
    truth["true_pre_segment_id"] = FIRST_ID + np.arange(N, dtype=np.uint64) * np.uint64(3)
    truth["true_post_segment_id"] = truth["true_pre_segment_id"] + np.uint64(1)
    tables = []
    for (protocol, method), (reversed_pair, wrong_partner) in ERRORS.items():
        pre, post = (truth[f"true_{side}_segment_id"].to_numpy().copy() for side in ("pre", "post"))
        reversed_pair, wrong_partner = np.array(reversed_pair, dtype=int), np.array(wrong_partner, dtype=int)
        pre[reversed_pair], post[reversed_pair] = post[reversed_pair], pre[reversed_pair]
        post[wrong_partner] += np.uint64(1)
        pre[UNSCORED] = post[UNSCORED] = 0
        rows = truth.assign(pre_segment_id=pre, post_segment_id=post, outcome="assigned")
        rows["direction_right"] = pd.array(~np.isin(np.arange(N), reversed_pair), dtype="boolean")
        rows.loc[UNSCORED, ["outcome", "direction_right", "confidence", "margin"]] = "one_segment", pd.NA, None, None
        tables.append(rows.assign(protocol=protocol, method=method))
    artefacts.write_parquet(folder / "assignments.parquet", pd.concat(tables, ignore_index=True))
    artefacts.write_json(folder / "volume.json", {"datastack": "some_cortex", "split_z": 75})
    artefacts.write_json(folder / "samples" / "manifest.json", {"voxel_nm": [12.0, 12.0, 30.0]})


@pytest.fixture(scope="module")
def transferred(tmp_path_factory):
    """`(build of the real data, environment)` after `analysis/partner_transfer.py`; not to be changed."""
    folder = tmp_path_factory.mktemp("partner_transfer")
    _, root, environment = build_fake(folder, ({"name": "cnn", "network": "cnn"},))
    environment["SYNAPSE_EI_DATA"] = str(folder / "some_cortex")  # the name of a folder that nothing reads
    real = Build("fake", root).on(environment["SYNAPSE_EI_DATA"])
    write_assignments(real.partners)
    analyse(["partner_transfer"], environment)
    return real, environment


@pytest.fixture
def changeable(transferred, tmp_path):
    build, environment = transferred
    edition, environment = copied(build.root.parents[3], environment, tmp_path)
    return edition.on(environment["SYNAPSE_EI_DATA"]), environment


def _values(build, part="value"):
    path = build.analysis / "partner_transfer.json"
    return {name: entry[part] for name, entry in artefacts.read_json(path).items()}


def _key(protocol, method):
    return f"{protocol}_{method}".replace("-", "_")


def _share(k, n):
    """A share of synapses, each of neurons of its own, as the report writes it."""
    low, high = share_interval(np.arange(n) < k, np.arange(n), 0.95)
    return f"{100 * k / n:.1f}% [{100 * low:.1f}%, {100 * high:.1f}%]"


@pytest.mark.parametrize(("protocol", "method"), CASES)
def test_pair_and_direction_have_intervals_and_errors_are_counted_separately(transferred, protocol, method):
    key, values, texts = _key(protocol, method), _values(transferred[0]), _values(transferred[0], "text")
    reversed_pair, wrong_partner = (len(synapses) for synapses in ERRORS[protocol, method])
    assert texts[f"{key}_accuracy"] == _share(N - reversed_pair - wrong_partner - 1, N)
    assert texts[f"{key}_direction"] == _share(N - reversed_pair - 1, N - 1), "the unscored one is left out"
    assert values[f"{key}_reversed"] == values[f"{key}_direction_wrong"] == reversed_pair
    assert values[f"{key}_wrong_partner"] == wrong_partner
    assert values[f"{key}_unassigned"] == 1


def test_with_a_synapse_a_neuron_tests_are_mcnemars_of_networks_against_the_baseline_and_of_avan_against_pruners(
    transferred,
):
    found = pd.read_parquet(transferred[0].analysis / "partner_transfer.comparisons.parquet")
    assert len(found) == 2 * (2 * 3 + 2 * 2)
    for row in found.itertuples():
        baseline = row.method_b == "darker_is_pre"
        ours, theirs = (
            ERRORS[row.protocol, row.method_a],
            ERRORS["simulation" if baseline else row.protocol, row.method_b],
        )
        ours, theirs = (
            set(reversed_pair) | (set(wrong_partner) if row.target == "pair" else set())
            for reversed_pair, wrong_partner in (ours, theirs)
        )
        assert (row.only_a, row.only_b) == (len(theirs - ours), len(ours - theirs))
        assert row.p == pytest.approx(min(1, 2 * binom.cdf(min(row.only_a, row.only_b), row.only_a + row.only_b, 0.5)))
    for _, rows in found.groupby("target"):
        assert rows["p_holm"].tolist() == pytest.approx(multipletests(rows["p"], method="holm")[1].tolist())


def test_the_table_has_a_row_for_each_protocol_and_method_and_a_caption_that_stands_alone(transferred):
    build, environment = transferred
    succeed(environment, "tables/partner_transfer.py")
    table = pd.read_csv(build.tables / "partner_transfer.csv", dtype=str).set_index(["Trained on", "Method"])
    texts = _values(build, "text")
    assert len(table) == len(ERRORS)
    tuned, rule = table.loc["Fine-tuned", "AVAN"], table.loc["–", "Rule: nearest pair, darker is presynaptic"]
    assert tuned["Direction alone"] == texts["fine_tuned_avan_direction"] == _share(70, 70)
    assert "p = " + tuned["p, darker"] == texts["fine_tuned_avan_direction_against_darker_is_pre_p_holm"]
    assert (tuned["p, AVAN"], rule["p, darker"]) == ("–", "–")
    assert rule["Reversed"] == "8"
    caption = (build.tables / "partner_transfer.caption.md").read_text()
    for wanted in (
        "the folder some_cortex",
        "voxels of 12 × 12 × 30 nm",
        "trained on simulated neuropil alone",
        "section 75",
        "at most 1 for a method",
        "finds every true pair by construction in the Kasthuri folder",
        "only the direction is an independent target",
    ):
        assert wanted in caption


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda rows: rows[(rows["synapse_id"] != 312) | (rows["protocol"] != "fine-tuned")],
            "was not applied to synapses [312]",
        ),
        (lambda rows: rows[rows["method"] != "mask_pruner"], "mask_pruner"),
        (lambda rows: rows.astype({"post_segment_id": float}), "post_segment_id is float64"),
        (lambda rows: pd.concat([rows, rows[:1]]), "synapses occur twice"),
    ],
)
def test_assignments_that_would_flatter_a_method_are_refused(changeable, change, message):
    build, environment = changeable
    path = build.partners / "assignments.parquet"
    artefacts.write_parquet(path, change(pd.read_parquet(path)).reset_index(drop=True))
    done = run_script("analysis/partner_transfer.py", environment)
    assert done.returncode
    assert message in done.stderr
    assert not (build.analysis / "partner_transfer.json").exists(), "a failed script leaves no stale result"
