"""From tables to the cohort: labels, filters, splits and audit, in order. The caller fetches and writes.

For an annotation service the caller asks `candidates` which neurons are wanted, fetches their synapses, and hands
them to `assemble`; for a folder it hands the rows of `folder.read` to `assemble_folder`.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from pipeline import config
from pipeline.cohort import CohortError, audit, labels, selection, splits
from pipeline.columns import CENTER_NM, CLASS_OF_LABEL

log = logging.getLogger("pipeline")

SYNAPSE_COLUMNS = ["synapse_id", "pre_neuron_id", "post_neuron_id", *CENTER_NM, "size"]

#: The same in CAVE's synapse table, positions already in nm.
CAVE_COLUMNS = ["id", "pre_pt_root_id", "post_pt_root_id", "ctr_pt_x_nm", "ctr_pt_y_nm", "ctr_pt_z_nm", "size"]


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Neurons whose outgoing synapses are wanted: `neurons` (`pre_neuron_id`, `label`), and how they were found.

    `cells` are all cells that the tables of cell types name, see `labels.neurons`.
    """

    neurons: pd.DataFrame
    cells: pd.DataFrame
    conflicts: pd.DataFrame
    flow: list[dict]


@dataclasses.dataclass(frozen=True)
class Cohort:
    """The contract's `synapses.parquet`, `neurons.parquet`, `conflicts.csv`, `flow.json` and `audit.json`.

    `neurons` has the columns of `labels.NEURON_COLUMNS`; a folder names no cells, and its table is empty.
    """

    synapses: pd.DataFrame
    neurons: pd.DataFrame
    conflicts: pd.DataFrame
    flow: list[dict]
    audit: dict


def candidates(
    column: pd.DataFrame,
    metamodel: pd.DataFrame,
    baylor: pd.DataFrame,
    proofreading: pd.DataFrame,
    settings: config.Cohort,
    seed: int,
    max_neurons_per_class: int | None = None,
) -> Candidates:
    """Neurons with a label and, if `settings` says so, a proofread axon.

    The three tables of cell types are described in `labels`, `proofreading` in `selection.proofread`. Raises
    CohortError where the tables cannot be used or no neuron is left.
    """
    neurons, conflicts, flow = labels.merge(column, metamodel, baylor)
    if settings.proofread_axons_only:
        neurons = selection.proofread(neurons, proofreading)
        _count(flow, "axon proofread", neurons)
    if max_neurons_per_class is not None:
        neurons = selection.at_most_per_class(neurons, max_neurons_per_class, seed)
        _count(flow, f"at most {max_neurons_per_class} neurons per class", neurons)
    if neurons.empty:
        counts = "; ".join(f"{entry['step']}: {entry['neurons']}" for entry in flow)
        raise CohortError(f"the filters of the cohort leave no neuron ({counts})")
    return Candidates(neurons, labels.neurons(column, metamodel, baylor), conflicts, flow)


def assemble(
    candidates: Candidates,
    synapses: pd.DataFrame,
    settings: config.Cohort,
    cube_nm: Sequence[float],
    seed: int,
    is_within: Callable[[pd.DataFrame], pd.Series] | None = None,
) -> Cohort:
    """The cohort of an annotation service.

    `synapses` are the outgoing synapses of `candidates.neurons` with the columns of CAVE_COLUMNS; `cube_nm` is the
    size (XYZ, nm) of the cubes that will be cut. `is_within` says which synapses have their images within the volume
    and are used; without it, all are. Raises CohortError.
    """
    if missing := [name for name in CAVE_COLUMNS if name not in synapses]:
        raise CohortError(f"the synapse table lacks {missing}; it has {list(synapses.columns)}")
    synapses = synapses[CAVE_COLUMNS].set_axis(SYNAPSE_COLUMNS, axis=1).merge(candidates.neurons, on="pre_neuron_id")
    flow = list(candidates.flow)
    _count(flow, "with synapses", synapses)
    synapses = selection.unique(synapses)
    _count(flow, "without duplicates", synapses)
    synapses = selection.without_autapses(synapses)
    _count(flow, "without autapses", synapses)
    if is_within is not None:
        inner = synapses[is_within(synapses)].reset_index(drop=True)
        if inner.empty:
            raise CohortError(
                f"the images of all {len(synapses)} synapses reach beyond the volume; enlarge it (`source: size_um`), "
                "or cut smaller ones (`extract: patch_px`, `cube_zyx`)"
            )
        synapses = inner
        _count(flow, "images within the volume", synapses)
    return _finish(dataclasses.replace(candidates, flow=flow), synapses, settings, cube_nm, seed)


def assemble_folder(synapses: pd.DataFrame, settings: config.Cohort, cube_nm: Sequence[float], seed: int) -> Cohort:
    """The cohort of a folder, from the rows of `folder.read`; its neurons are the axons."""
    types = {"neuron_id": "int64", **dict.fromkeys(labels.SOMA, float)}
    cells = pd.DataFrame(columns=labels.NEURON_COLUMNS).astype(types)
    found = Candidates(synapses, cells, pd.DataFrame(columns=labels.CONFLICT_COLUMNS), flow=[])
    _count(found.flow, "in synapses.csv", synapses)
    return _finish(found, synapses, settings, cube_nm, seed)


def _count(flow: list[dict], step: str, rows: pd.DataFrame) -> None:
    """Append what is left after a step; rows are neurons, or synapses where they have a `synapse_id`."""
    synapses = len(rows) if "synapse_id" in rows else None
    neurons = rows.drop_duplicates("pre_neuron_id")
    classes = {name: int((neurons["label"] == label).sum()) for label, name in CLASS_OF_LABEL.items()}
    flow.append({"step": step, "neurons": len(neurons), **classes, "synapses": synapses})


def _finish(
    found: Candidates, synapses: pd.DataFrame, settings: config.Cohort, cube_nm: Sequence[float], seed: int
) -> Cohort:
    if (most := settings.max_synapses_per_neuron) is not None:
        synapses = selection.at_most_per_neuron(synapses, most, seed)
        _count(found.flow, f"at most {most} synapses per neuron", synapses)
    split_seed, fold_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    if settings.split == "neurons":
        split = splits.by_neuron(synapses, settings.val_fraction, settings.test_fraction, split_seed)
        synapses = synapses.assign(split=split, fold=splits.folds(synapses, settings.n_folds, fold_seed))
    else:
        synapses = synapses.assign(split="test", fold=_possible_folds(synapses, settings.n_folds, fold_seed))
    synapses = synapses.sort_values("synapse_id", ignore_index=True)
    report = audit.audit(synapses, cube_nm, found.conflicts)
    log.info("cohort: %d synapses of %d neurons", len(synapses), synapses["pre_neuron_id"].nunique())
    return Cohort(synapses, found.cells, found.conflicts, found.flow, report)


def _possible_folds(synapses: pd.DataFrame, n_folds: int, seed: int) -> pd.Series | int:
    """As many folds as the rarer class has neurons, or a single one (0) where two are impossible."""
    neurons = synapses.dropna(subset="label").groupby("label")["pre_neuron_id"].nunique()
    possible = min(n_folds, *(int(neurons.get(label, 0)) for label in (0, 1)))
    if possible < 2 or synapses["label"].isna().any():
        return 0
    return splits.folds(synapses, possible, seed)
