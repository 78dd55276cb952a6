"""The text that goes with a published model: what it is, what it was trained on, how well it does, and its limits."""

from pipeline import glue


def text(model, card, result, scores, facts):
    """Markdown. `model` is a `config.Model`, `card` the checkpoint's (as a dict), `result` the run's `result.json`.

    `scores` are rows `metric, value, low, high` on the test neurons; `facts` says `data`, `simulated`, `command`,
    `commit`, `config_hash`, `confidence`, `n_bootstrap`, and how many synapses and neurons each split has.
    """
    depth, height, width = card["shape_zyx"]
    x, y, z = card["voxel_nm"]
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
        "It shows that the software works; it is no measurement of your tissue, and its calls need checking there. "
        if facts["simulated"]
        else ""
    )
    return f"""# {model.name}: is the presynaptic neuron excitatory or inhibitory?

{warning}Apply it with `python -m pipeline predict --run <this folder> ...`, see the repository's README.

| | |
|---|---|
| network | {model.network}, {glue.count(result["parameters"]).text} parameters, {result["device"]} |
| input | {depth} x {height} x {width} voxels (ZYX) of {x:g} x {y:g} x {z:g} nm (XYZ), centred on the synapse |
| output | `p_excitatory`; excitatory from {card["tau"]:.4f} on, the best threshold on validation |
| data | {facts["data"]} |
| made by | `{facts["command"]}` at commit `{facts["commit"]}`, configuration hash `{facts["config_hash"][:16]}` |
| seed | {model.seed} |

| split | synapses | presynaptic neurons |
|---|---|---|
{counts}

No presynaptic neuron is in two splits. On the test neurons, with {glue.percent(facts["confidence"]).text} intervals
from {glue.count(facts["n_bootstrap"]).text} resamples of neurons:

| metric | value |
|---|---|
{table}

## Limits

- Images of other voxel sizes are refused; `predict` resamples volumes to the voxels above.
- Labels are those of the neuron, handed down to its synapses, and excitatory is the positive class.
- The threshold belongs to the validation data; on other tissue choose it again on synapses of known class.
- Neurons that release both kinds of transmitter, modulatory synapses and chemical fixation unlike that of the training
  data were not considered.
"""
