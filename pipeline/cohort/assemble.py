"""From tables to the cohort: labels, filters, splits and audit, in order. The caller fetches and writes.

For an annotation service the caller asks `candidates` which neurons are wanted, fetches their synapses, and hands
them to `assemble`; for a folder it hands the rows of `folder.read` to `assemble_folder`.
"""

import dataclasses
import logging

import numpy as np
import pandas as pd

from pipeline.cohort import audit, labels, selection, splits

log = logging.getLogger("pipeline")

SYNAPSE_COLUMNS = ["synapse_id", "pre_neuron_id", "post_neuron_id", "center_x_nm", "center_y_nm", "center_z_nm", "size"]

#: Names in CAVE's synapse table (positions already in nm) and ours.
CAVE_COLUMNS = {
    "id": "synapse_id",
    "pre_pt_root_id": "pre_neuron_id",
    "post_pt_root_id": "post_neuron_id",
    "ctr_pt_x_nm": "center_x_nm",
    "ctr_pt_y_nm": "center_y_nm",
    "ctr_pt_z_nm": "center_z_nm",
    "size": "size",
}


@dataclasses.dataclass(frozen=True)
class Candidates:
    """Neurons whose outgoing synapses are wanted: `neurons` (`pre_neuron_id`, `label`), and how they were found.

    `cells` are all that the tables of cell types name, see `labels.neurons`.
    """

    neurons: pd.DataFrame
    cells: pd.DataFrame
    conflicts: pd.DataFrame
    flow: list


@dataclasses.dataclass(frozen=True)
class Cohort:
    """The contract's `synapses.parquet`, `neurons.parquet`, `conflicts.csv`, `flow.json` and `audit.json`.

    `neurons` has the columns of `labels.NEURON_COLUMNS`; a folder names no cells, and its table is empty.
    """

    synapses: pd.DataFrame
    neurons: pd.DataFrame
    conflicts: pd.DataFrame
    flow: list
    audit: dict


def candidates(column, metamodel, baylor, proofreading, settings, seed, max_neurons_per_class=None):
    """Neurons with a label and, if `settings` (config.Cohort) says so, a proofread axon.

    The three tables of cell types are described in `labels`, `proofreading` in `selection.proofread`. Raises
    LabelError, and SelectionError where the tables lack columns or no neuron is left.
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
        raise selection.SelectionError(f"the filters of the cohort leave no neuron ({counts})")
    return Candidates(neurons, labels.neurons(column, metamodel, baylor), conflicts, flow)


def assemble(candidates, synapses, settings, cube_nm, seed):
    """The cohort of an annotation service.

    `synapses` are the outgoing synapses of `candidates.neurons` with the columns of CAVE_COLUMNS; `settings` is a
    `config.Cohort`; `cube_nm` the size (XYZ, nm) of the cubes that will be cut. Raises SelectionError, SplitError or
    LeakageError.
    """
    if missing := [name for name in CAVE_COLUMNS if name not in synapses]:
        raise selection.SelectionError(f"the synapse table lacks {missing}; it has {list(synapses.columns)}")
    synapses = synapses.rename(columns=CAVE_COLUMNS)[SYNAPSE_COLUMNS].merge(candidates.neurons, on="pre_neuron_id")
    flow = list(candidates.flow)
    _count(flow, "with synapses", synapses)
    synapses = selection.unique(synapses)
    _count(flow, "without duplicates", synapses)
    synapses = selection.without_autapses(synapses)
    _count(flow, "without autapses", synapses)
    if settings.max_synapses_per_neuron is not None:
        synapses = selection.at_most_per_neuron(synapses, settings.max_synapses_per_neuron, seed)
        _count(flow, f"at most {settings.max_synapses_per_neuron} synapses per neuron", synapses)
    return _finish(synapses, candidates.cells, candidates.conflicts, flow, settings, cube_nm, seed)


def assemble_folder(synapses, settings, cube_nm, seed):
    """The cohort of a folder, from the rows of `folder.read`; its neurons are the axons."""
    flow = []
    _count(flow, "in synapses.csv", synapses)
    if settings.max_synapses_per_neuron is not None:
        synapses = selection.at_most_per_neuron(synapses, settings.max_synapses_per_neuron, seed)
        _count(flow, f"at most {settings.max_synapses_per_neuron} synapses per neuron", synapses)
    cells = pd.DataFrame(columns=labels.NEURON_COLUMNS).astype(
        {"neuron_id": "int64", **dict.fromkeys(labels.SOMA, float)}
    )
    conflicts = pd.DataFrame(columns=labels.CONFLICT_COLUMNS)
    return _finish(synapses, cells, conflicts, flow, settings, cube_nm, seed)


def _count(flow, step, rows):
    """Append what is left after a step; rows are neurons, or synapses where they have a `synapse_id`."""
    synapses = len(rows) if "synapse_id" in rows else None
    flow.append({"step": step, "neurons": int(rows["pre_neuron_id"].nunique()), "synapses": synapses})


def _finish(synapses, cells, conflicts, flow, settings, cube_nm, seed):
    split_seed, fold_seed = np.random.SeedSequence(seed).generate_state(2).tolist()
    if settings.split == "neurons":
        split = splits.by_neuron(synapses, settings.val_fraction, settings.test_fraction, split_seed)
        fold = splits.folds(synapses, settings.n_folds, fold_seed)
    else:
        split, fold = "test", _possible_folds(synapses, settings.n_folds, fold_seed)
    synapses = synapses.assign(split=split, fold=fold).sort_values("synapse_id", ignore_index=True)
    report = audit.audit(synapses, cube_nm, conflicts)
    log.info("cohort: %d synapses of %d neurons", len(synapses), synapses["pre_neuron_id"].nunique())
    return Cohort(synapses, cells, conflicts, flow, report)


def _possible_folds(synapses, n_folds, seed):
    """As many folds as the rarer class has neurons, or a single one (0) where two are impossible."""
    neurons = synapses.dropna(subset="label").groupby("label")["pre_neuron_id"].nunique()
    possible = min(n_folds, *(int(neurons.get(label, 0)) for label in (0, 1)))
    if possible < 2 or synapses["label"].isna().any():
        return 0
    return splits.folds(synapses, possible, seed)
