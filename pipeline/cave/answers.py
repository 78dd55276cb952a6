"""What the sandbox answers to a query: rows of stored tables, filtered, joined, selected, converted and shuffled.

Where the real service is awkward, so is this one: rows come in no order, answers are cut at a cap that only a header
mentions, and exclusion filters have no effect.
"""

import json
import threading
import zlib
from pathlib import Path

import flask
import pandas as pd
import pyarrow as pa

from pipeline import artefacts

#: Keys of a query's body; anything else is refused rather than ignored.
FILTERS = {"filter_in_dict", "filter_equal_dict", "filter_notin_dict", "filter_spatial_dict"}
SELECTION = {"select_columns", "select_column_map", "suffix_map", "limit", "offset", "desired_resolution"}
SUPPORTED = {"tables"} | FILTERS | SELECTION


class Tables:
    """The annotation tables of a folder, read once each."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "metadata.json").is_file():
            raise FileNotFoundError(f"no annotation tables in {folder}: simulate the source first (make simulate)")
        self.folder = folder
        self.metadata = artefacts.read_json(folder / "metadata.json")
        self._tables: dict[str, pd.DataFrame] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> pd.DataFrame:
        with self._lock:
            if name not in self._tables:
                self._tables[name] = pd.read_parquet(self.folder / f"{name}.parquet")
            return self._tables[name]


def answer(tables: Tables, asked: list[list[str]] | None, row_cap: int) -> flask.Response:
    """The response to the query in the current request, an Arrow stream of one batch.

    `asked` is `[[table]]`, or None for a join, which the body names as `[[table, column], [table, column]]`.
    """
    body = json.loads(flask.request.get_data())
    if unsupported := sorted(set(body) - SUPPORTED):
        flask.abort(400, f"the sandbox does not support {unsupported}")
    asked = asked or body["tables"]
    for table, *_ in asked:
        if table not in tables.metadata:
            flask.abort(404, f"analysis table {table} not found")
    parts = {table: _filtered(tables[table], table, body) for table, *_ in asked}
    rows = _selected(_joined(parts, asked, body.get("suffix_map") or {}), parts, asked, body)
    stored = tables.metadata[asked[-1][0]]["voxel_resolution"]
    resolution = body.get("desired_resolution") or stored
    rows = _converted(rows, [size / wanted for size, wanted in zip(stored, resolution, strict=True)])

    # No ORDER BY: each request has an order of its own, so that paging by offset cannot work here either.
    rows = rows.sample(frac=1, random_state=zlib.crc32(flask.request.get_data()))
    limit = min(body.get("limit") or row_cap, row_cap)
    offset = body.get("offset") or 0
    rows = rows.iloc[offset : offset + limit].reset_index(drop=True)

    response = flask.Response(_arrow(rows), content_type="data.arrow")
    for size in resolution:
        response.headers.add("dataframe_resolution", size)
    response.headers["column_names"] = json.dumps(list(rows.columns))
    if len(rows) == limit:
        response.headers["Warning"] = f'201 - "Limited query to {limit} rows'
    return response


def _filtered(rows: pd.DataFrame, table: str, body: dict) -> pd.DataFrame:
    """The rows that pass the filters on one table. No current server applies exclusion filters; nor does this one."""
    keep = rows["valid"].copy()
    for column, values in body.get("filter_in_dict", {}).get(table, {}).items():
        keep &= _column(rows, table, column).isin(values)
    for column, value in body.get("filter_equal_dict", {}).get(table, {}).items():
        keep &= _column(rows, table, column) == value
    for column, (low, high) in body.get("filter_spatial_dict", {}).get(table, {}).items():
        for i, axis in enumerate("xyz"):
            keep &= _column(rows, table, f"{column}_{axis}").between(low[i], high[i])
    return rows[keep]


def _column(rows: pd.DataFrame, table: str, column: str) -> pd.Series:
    if column not in rows:
        flask.abort(400, f"column {column} not found in {table}")
    return rows[column]


def _joined(parts: dict[str, pd.DataFrame], asked: list[list[str]], suffixes: dict[str, str]) -> pd.DataFrame:
    """The only table, or the inner join of two, in which names that both have take each table's suffix."""
    if len(asked) == 1:
        return parts[asked[0][0]]
    (left, left_on), (right, right_on) = asked
    shared = _shared(parts)
    renamed = {
        table: rows.rename(columns={column: column + suffixes.get(table, "") for column in shared})
        for table, rows in parts.items()
    }
    return renamed[left].merge(
        renamed[right],
        left_on=left_on + (suffixes.get(left, "") if left_on in shared else ""),
        right_on=right_on + (suffixes.get(right, "") if right_on in shared else ""),
    )


def _selected(rows: pd.DataFrame, parts: dict[str, pd.DataFrame], asked: list[list[str]], body: dict) -> pd.DataFrame:
    """The columns asked for; a point's name stands for its three columns."""
    wanted = body.get("select_columns")
    if body.get("select_column_map"):
        suffixes = body.get("suffix_map") or {}
        wanted = [
            column + (suffixes.get(table, "") if column in _shared(parts) else "")
            for table, columns in body["select_column_map"].items()
            for column in columns
        ]
    if not wanted:
        return rows
    columns: list[str] = []
    for column in wanted:
        points = [f"{column}_{axis}" for axis in "xyz"]
        columns += points if points[0] in rows else [column]
    for column in columns:
        _column(rows, " and ".join(table for table, *_ in asked), column)
    return rows[columns]


def _shared(parts: dict[str, pd.DataFrame]) -> set[str]:
    return set.intersection(*(set(rows) for rows in parts.values())) if len(parts) > 1 else set()


def _converted(rows: pd.DataFrame, scale: list[float]) -> pd.DataFrame:
    """Points times `scale` (XYZ); as stored where that is 1."""
    points = {f"_position_{axis}": factor for axis, factor in zip("xyz", scale, strict=True) if factor != 1}
    scaled = {name: rows[name] * factor for end, factor in points.items() for name in rows if name.endswith(end)}
    return rows.assign(**scaled)


def _arrow(rows: pd.DataFrame) -> bytes:
    batch = pa.RecordBatch.from_pandas(rows, preserve_index=False)
    compression = "zstd" if "zstd" in flask.request.headers.get("Accept-Encoding", "") else None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
