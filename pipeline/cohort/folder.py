"""`synapses.csv` of a folder source: the user's own synapses, beside precomputed volumes.

Required columns: `synapse_id`, `x_vx`, `y_vx`, `z_vx` (the voxel of the volume's own frame, its offset included).
Optional: `cell_type` (excitatory, inhibitory, or empty where unknown), `axon_id` and `dendrite_id` (integers, the
same for all synapses of one neuron), `psd_size` (voxels), `on_spine` (true/false), `quality`. Others are ignored.
Without `axon_id` every synapse counts as a neuron of its own; where neurons have several, intervals are too narrow.
"""

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.cohort import CohortError
from pipeline.columns import CENTER_NM
from pipeline.space import VoxelFrame

log = logging.getLogger("pipeline")

POSITION = ["x_vx", "y_vx", "z_vx"]
REQUIRED = ["synapse_id", *POSITION]
LABELS = {"excitatory": 1, "inhibitory": 0, "": None}
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": None}
INTEGER = r"[+-]?\d{1,19}"
LARGEST = 2**63 - 1


def read(path: Path, frame: VoxelFrame, needed: Sequence[str] = ()) -> pd.DataFrame:
    """Synapses of a CSV file in the cohort's schema, without `split` and `fold`, sorted by `synapse_id`.

    `frame` is that of the volume; `needed` are optional columns that this file must have; `label` is a nullable
    integer, missing where there is no `cell_type`; `post_neuron_id` is 0 and `size` missing where unknown; `on_spine`
    and `quality` are kept where given. Raises CohortError, in whose text a row is a line of the file (the header is
    row 1).
    """
    table = _Table(path, needed)
    rows = table.rows
    located = _points(table, frame)
    label = pd.Series(pd.NA, index=rows.index, dtype="Int64")
    if "cell_type" in rows:
        known = rows["cell_type"].str.lower()
        table.refuse("cell_type", ~known.isin(LABELS), "is none of excitatory, inhibitory and empty")
        label = known.map(LABELS).astype("Int64")
    if "axon_id" in rows:
        axon = table.integers("axon_id")
        table.refuse("axon_id", label.groupby(axon).transform("nunique") > 1, "has both cell types")
    else:
        log.warning("%s has no axon_id: every synapse counts as a neuron of its own", path)
        axon = located["synapse_id"]
    optional: dict[str, pd.Series] = {}
    if "on_spine" in rows:
        written = rows["on_spine"].str.lower()
        table.refuse("on_spine", ~written.isin(TRUTH), "is none of true, false and empty")
        optional["on_spine"] = written.map(TRUTH).astype("boolean")
    if "quality" in rows:
        optional["quality"] = rows["quality"]
    synapses = pd.DataFrame(
        {
            "synapse_id": located["synapse_id"],
            "pre_neuron_id": axon,
            "post_neuron_id": table.integers("dendrite_id") if "dendrite_id" in rows else 0,
            **located[CENTER_NM],
            "size": table.integers("psd_size").astype("Int64") if "psd_size" in rows else pd.NA,
            "label": label,
            **optional,
        }
    ).astype({"size": "Int64"})
    return synapses.sort_values("synapse_id", ignore_index=True)


def points(path: Path, frame: VoxelFrame) -> pd.DataFrame:
    """`synapse_id` and `center_{x,y,z}_nm` alone, sorted by `synapse_id`; the file's other columns are not read.

    `frame` and errors as for `read`.
    """
    return _points(_Table(path), frame).sort_values("synapse_id", ignore_index=True)


def _points(table: "_Table", frame: VoxelFrame) -> pd.DataFrame:
    synapse_id = table.integers("synapse_id")
    table.refuse("synapse_id", table.rows["synapse_id"].duplicated(), "occurs more than once")
    center_nm = frame.to_nm(np.column_stack([table.integers(name) for name in POSITION]))
    return pd.DataFrame(center_nm, columns=CENTER_NM, index=synapse_id.index).assign(synapse_id=synapse_id)[
        ["synapse_id", *CENTER_NM]
    ]


class _Table:
    """The file's cells as text, indexed by line; its checks raise CohortError and name the first bad cell."""

    def __init__(self, path: Path, needed: Sequence[str] = ()) -> None:
        self.path = Path(path)
        lines, cells = [], []
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                header = [name.strip() for name in next(reader, [])]
                for row in reader:
                    if any(cell.strip() for cell in row):  # blank lines hold no synapse
                        lines.append(reader.line_num)
                        cells.append([cell.strip() for cell in row])
        except (FileNotFoundError, IsADirectoryError) as error:
            state = "is a folder" if isinstance(error, IsADirectoryError) else "does not exist"
            raise CohortError(f"{path} {state}; it must be a CSV file with the columns {REQUIRED}") from None
        except UnicodeDecodeError as error:
            raise CohortError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV, UTF-8") from None
        except csv.Error as error:
            raise CohortError(f"{path}, row {reader.line_num}: {error}") from None
        if not header:
            raise CohortError(f"{path} is empty; its first row must name the columns {REQUIRED}")
        if missing := [name for name in [*REQUIRED, *needed] if name not in header]:
            advice = "; separate cells by commas" if any(mark in "".join(header) for mark in ";\t") else ""
            if missing == ["axon_id"]:
                advice = (
                    "; without it a neuron's synapses would be trained on and tested on, and scores come out too high: "
                    "give synapses of one neuron one number"
                )
            raise CohortError(f"{path} lacks the columns {missing}; its first row names {header}{advice}")
        if len(set(header)) < len(header):
            raise CohortError(f"{path}, row 1 names a column twice: {header}")
        for line, row in zip(lines, cells, strict=True):
            if len(row) != len(header):
                raise CohortError(f"{path}, row {line} has {len(row)} cells where the header names {len(header)}")
        if not cells:
            raise CohortError(f"{path} has a header but no synapses")
        self.rows = pd.DataFrame(cells, columns=header, index=lines, dtype=str)

    def integers(self, column: str) -> pd.Series:
        """A column of whole numbers, int64."""
        self.refuse(column, ~self.rows[column].str.fullmatch(INTEGER), "is not an integer")
        self.refuse(column, self.rows[column].map(int).abs() > LARGEST, "does not fit into 64 bits")
        return self.rows[column].astype("int64")

    def refuse(self, column: str, wrong: pd.Series, what: str) -> None:
        """Raise CohortError for the first row where `wrong` is true, with the number of others."""
        if not wrong.any():
            return
        line, others = wrong.idxmax(), int(wrong.sum()) - 1
        more = f" (and {others} more)" if others else ""
        raise CohortError(f"{self.path}, row {line}, column {column}: {self.rows.at[line, column]!r} {what}{more}")
