"""A small connectome with known rules, for the tests of this folder."""

import numpy as np
import pandas as pd

ROOT_ID = 864691135000000000  # as large as real ids: 19 digits do not fit a float


def connectome(n_neurons=240, per_neuron=8, seed=0, effect=1.5):
    """`(neurons, connections)`: inhibitory axons make more synapses a pair, and choose posts of a kind of their own."""
    rng = np.random.default_rng(seed)
    excitatory = np.arange(n_neurons) % 3 > 0
    taste = rng.normal(size=n_neurons)  # of a post neuron: how much it attracts inhibitory axons
    pairs = []
    for neuron in range(n_neurons):
        weight = np.exp(effect * taste * (1 if not excitatory[neuron] else -1))
        weight[neuron] = 0
        posts = rng.choice(n_neurons, per_neuron, replace=False, p=weight / weight.sum())
        pairs += [(neuron, post, 1 + rng.poisson(0.3 if excitatory[neuron] else 1.0)) for post in posts]
    connections = pd.DataFrame(pairs, columns=["pre_neuron_id", "post_neuron_id", "n_synapses"])
    connections[["pre_neuron_id", "post_neuron_id"]] += ROOT_ID
    neurons = pd.DataFrame(
        {
            "neuron_id": ROOT_ID + np.arange(n_neurons),
            "cell_class": np.where(excitatory, "excitatory", "inhibitory"),
            **{f"soma_{axis}_nm": rng.uniform(0, 500_000, n_neurons) for axis in "xyz"},
        }
    )
    return neurons, connections


def write(folder, neurons, connections):
    folder.mkdir(parents=True, exist_ok=True)
    neurons.to_parquet(folder / "neurons.parquet")
    connections.to_parquet(folder / "connections.parquet")
    return folder


def links(**settings):
    """The toy connectome as labelled links, without features of neurons."""
    neurons, connections = connectome(**settings)
    cell_class = neurons.set_index("neuron_id")["cell_class"]
    return connections.assign(label=(cell_class[connections["pre_neuron_id"]] == "excitatory").to_numpy().astype(int))
