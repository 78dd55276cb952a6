"""Truth to annotation tables, with MICrONS's names, columns, units and flaws.

What the microscope cannot show is what annotators believe: these tables repeat the truth as minnie65's tables would
have it, with axons nobody proofread, two automatic classifiers that sometimes disagree, cells that one of them never
saw, and axon fragments cut off from their soma. Columns follow the public tables of minnie65 at version 1300
(https://tutorial.microns-explorer.org/annotation-tables.html). Points are integer voxels of 4x4x40 nm.
"""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import artefacts, config, space

log = logging.getLogger("pipeline")

Groups = dict[str, list[int]]  # neuron ids by flaw

NAMES = config.Tables()
CREATED = pd.Timestamp("2024-01-01", tz="UTC")

# Shares of the presynaptic neurons of each class. The four groups are disjoint, so that the flaws of one neuron do
# not hide those of another.
UNPROOFREAD = 0.10  # axon not proofread
ORPHANED = 0.02  # axon fragment without its soma: no nucleus, in no table of cells
UNLABELLED = 0.03  # nucleus known, but in no table of cell types
CONFLICTING = 0.035  # the two automatic classifiers disagree

MERGED = 0.4  # share of the unproofread axons that also carry synapses of another neuron's axon
AUTAPSES = 2  # synapses of merged axons whose two sides got the same root id

# Coverage of the cells that have a nucleus. minnie65 has 94,014 cells in the AIBS metamodel, 55,063 in Baylor's table
# and 1,357 in the column; here the column is larger, so that a small volume has some.
IN_METAMODEL = 0.96
IN_BAYLOR = 0.92
IN_COLUMN = 0.30
BLANK = 0.02  # rows of the metamodel without a class

DENDRITE_ONLY = 0.5  # neurons listed as proofread for their dendrite, among those without a proofread axon
EDITED_SINCE = 0.02  # rows assessed under an earlier root id (`valid_id`)

GLIA = 0.10  # nuclei of non-neuronal cells, as a share of the neurons' nuclei
GLIA_UNSEGMENTED = 0.3  # share of those whose point lies outside every segment (root id 0)

CELL_TYPES = {
    1: ("23P", "4P", "5P-IT", "5P-ET", "5P-NP", "6P-IT", "6P-CT"),
    0: ("BC", "MC", "BPC", "NGC"),
    -1: ("astrocyte", "microglia", "OPC", "oligo", "pericyte"),
}
METAMODEL_CLASS = {1: "excitatory_neuron", 0: "inhibitory_neuron", -1: "nonneuron"}
COLUMN_CLASS = {1: "aibs_coarse_excitatory", 0: "aibs_coarse_inhibitory", -1: "aibs_coarse_nonneuronal"}
BAYLOR_TYPE = {1: "excitatory", 0: "inhibitory"}

AXON_STRATEGIES = ("axon_fully_extended", "axon_partially_extended", "axon_column_truncated", "axon_interareal")


def write(truth_dir: Path, out: Path, seed: int) -> None:
    """Write `<out>/<table>.parquet` for every table of `config.Tables`, and `<out>/metadata.json`.

    `truth_dir` holds the `neurons.parquet` and `synapses.parquet` of `neuropil.generate`. The same truth and seed give
    the same bytes.
    """
    neurons = pd.read_parquet(truth_dir / "neurons.parquet").sort_values("neuron_id", ignore_index=True)
    synapses = pd.read_parquet(truth_dir / "synapses.parquet").sort_values("synapse_id", ignore_index=True)
    rng = np.random.default_rng([seed, 0x7AB1E5])
    groups = _groups(neurons, rng)
    cells = _cells(neurons[~neurons.neuron_id.isin(groups["orphaned"])], rng)
    tables = {
        NAMES.synapses: _synapses(synapses, neurons, groups, rng),
        NAMES.nuclei: _nuclei(cells, rng),
        **_cell_types(cells, groups, rng),
        NAMES.proofreading: _proofreading(cells, groups, rng),
    }
    references = (NAMES.aibs_columns, NAMES.aibs_metamodel, NAMES.baylor)
    metadata = {
        name: {
            "reference_table": NAMES.nuclei if name in references else None,
            "voxel_resolution": list(space.ANNOTATION.resolution_nm),
        }
        for name in tables
    }
    for name, table in tables.items():
        artefacts.write_parquet(out / f"{name}.parquet", table)
    artefacts.write_json(out / "metadata.json", metadata)
    log.info("tables: %s", ", ".join(f"{name} {len(table)}" for name, table in tables.items()))


def _groups(neurons: pd.DataFrame, rng: np.random.Generator) -> Groups:
    """Disjoint groups of presynaptic neurons with a nucleus, `{flaw: [neuron_id, ...]}`, the same share per class."""
    shares = {
        "unproofread": UNPROOFREAD,
        "orphaned": ORPHANED,
        "unlabelled": UNLABELLED,
        "conflicting": CONFLICTING,
    }
    groups: Groups = {flaw: [] for flaw in shares}
    for label in (1, 0):
        members = neurons.neuron_id[neurons.presynaptic & (neurons.label == label) & (neurons.nucleus_id != 0)]
        shuffled = iter(rng.permutation(members.to_numpy()))
        for flaw, share in shares.items():
            groups[flaw] += [next(shuffled) for _ in range(round(share * len(members)))]
    return groups


def _cells(neurons: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """One row per nucleus: the neurons that have one, and non-neuronal cells scattered among them (label -1)."""
    cells = neurons[neurons.nucleus_id != 0].copy()
    n_glia = round(GLIA * len(cells))
    somas = ["soma_x_nm", "soma_y_nm", "soma_z_nm"]
    low, high = cells[somas].min(), cells[somas].max()
    glia = pd.DataFrame(rng.uniform(low, high, (n_glia, 3)), columns=somas)
    glia["neuron_id"] = neurons.neuron_id.max() + 1 + np.arange(n_glia)
    glia.loc[glia.index < round(GLIA_UNSEGMENTED * n_glia), "neuron_id"] = 0
    glia["nucleus_id"] = neurons.nucleus_id.max() + 1 + np.arange(n_glia)
    glia["label"] = -1
    glia["presynaptic"] = False
    cells = pd.concat([cells[glia.columns], glia], ignore_index=True)
    cells["cell_type"] = [rng.choice(CELL_TYPES[label]) for label in cells.label]
    return cells.sort_values("nucleus_id", ignore_index=True)


def _bookkeeping(ids: np.ndarray | pd.Series) -> pd.DataFrame:
    """The columns every table starts with."""
    return pd.DataFrame({"id": np.asarray(ids, dtype=np.int64), "created": CREATED, "valid": True})


def _point(
    prefix: str, xyz_nm: np.ndarray, root_ids: np.ndarray | pd.Series | None, rng: np.random.Generator
) -> pd.DataFrame:
    """The columns of a bound spatial point, from positions [N, 3] (XYZ, nm)."""
    position = space.ANNOTATION.to_vx(xyz_nm)
    columns = {f"{prefix}_position_{axis}": position[:, i] for i, axis in enumerate("xyz")}
    if root_ids is not None:
        root_ids = np.asarray(root_ids, dtype=np.int64)
        supervoxels = rng.integers(80_000_000_000_000_000, 110_000_000_000_000_000, len(root_ids))
        columns[f"{prefix}_supervoxel_id"] = np.where(root_ids == 0, 0, supervoxels)
        columns[f"{prefix}_root_id"] = root_ids
    return pd.DataFrame(columns)


def _positions(table: pd.DataFrame, prefix: str) -> np.ndarray:
    return table[[f"{prefix}_{axis}_nm" for axis in "xyz"]].to_numpy()


def _synapses(synapses: pd.DataFrame, neurons: pd.DataFrame, groups: Groups, rng: np.random.Generator) -> pd.DataFrame:
    """`synapses_pni_2`; the pixels stay true, only root ids are wrong where an unproofread axon was merged."""
    pre, post = synapses.pre_neuron_id.to_numpy(copy=True), synapses.post_neuron_id.to_numpy(copy=True)
    label = neurons.set_index("neuron_id").label
    flawed = set().union(*groups.values())
    donors = pd.Index(pre).unique().difference(list(flawed))
    merged = groups["unproofread"][:: max(1, round(1 / MERGED))]
    for axon in merged:
        # The other class where there is one: that is the merge which harms a label inherited from the axon.
        others = donors[(label[donors] != label[axon]).to_numpy()]
        donor = rng.choice(others if len(others) else donors)
        donors = donors.drop(donor)
        own = np.flatnonzero(synapses.pre_neuron_id == donor)
        pre[rng.permutation(own)[: (len(own) + 1) // 2]] = axon
    suspects = np.flatnonzero(np.isin(pre, merged))
    loops = rng.permutation(suspects)[:AUTAPSES]
    post[loops] = pre[loops]
    start = _bookkeeping(synapses.synapse_id)
    start["superceded_id"] = np.nan
    points = [
        _point("pre_pt", _positions(synapses, "pre"), pre, rng),
        _point("post_pt", _positions(synapses, "post"), post, rng),
        _point("ctr_pt", _positions(synapses, "center"), None, rng),
    ]
    return pd.concat([start, *points, synapses[["size"]].astype(np.int64)], axis=1)


def _nuclei(cells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    start = _bookkeeping(cells.nucleus_id)
    start["superceded_id"] = np.nan
    start["volume"] = rng.normal(270, 45, len(cells)).clip(80).round(3)  # um^3, of the order of minnie65's neurons
    boxes = {f"bb_{end}_position_{axis}": np.nan for end in ("start", "end") for axis in "xyz"}  # empty there as well
    point = _point("pt", _positions(cells, "soma"), cells.neuron_id, rng)
    return pd.concat([start, point], axis=1).assign(**boxes)


def _cell_types(cells: pd.DataFrame, groups: Groups, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """The three tables of cell types, which refer to nuclei by `target_id`."""
    typed = cells[~cells.neuron_id.isin(groups["unlabelled"])].copy()
    conflicting = typed.neuron_id.isin(groups["conflicting"])
    # AIBS's known fault is calling an inhibitory cell excitatory; the opposite conflicts are Baylor's.
    typed["metamodel"] = np.where(conflicting & (typed.label == 0), 1, typed.label)
    typed["baylor"] = np.where(conflicting & (typed.label == 1), 0, typed.label)

    def covered(share: float) -> np.ndarray:
        return (rng.random(len(typed)) < share) | conflicting

    metamodel = typed[covered(IN_METAMODEL)]
    mistaken = (metamodel.metamodel != metamodel.label).to_numpy()
    metamodel_type = np.where(mistaken, "5P-IT", metamodel.cell_type).astype(object)
    metamodel_class = metamodel.metamodel.map(METAMODEL_CLASS).to_numpy(dtype=object)
    blank = (rng.random(len(metamodel)) < BLANK) & ~metamodel.neuron_id.isin(groups["conflicting"]).to_numpy()
    metamodel_type[blank] = metamodel_class[blank] = None

    baylor = typed[covered(IN_BAYLOR) & (typed.label >= 0)]
    column = typed[rng.random(len(typed)) < IN_COLUMN]  # manual, hence always right
    return {
        NAMES.aibs_metamodel: _reference(metamodel, metamodel_class, metamodel_type),
        NAMES.baylor: _reference(baylor, "baylor_log_reg_cell_type_coarse", baylor.baylor.map(BAYLOR_TYPE).to_numpy()),
        NAMES.aibs_columns: _reference(column, column.label.map(COLUMN_CLASS).to_numpy(), column.cell_type.to_numpy()),
    }


def _reference(cells: pd.DataFrame, classification_system: np.ndarray | str, cell_type: np.ndarray) -> pd.DataFrame:
    table = _bookkeeping(cells.nucleus_id)
    table["target_id"] = table.id
    table["classification_system"] = classification_system
    table["cell_type"] = cell_type
    return table


def _proofreading(cells: pd.DataFrame, groups: Groups, rng: np.random.Generator) -> pd.DataFrame:
    """`proofreading_status_and_strategy`: proofread axons, and cells whose dendrite alone was proofread."""
    cells = cells.assign(axon=cells.presynaptic & ~cells.neuron_id.isin(groups["unproofread"]))
    listed = cells[cells.axon | ((cells.label >= 0) & (rng.random(len(cells)) < DENDRITE_ONLY))]
    table = _bookkeeping(listed.nucleus_id)
    table["superceded_id"] = np.nan
    point = _point("pt", _positions(listed, "soma"), listed.neuron_id, rng)
    table = pd.concat([table, point], axis=1)
    edited = rng.random(len(table)) < EDITED_SINCE
    table["valid_id"] = table.pt_root_id - edited  # any other id will do
    table["status_dendrite"] = "t"
    table["status_axon"] = np.where(listed.axon, "t", "f")
    table["strategy_dendrite"] = rng.choice(("dendrite_extended", "dendrite_clean"), len(table))
    table["strategy_axon"] = np.where(listed.axon, rng.choice(AXON_STRATEGIES, len(table)), "none")
    return table
