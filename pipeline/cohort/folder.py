"""`synapses.csv` of a folder source: anybody's synapses, beside anybody's precomputed volumes.

Required columns: `synapse_id`, `x_vx`, `y_vx`, `z_vx` (the voxel of the volume's own frame, its offset included).
Optional: `cell_type` (excitatory, inhibitory, or empty where unknown), `axon_id` and `dendrite_id` (integers, the
same for all synapses of one neuron), `psd_size` (voxels), `on_spine` (true/false), `quality`. Others are ignored.
Without `axon_id` every synapse counts as a neuron of its own, and intervals are too narrow where that is not so.
"""

import csv
import logging
from pathlib import Path

import pandas as pd

log = logging.getLogger("pipeline")

POSITION = ["x_vx", "y_vx", "z_vx"]
REQUIRED = ["synapse_id", *POSITION]
LABELS = {"excitatory": 1, "inhibitory": 0, "": None}
TRUTH = {"true": True, "1": True, "false": False, "0": False, "": None}
INTEGER = r"[+-]?\d{1,19}"
LARGEST = 2**63 - 1


class FolderError(ValueError):
    """A `synapses.csv` that cannot be used; the text names file, row, column and value."""


def read(path, frame):
    """Synapses of a CSV file in the cohort's schema, without `split` and `fold`, sorted by `synapse_id`.

    `frame` is the `space.VoxelFrame` of the volume. `center_{x,y,z}_nm` are the lower corners of the given voxels,
    as everywhere. `label` is a nullable integer, missing where there is no `cell_type`; `post_neuron_id` is 0 and
    `size` missing where unknown; `on_spine` and `quality` are kept where given. Raises FolderError, in whose text a
    row is a line of the file (the header is row 1).
    """
    table = _Table(path)
    rows = table.rows
    synapse_id, center = _points(table, frame)
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
        axon = synapse_id
    optional = {}
    if "on_spine" in rows:
        written = rows["on_spine"].str.lower()
        table.refuse("on_spine", ~written.isin(TRUTH), "is none of true, false and empty")
        optional["on_spine"] = written.map(TRUTH).astype("boolean")
    if "quality" in rows:
        optional["quality"] = rows["quality"]
    synapses = pd.DataFrame(
        {
            "synapse_id": synapse_id,
            "pre_neuron_id": axon,
            "post_neuron_id": table.integers("dendrite_id") if "dendrite_id" in rows else 0,
            **{f"center_{axis}_nm": center[:, i] for i, axis in enumerate("xyz")},
            "size": table.integers("psd_size").astype("Int64") if "psd_size" in rows else pd.NA,
            "label": label,
            **optional,
        }
    ).astype({"size": "Int64"})
    return synapses.sort_values("synapse_id", ignore_index=True)


def points(path, frame):
    """`synapse_id` and `center_{x,y,z}_nm` alone, sorted by `synapse_id`; whatever else the file has is not looked at.

    `frame` and errors as for `read`.
    """
    synapse_id, center = _points(_Table(path), frame)
    columns = {f"center_{axis}_nm": center[:, i] for i, axis in enumerate("xyz")}
    return pd.DataFrame({"synapse_id": synapse_id, **columns}).sort_values("synapse_id", ignore_index=True)


def _points(table, frame):
    """(Series of synapse ids, their positions `[N, 3]` in nm, XYZ)."""
    synapse_id = table.integers("synapse_id")
    table.refuse("synapse_id", table.rows["synapse_id"].duplicated(), "occurs more than once")
    return synapse_id, frame.to_nm(table.integers(*POSITION))


class _Table:
    """The file's cells as text, indexed by line; its checks raise FolderError with the place of the first fault."""

    def __init__(self, path):
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
        except FileNotFoundError:
            raise FolderError(f"{path} does not exist; a folder source needs it beside `em/`") from None
        except UnicodeDecodeError as error:
            raise FolderError(f"{path} is not UTF-8 text (byte {error.start}); save it as CSV, UTF-8") from None
        except csv.Error as error:
            raise FolderError(f"{path}, row {reader.line_num}: {error}") from None
        if not header:
            raise FolderError(f"{path} is empty; its first row must name the columns {REQUIRED}")
        if missing := [name for name in REQUIRED if name not in header]:
            raise FolderError(f"{path} lacks the columns {missing}; its first row names {header}")
        if len(set(header)) < len(header):
            raise FolderError(f"{path}, row 1 names a column twice: {header}")
        for line, row in zip(lines, cells, strict=True):
            if len(row) != len(header):
                raise FolderError(f"{path}, row {line} has {len(row)} cells where the header names {len(header)}")
        if not cells:
            raise FolderError(f"{path} has a header but no synapses")
        self.rows = pd.DataFrame(cells, columns=header, index=lines, dtype=str)

    def integers(self, *columns):
        """Columns of whole numbers: a Series, or a DataFrame of several."""
        for column in columns:
            whole = self.rows[column].str.fullmatch(INTEGER)
            self.refuse(column, ~whole, "is not an integer")
            self.refuse(column, self.rows[column].map(int).abs() > LARGEST, "does not fit into 64 bits")
        return self.rows[list(columns) if len(columns) > 1 else columns[0]].astype("int64")

    def refuse(self, column, wrong, what):
        """Raise FolderError for the first row where `wrong` is true, with the number of others."""
        if not wrong.any():
            return
        line, others = wrong.idxmax(), int(wrong.sum()) - 1
        more = f" (and {others} more)" if others else ""
        raise FolderError(f"{self.path}, row {line}, column {column}: {self.rows.at[line, column]!r} {what}{more}")
