"""The gain from more training neurons: metrics against their number, on the same test neurons."""

import numpy as np
import pandas as pd

from pipeline.stats.bootstrap import interval
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
    share = (run_of == np.arange(len(sizes))[:, None]) / np.bincount(run_of)[:, None]  # [sizes, runs]
    centred = np.log2(sizes) - np.log2(sizes).mean()
    slope = centred / (centred**2).sum()

    def curve_and_slope(weights: np.ndarray) -> np.ndarray:
        by_size = np.einsum("sm,mrk->rsk", share, [model.table(weights) for model in models])
        slopes = np.einsum("s,rsk->rk", slope, by_size)[:, None]
        return np.concatenate([by_size, slopes], axis=1).reshape(len(weights), -1)

    estimates = np.transpose(interval(curve_and_slope, label, n_replicates, confidence, seed))
    table = pd.DataFrame(estimates, columns=["value", "low", "high"])
    table.insert(0, "metric", np.tile(METRICS, len(sizes) + 1))
    curve, gain = table[: -len(METRICS)].copy(), table[-len(METRICS) :].reset_index(drop=True)
    curve.insert(0, "n_train_neurons", np.repeat(sizes, len(METRICS)))
    curve.insert(1, "n_runs", np.repeat(np.bincount(run_of), len(METRICS)))
    return curve, gain
