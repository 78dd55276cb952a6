"""A tiny simulated neuropil, and how the tests of this folder make it."""

from pipeline import compute, config
from pipeline.simulate import neuropil

TINY = config.Simulated(
    kind="simulated", size_um=(3.84, 3.84, 1.92), n_excitatory=4, n_inhibitory=3, synapses_per_neuron=5
)
SEED = 5


def generate(out, workers, seed=SEED):
    with compute.workers(config.Compute(workers=workers)) as client:
        neuropil.generate(TINY, seed, out, client)
    return out
