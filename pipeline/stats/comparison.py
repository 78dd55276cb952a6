"""All pairs of several models, on the same synapses: clustered intervals, clustered p-values, and the naive ones."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from statsmodels.stats.multitest import multipletests

from pipeline.stats import naive
from pipeline.stats.bootstrap import interval
from pipeline.stats.checks import by_neuron, checked_pairs
from pipeline.stats.metrics import METRICS, PredictionsError, Scored
from pipeline.stats.permutation import permutation_test

#: Metrics for which there is a naive test of the difference, and its name.
NAIVE = {"accuracy": "McNemar", "roc_auc": "DeLong"}


def pairwise(
    predictions: dict[str, pd.DataFrame],
    tau: Mapping[str, float],
    n_replicates: int,
    confidence: float,
    n_permutations: int,
    seed: int,
) -> pd.DataFrame:
    """Every model against every later one: one row a metric (in the order of METRICS) and pair.

    `predictions` are of at least two models, on the same synapses; `tau` are the thresholds of the same models.
    Columns: `metric, model_a, model_b`; `value, low, high`, model a minus model b with its clustered interval, all
    pairs on shared resamples; `p` of the clustered permutation test and `p_holm`, adjusted over the pairs of a metric
    (Holm 1979); `naive_test` and `p_naive`, unadjusted, of the test that takes synapses for independent where NAIVE
    has one (else both are missing).
    """
    if len(predictions) < 2:
        raise PredictionsError(f"a comparison needs at least two models, not {list(predictions)}")
    models = dict(zip(predictions, checked_pairs(predictions.values()), strict=True))
    pairs = list(combinations(models, 2))
    label, group = by_neuron(next(iter(models.values())))
    scored = {name: Scored(rows["label"], rows["p_excitatory"], tau[name], group) for name, rows in models.items()}

    def gaps(weights: np.ndarray) -> np.ndarray:
        tables = {name: model.table(weights) for name, model in scored.items()}
        return np.concatenate([tables[a] - tables[b] for a, b in pairs], axis=1)

    estimates = interval(gaps, label, n_replicates, confidence, seed)
    table = pd.DataFrame(
        [(metric, a, b) for a, b in pairs for metric in METRICS], columns=["metric", "model_a", "model_b"]
    )
    table[["value", "low", "high"]] = np.transpose(estimates)
    table["p"] = np.concatenate(
        [list(permutation_test(models[a], models[b], tau[a], tau[b], n_permutations, seed).values()) for a, b in pairs]
    )
    table["p_holm"] = table.groupby("metric")["p"].transform(lambda p: multipletests(p, method="holm")[1])
    table["naive_test"] = table["metric"].map(NAIVE)
    table["p_naive"] = [
        _naive(metric, models[a], models[b], tau[a], tau[b])
        for metric, a, b in zip(table["metric"], table["model_a"], table["model_b"], strict=True)
    ]
    order = table["metric"].map(METRICS.index)
    return table.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def _naive(metric: str, a: pd.DataFrame, b: pd.DataFrame, tau_a: float, tau_b: float) -> float:
    if metric == "roc_auc":
        return naive.delong_test(a["label"], a["p_excitatory"], b["p_excitatory"])
    if metric == "accuracy":
        correct = [(rows["p_excitatory"] >= tau) == (rows["label"] == 1) for rows, tau in ((a, tau_a), (b, tau_b))]
        return naive.mcnemar(*correct)
    return np.nan
