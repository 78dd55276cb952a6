"""The text that goes with a published model: what it is, what it was trained on, its scores and its limits."""

import pandas as pd

from pipeline import glue
from pipeline.recipes import Model


def text(model: Model, card: dict, result: dict, scores: pd.DataFrame, facts: dict) -> str:
    """Markdown. `card` is the checkpoint's, as a dict; `result` is the run's `result.json`.

    `scores` are rows `metric, value, low, high` on the test neurons; `facts` says `data`, `simulated`, `command`,
    `commit`, `config_hash`, `confidence`, `n_bootstrap`, and how many synapses and neurons each split has.
    """
    table = "\n".join(
        f"| {glue.METRICS[row.metric]} | {glue.estimate(row.value, row.low, row.high).text} |"
        for row in scores.itertuples()
    )
    counts = "\n".join(
        f"| {split} | {glue.count(n).text} | {glue.count(neurons).text} |"
        for split, (n, neurons) in facts["splits"].items()
    )
    warning = (
        "**It was trained on simulated neuropil and has never seen a real synapse.** "
        "It shows that the software works; its calls need checking on your tissue. "
        if facts["simulated"]
        else ""
    )
    tested = f"""| split | synapses | presynaptic neurons |
|---|---|---|
{counts}

No presynaptic neuron is in two splits. On the test neurons, with {glue.percent(facts["confidence"]).text} intervals
from {glue.count(facts["n_bootstrap"]).text} resamples of neurons:

| metric | value |
|---|---|
{table}"""
    return _classifier(model, card, result, facts, warning, tested)


def tuned_text(model: Model, card: dict, result: dict, scores: pd.DataFrame, facts: dict) -> str:
    """Markdown of a classifier that was tuned on a laboratory's own synapses.

    Arguments as for `text`, but `scores` are rows `model, metric, value, low, high`, where `model` is one of `before`,
    `tuned` and `difference`, and `facts` has, instead of `simulated` and `splits`, `start` (the model before tuning),
    `synapses`, `neurons` (`{class: number}`) and `folds` (their number).
    """
    cells = {(row.model, row.metric): glue.estimate_of(row).text for row in scores.itertuples()}
    table = "\n".join(
        f"| {words} | {' | '.join(cells[column, metric] for column in ('before', 'tuned', 'difference'))} |"
        for metric, words in glue.METRICS.items()
    )
    neurons = " and ".join(f"{glue.count(n).text} {name}" for name, n in facts["neurons"].items())
    tested = f"""Tuned from `{facts["start"]}` on {glue.count(facts["synapses"]).text} synapses of {neurons} neurons.
The neurons were dealt into {facts["folds"]} folds. Each fold was scored by a network (`fold<k>/`) that was tuned,
stopped and calibrated on the others. The model of this folder was tuned on all folds: it has no test neurons of its
own, and the scores of the folds stand for it.
{glue.percent(facts["confidence"]).text} intervals whose unit is the presynaptic neuron:

| metric | before tuning | tuned | difference |
|---|---|---|---|
{table}"""
    return _classifier(model, card, result, facts, "", tested)


def _classifier(model: Model, card: dict, result: dict, facts: dict, warning: str, tested: str) -> str:
    """The card of a classifier; `tested` is the part on how it was tested."""
    depth, height, width = card["shape_zyx"]
    x, y, z = card["voxel_nm"]
    return f"""# {model.name}: is the presynaptic neuron excitatory or inhibitory?

{warning}Apply it with `python -m pipeline predict --run <this folder> ...`, see the repository's README.

| | |
|---|---|
| network | {model.network}, {glue.count(result["parameters"]).text} parameters, {result["device"]} |
| input | {depth} x {height} x {width} voxels (ZYX) of {x:g} x {y:g} x {z:g} nm (XYZ), centred on the synapse |
| output | `p_excitatory`; excitatory from {card["decision"]["tau"]:.4f} on, the best threshold on validation |
| data | {facts["data"]} |
| made by | `{facts["command"]}` at commit `{facts["commit"]}`, configuration hash `{facts["config_hash"][:16]}` |
| seed | {model.seed} |

{tested}

## Limits

- Images of other voxel sizes are refused; `predict` resamples volumes to the voxels above.
- Labels are those of the neuron, handed down to its synapses, and excitatory is the positive class.
- The threshold belongs to the validation data; on other tissue choose it again on synapses of known class.
- Neurons that release both kinds of transmitter, modulatory synapses and chemical fixation unlike that of the training
  data were not considered.
"""


def partners_text(card: dict, facts: dict) -> str:
    """Markdown. `card` is that of a network that assigns partners, as a dict.

    `facts` says `data` (what it was trained on), `tuned` (`(number of synapses, public dataset)` on which it was
    fine-tuned, or None), `scores` (pairs `(what was measured, text)`, shown as they are), `parameters`, `seed`,
    `command`, `commit` and `config_hash`.
    """
    depth, height, width = card["shape_zyx"]
    x, y, z = card["voxel_nm"]
    dilation_nm = card["decision"]["dilation_nm"]
    around = "signed distance from the cleft" if card["network"] == "proximity_pruner" else "mask of the cleft"
    if card["network"] == "avan":
        reads = f"the image and the {around}"
        output = "for each voxel, how likely it belongs to the presynaptic and to the postsynaptic segment"
    else:
        reads = f"the image, the {around}, and the masks of two segments"
        output = "how likely the first segment is presynaptic and the second postsynaptic, for every ordered pair"
    trained, warning = facts["data"], "**It has never seen a real synapse.**"
    if facts["tuned"]:
        n, dataset = facts["tuned"]
        trained += f"; then fine-tuned on {glue.count(n).text} synapses of {dataset}"
        warning = f"**The only real synapses it has seen are {glue.count(n).text} of {dataset}.**"
    scores = "\n".join(f"| {what} | {text} |" for what, text in facts["scores"])
    return f"""# {card["network"]}: which two neurons does a cleft join?

{warning} Check its output on clefts of your tissue whose partners you know. Apply it with
`python -m pipeline partners --volumes <folder> --out partners.parquet`, see the repository's README.

| | |
|---|---|
| network | {card["network"]}, {glue.count(facts["parameters"]).text} parameters |
| reads | {reads} |
| input | {depth} x {height} x {width} voxels (ZYX) of {x:g} x {y:g} x {z:g} nm (XYZ), centred on the cleft |
| output | {output} |
| candidates | segments within {dilation_nm:g} nm of the cleft and at most one section away from it |
| trained on | {trained} |
| made by | `{facts["command"]}` at commit `{facts["commit"]}`, configuration hash `{facts["config_hash"][:16]}` |
| seed | {facts["seed"]} |

| measured | value |
|---|---|
{scores}

## What it is not for

- Finding clefts: they are given, as a volume or as points whose contact zones stand for them.
- Mending a segmentation: it picks two segments even where segments are wrongly merged or split.
- Clefts with several postsynaptic partners: one pair is given. Electrical synapses have no direction.
- Distinguishing excitatory from inhibitory synapses: other networks do.
- Probabilities: the confidence orders clefts for proofreading, and has not been calibrated.
- Images of other voxel sizes as they are: `partners` resamples volumes to the voxels above.
"""
