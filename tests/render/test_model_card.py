"""Cards of partner networks: what they say of the network follows from the network's own file."""

import dataclasses

import pytest

from pipeline import stages
from pipeline.learn import checkpoint
from pipeline.models.names import ASSIGNERS
from pipeline.partners import model
from pipeline.render import model_card

FACTS = {
    "data": "simulated neuropil",
    "tuned": None,
    "scores": [("direction, 71 real synapses", "98.6% [92.4%, 100.0%]"), ("pair, simulated", "97.1% [93.0%, 99.1%]")],
    "parameters": 215_306,
    "seed": 20260,
    "command": "make partners CONFIG=demo",
    "commit": "28df0b5ef49e925e14bdd3baac8cc5ff2f09787d",
    "config_hash": "a325c7bbe04d09d8" + 48 * "0",
}


def _card(tmp_path, name):
    """Of a saved and loaded network, as the command for publishing has it."""
    made = model.card(name, 4, (12.0, 12.0, 30.0), (14, 48, 64), 80.0)
    checkpoint.save(tmp_path / "model.safetensors", model.build(name, 4), made)
    return dataclasses.asdict(model.load(tmp_path / "model.safetensors")[1])


@pytest.mark.parametrize("name", ASSIGNERS)
def test_a_card_says_what_the_network_reads_and_how_well_it_does(tmp_path, name):
    text = model_card.partners_text(_card(tmp_path, name), FACTS)
    assert text.startswith(f"# {name}: which two neurons does a cleft join?\n\n**It has never seen a real synapse.**")
    for wanted in (
        "14 x 48 x 64 voxels (ZYX) of 12 x 12 x 30 nm (XYZ)",
        "within 80 nm",
        "215,306 parameters",
        "| trained on | simulated neuropil |",
        "at commit `28df0b5ef49e925e14bdd3baac8cc5ff2f09787d`, configuration hash `a325c7bbe04d09d8`",
        "| direction, 71 real synapses | 98.6% [92.4%, 100.0%] |\n| pair, simulated | 97.1% [93.0%, 99.1%] |\n",
        "## What it is not for",
    ):
        assert wanted in text
    assert ("for every ordered pair" in text) == (name != "avan")
    assert ("signed distance" in text) == (name == "proximity_pruner")


def test_a_card_of_a_tuned_network_names_the_real_synapses_that_it_saw(tmp_path):
    text = model_card.partners_text(_card(tmp_path, "avan"), FACTS | {"tuned": (57, "Kasthuri et al. (2015), AC3")})
    assert "never seen" not in text
    assert "**The only real synapses it has seen are 57 of Kasthuri et al. (2015), AC3.**" in text
    assert "| trained on | simulated neuropil; then fine-tuned on 57 synapses of Kasthuri et al. (2015), AC3 |" in text


def test_the_command_on_the_card_exists(tmp_path):
    text = model_card.partners_text(_card(tmp_path, "avan"), FACTS)
    command = text.split("`python -m pipeline ")[1].split("`")[0]
    stages.load()
    name, *arguments = command.split()
    options = stages.commands.commands[name].make_context(name, arguments).params
    assert (name, options["run"].name, str(options["out"])) == ("partners", "avan", "partners.parquet")
