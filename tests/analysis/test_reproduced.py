"""Reported and reproduced: nothing left out, ours quoted from the analyses, and what an edition lacks is said."""

import re

import pandas as pd
import pytest
from fake_build import REPOSITORY, analyse, build_fake, succeed

from pipeline import artefacts
from pipeline.artefacts import Build

ABSENT = "not in this edition"
MODELS = (
    {"name": "resnet18", "network": "resnet18"},
    {"name": "resnet18_untrained", "network": "resnet18", "trained": False},
    {"name": "team_resnet18", "preset": "team-resnet", "pretrained": False},
    {"name": "unet3d", "network": "unet3d"},
)
#: What earlier work reported, system by system.
REPORTED = """0.83 0.733 0.758 0.65 45,150 5,287 | 40 56,335 28 450 76.89% 74.4% 56.1% 0.497 0.50 53 2,008 607 94% 0.93
    51 4.36 −0.2 | 100% 97.5% 96.9% 1,000 162 | 0.975 0.917 0.858 87% | 0.629 0.689 0.737 0.609 0.747 0.842 0.88"""


@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    """`(build, environment)` with networks and a cohort, but no partners and no connectome."""
    _, root, environment = build_fake(tmp_path_factory.mktemp("reproduced"), MODELS)
    analyse(("cohort", "performance", "study", "leakage"), environment)
    return Build("fake", root), environment


def _table(build, environment):
    succeed(environment, "tables/reproduced.py")
    return pd.read_csv(build.tables / "reproduced.csv", keep_default_na=False)


def _row(table, words):
    (place,) = table.index[table["Number"].str.startswith(words)]
    return table.loc[place]


def test_every_reported_number_is_there_with_a_source_that_exists(edition):
    table = _table(*edition)
    reported = set(re.findall(r"[−\d][\d.,]*%?", " ".join(table["Reported"]).replace(", ", " ")))
    assert set(REPORTED.replace("|", "").split()) <= {number.rstrip(".,;") for number in reported}
    known = re.findall(r"^@\w+\{(\w+),", (REPOSITORY / "paper" / "references.bib").read_text(), re.MULTILINE)
    cited = re.findall(r"@(\w+)", " ".join(table["Number"]))
    assert set(cited) <= set(known)
    assert (table != "").all(axis=None)


def test_ours_is_quoted_from_the_analyses(edition):
    build, environment = edition
    table = _table(build, environment)
    leakage = {name: entry["text"] for name, entry in artefacts.read_json(build.analysis / "leakage.json").items()}
    here = _row(table, "Connectivity alone")["Here"]
    assert f"split at random {leakage['leaky_accuracy']}, {leakage['leaky_balanced_accuracy']};" in here
    assert here.endswith(f"held out {leakage['honest_accuracy']}, {leakage['honest_balanced_accuracy']}")
    cohort = artefacts.read_json(build.analysis / "cohort.json")
    assert _row(table, "Neurons and synapses [")["Here"].startswith(cohort["n_neurons"]["text"] + " neurons")


def test_a_network_of_the_earlier_recipe_stands_before_a_better_one(edition):
    build, environment = edition
    table = _table(build, environment)
    families = pd.read_parquet(build.analysis / "study.families.parquet").set_index("family")
    assert families["validation_auc"].idxmax() == "unet3d"
    assert _row(table, "2D ResNet")["Here"].endswith("(ResNet-18, team-resnet recipe)")
    best = families.query("dimensionality == '2D' and trained")["validation_auc"].idxmax()
    assert _row(table, "2D, neurons held out")["Here"].endswith(f"({families['label'][best]})")


def test_what_the_edition_lacks_is_stated(edition):
    table = _table(*edition)
    for words in (
        "Partner assignment, AVAN",
        "Confidence",
        "Real connectivity, multiplicity:",
        "3D networks, units mi",
    ):
        assert _row(table, words)["Here"] == ABSENT
    assert _row(table, "Download")["Here"] == "not measured"


def test_an_edition_of_a_connectome_and_of_partners(tmp_path):
    _, root, environment = build_fake(tmp_path, MODELS)
    build = Build("fake", root)
    artefacts.write_json(
        build.analysis / "connectome.json",
        {"all_boosting_connection": {"value": 0.84, "text": "0.840 [0.800, 0.880]"}},
    )
    artefacts.write_json(
        build.analysis / "partners.json", {"accuracy_avan": {"value": 0.994, "text": "99.4% [98.0%, 99.9%]"}}
    )
    table = _table(build, environment)
    assert _row(table, "Real connectivity, all, gradient")["Here"] == "0.840 [0.800, 0.880]"
    assert _row(table, "Partner assignment, AVAN")["Here"] == "99.4% [98.0%, 99.9%]"
    assert _row(table, "Connectivity alone")["Here"] == ABSENT
