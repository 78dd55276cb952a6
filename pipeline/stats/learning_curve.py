"""The gain from more training neurons: metrics against their number, on the same test neurons."""

import numpy as np
import pandas as pd

from pipeline.stats.bootstrap import interval, mean_intervals
from pipeline.stats.checks import by_neuron, checked_pairs
from pipeline.stats.metrics import METRICS, PredictionsError, Scored


def learning_curve(
    runs: list[tuple[int, pd.DataFrame, float]], n_replicates: int, confidence: float, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Metrics at each number of training neurons, and their gain per doubling of it.

    `runs` is a list of `(n_train_neurons, predictions, tau)` on the same test synapses, any number of runs a size (say,
    seeds or choices of neurons), whose metrics are averaged. The first table has columns `n_train_neurons, n_runs,
    metric, value, low, high`; the second `metric, value, low, high`, the slope of the least-squares line of the first
    table's values over log2 of the number. Intervals resample test neurons: they hold for these trained models, not for
    another choice of training neurons. Raises PredictionsError as `bootstrap.difference` does, and with one size only.
    """
    sizes, run_of = np.unique([n for n, _, _ in runs], return_inverse=True)
    if len(sizes) < 2:
        raise PredictionsError(f"a learning curve needs at least two numbers of training neurons, not {sizes.tolist()}")
    tables = checked_pairs([rows for _, rows, _ in runs])
    label, group = by_neuron(tables[0])
    models = [
        Scored(rows["label"], rows["p_excitatory"], tau, group) for rows, (_, _, tau) in zip(tables, runs, strict=True)
    ]
    settings = n_replicates, confidence, seed
    curve = []
    for number, size in enumerate(sizes):
        own = [run for run, of in zip(runs, run_of, strict=True) if of == number]
        found = mean_intervals([rows for _, rows, _ in own], [tau for _, _, tau in own], *settings)
        found.insert(0, "n_train_neurons", size)
        found.insert(1, "n_runs", len(own))
        curve.append(found)
    share = (run_of == np.arange(len(sizes))[:, None]) / np.bincount(run_of)[:, None]  # [sizes, runs]
    centred = np.log2(sizes) - np.log2(sizes).mean()
    of_run = centred / (centred**2).sum() @ share

    def slope(weights: np.ndarray) -> np.ndarray:
        return np.einsum("m,mrk->rk", of_run, [model.table(weights) for model in models])

    gain = pd.DataFrame(np.transpose(interval(slope, label, *settings)), columns=["value", "low", "high"])
    gain.insert(0, "metric", METRICS)
    return pd.concat(curve, ignore_index=True), gain
