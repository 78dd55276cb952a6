"""Every method on the clefts of a sample store: assignments, and partners of synapses that have several."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from torch import nn

from pipeline.learn.checkpoint import Card
from pipeline.partners import assign, candidates, polyadic, predict, rules
from pipeline.partners.model import ASSIGNMENT
from pipeline.partners.samples import Samples

Models = Mapping[str, tuple[nn.Module, Card]]  # {name: (network, its card)}


def assignments(models: Models, samples: Samples, rows: Sequence[int] | np.ndarray, seed: int) -> pd.DataFrame:
    """Table of assignments (see `assign.assignments`) of the store's `rows` by every method.

    Methods are the assigners among `models`, by their names there, and the rules, which see the patches of the first
    assigner and draw from `seed`.
    """
    assigners = {name: found for name, found in models.items() if found[1].task == ASSIGNMENT}
    _, card = next(iter(assigners.values()))
    found = {name: predict.decisions(*model, samples, rows) for name, model in assigners.items()}
    found |= {name: _by_rule(rule, card, samples, rows, seed) for name, rule in rules.RULES.items()}
    tables = [assign.assignments(name, made, samples.index, samples.segments) for name, made in found.items()]
    return pd.concat(tables, ignore_index=True)


def _by_rule(
    rule: Callable, card: Card, samples: Samples, rows: Sequence[int] | np.ndarray, seed: int
) -> dict[int, assign.Decision]:
    decisions = {}
    for batch, em, cleft, segments in predict.batches(card, samples, rows):
        for n, row in enumerate(batch.tolist()):
            numbers, overlaps = candidates.segments_near(
                segments[n], cleft[n], card.voxel_nm, card.decision["dilation_nm"]
            )
            reason = assign.no_pair(samples.index["fault"][row], cleft[n], numbers)
            if reason:
                decisions[row] = assign.Decision(reason)
                continue
            rng = np.random.default_rng([seed, int(samples.index["synapse_id"][row])])
            scores = rule(em[n], cleft[n], segments[n], numbers, overlaps, card.voxel_nm, rng)
            decisions[row] = assign.decide(numbers, scores, bool(samples.index["at_edge"][row]))
    return decisions


def several_posts(
    network: nn.Module, card: Card, samples: Samples, rows: Sequence[int] | np.ndarray, seed: int
) -> pd.DataFrame:
    """Rows of `polyadic.parquet` without `chosen`: the clefts of `rows`, each divided among 2 to 4 partners, by AVAN.

    Clefts that cannot be divided are left out; so are those whose partners are unknown. New segments get ids above all
    those of the store. ValueError where no cleft is left.
    """
    unused = int(samples.segments["segment_id"].max()) + 1
    index = samples.index
    rows = [row for row in rows if index["pre_local"][row] and index["post_local"][row]]
    tables = []
    for batch, em, cleft, segments in predict.batches(card, samples, rows):
        divided = []
        for n, row in enumerate(batch.tolist()):
            post = index["post_local"][row]
            rng = np.random.default_rng([seed, int(index["synapse_id"][row])])
            try:
                divided.append(
                    (row, cleft[n], *polyadic.divide(em[n], cleft[n], segments[n], post, card.voxel_nm, rng))
                )
            except polyadic.Undividable:
                continue
        if not divided:
            continue
        outputs = predict.avan_outputs(
            network, np.stack([item[2] for item in divided]), np.stack([item[1] for item in divided])
        )
        for (row, own, _, parts, posts), output in zip(divided, outputs, strict=True):
            numbers, _ = candidates.segments_near(parts, own, card.voxel_nm, card.decision["dilation_nm"])
            ids = dict(zip(posts, range(unused, unused + len(posts)), strict=True))
            unused += len(posts)
            stored = samples.segments[samples.segments["row"] == row].set_index("local")["segment_id"].to_dict()
            names = np.array([ids.get(number) or stored[number] for number in numbers.tolist()], np.uint64)
            means = assign.mean_outputs(output, parts, numbers) if len(numbers) else np.empty((2, 0))
            of = (int(index["synapse_id"][row]), index["region"][row])
            tables.append(polyadic.scored(*of, names, means, np.array(list(ids.values()), np.uint64)))
    if not tables:
        raise ValueError(f"none of the clefts of {samples.folder} with known partners ({len(rows)}) can be divided")
    return pd.concat(tables, ignore_index=True)
