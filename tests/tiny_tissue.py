"""A tiny simulated neuropil, and how tests make it."""

import contextlib
from pathlib import Path

from pipeline import compute, config
from pipeline.simulate import neuropil

TINY = config.Simulated(
    kind="simulated", size_um=(3.84, 3.84, 1.92), n_excitatory=4, n_inhibitory=3, synapses_per_neuron=5
)
SEED = 5


def generate(out: Path, seed: int = SEED, workers: int = 0) -> Path:
    """Simulate into `out`: in this process, or by so many workers."""
    client = compute.workers(config.Compute(workers=workers)) if workers else contextlib.nullcontext()
    with client as connected:
        neuropil.generate(TINY, seed, out, connected)
    return out
