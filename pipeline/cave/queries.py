"""Annotation tables from a CAVE datastack, through the real caveclient, whole or not at all.

The server cuts answers at a row cap that only a header mentions, and sends points in voxels; both are handled here.
"""

import difflib
import functools
import logging
import re
from collections.abc import Iterable, Iterator

import caveclient
import numpy as np
import pandas as pd
import requests
from numpy.typing import ArrayLike
from tqdm import tqdm

from pipeline import config, space
from pipeline.cave import CaveError
from pipeline.cave.wire import OldApi, Wire

log = logging.getLogger("pipeline")

SYNAPSE_COLUMNS = ["id", "pre_pt_root_id", "post_pt_root_id", "ctr_pt_position", "size"]


class Annotations:
    """The annotation tables of one datastack at one materialization version.

    `token` as for `wire.Wire`. Raises CaveError for a missing or rejected token, an unknown datastack and an unknown or
    expired materialization version.
    """

    def __init__(self, source: config.Simulated | config.Cave, server_address: str, token: str | None = None) -> None:
        self.datastack = source.datastack
        self.materialization_version = source.materialization_version
        self._settings = source.query
        self._synapse_table = source.tables.synapses
        self._server = server_address
        self._wire = Wire(server_address, source.datastack, source.query, token)
        self._client = self._wire.call(self._connect, "connecting")
        self._pin_version()

    @property
    def image_source(self) -> str:
        """Cloud path of the EM images, as cloud-volume reads it."""
        return self._client.info.image_source()

    @property
    def segmentation_source(self) -> str:
        """Cloud path of the segmentation, as cloud-volume reads it."""
        return self._client.info.segmentation_source()

    @property
    def timestamp(self) -> str:
        """When the materialization version was frozen, in ISO 8601 (UTC)."""
        return self._client.timestamp.isoformat()

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of all tables of this version."""
        return sorted(self._wire.call(self._client.materialize.get_tables, "listing tables"))

    def table(self, name: str) -> pd.DataFrame:
        """The rows of table `name`, sorted by `id`; a reference table is joined with the table that it refers to.

        Columns of the joined table whose name is taken end in `_ref`. Points come in nanometres, `pt_position` as
        `pt_{x,y,z}_nm`, whatever voxels the table has. Ids are int64, truth values the text 't' or 'f' (servers send
        either). Raises CaveError for an unknown table, for a result that the server cuts short, and for ids that are
        repeated or no longer exact.
        """
        rows, cut = self._query(name)
        if cut:
            raise CaveError(
                f"table {name} has more than {len(rows)} rows, which is as many as the server returns; ask the "
                "server's operators for a larger limit"
            )
        return _sorted(rows, name)

    def synapses(self, pre_ids: ArrayLike) -> pd.DataFrame:
        """All synapses of the presynaptic root ids `pre_ids`, sorted by `id`.

        Columns `id, pre_pt_root_id, post_pt_root_id, ctr_pt_{x,y,z}_nm, size`. Autapses and synapses onto unsegmented
        tissue (post id 0) are included: leaving them out is for the caller, who counts them. Errors as for `table`.
        """
        pre_ids = np.unique(np.asarray(pre_ids))
        if not len(pre_ids) or pre_ids.dtype.kind not in "iu" or pre_ids[0] <= 0:
            raise CaveError("synapses are asked for by presynaptic root ids: positive integers, at least one")
        pages = list(self._synapse_pages(pre_ids.tolist()))
        return _sorted(pd.concat([page for page in pages if len(page)] or pages[:1]), self._synapse_table)

    # The client

    def _connect(self) -> caveclient.CAVEclient:
        # The client's own retries would only multiply ours, and the cache would redirect later clients of this user.
        settings = {"auth_token": self._wire.token, "server_address": self._server, "max_retries": 0}
        try:
            client = caveclient.CAVEclient(self.datastack, write_server_cache=False, **settings)
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != 404:
                raise
            known = caveclient.CAVEclient(**settings).info.get_datastacks()
            raise CaveError(f"unknown datastack {self.datastack!r}; {_nearest(self.datastack, known)}") from None
        if client.materialize.api_version < 3:
            raise OldApi
        return client

    def _pin_version(self) -> None:
        call, get_versions = self._wire.call, self._client.materialize.get_versions
        version, available = self.materialization_version, call(get_versions, "listing materialization versions")
        if version not in available:
            every = call(functools.partial(get_versions, expired=True), "listing expired versions")
            state = "has expired" if version in every else "does not exist"
            raise CaveError(
                f"materialization version {version} of {self.datastack} {state}; available: {sorted(available)}. "
                "Set source.materialization_version, and note that root ids differ between versions."
            )
        # From here on every request of the client is for this version.
        call(functools.partial(setattr, self._client, "version", version), "pinning the version")

    # Queries

    def _synapse_pages(self, pre_ids: list[int]) -> Iterator[pd.DataFrame]:
        """Yield complete pages; wherever the server cuts an answer short, half as many ids are asked for."""
        limit = self._settings.ids_per_query
        start, size, most_rows = 0, limit, 0
        with tqdm(total=len(pre_ids), desc=self._synapse_table, unit="id", disable=None) as bar:
            while start < len(pre_ids):
                batch = pre_ids[start : start + size]
                rows, cut = self._query(self._synapse_table, batch)
                if cut and len(batch) == 1:
                    raise CaveError(
                        f"pre_pt_root_id {batch[0]} alone has more than {len(rows)} rows in {self._synapse_table}, "
                        "which is as many as the server returns; leave it out, or ask the server's operators for a "
                        "larger limit"
                    )
                if cut:
                    size, most_rows = len(batch) // 2, len(rows)
                    continue
                yield rows
                start += len(batch)
                bar.update(len(batch))
                if len(rows) < most_rows / 4:
                    size = min(2 * size, limit)

    def _query(self, name: str, pre_ids: list[int] | None = None) -> tuple[pd.DataFrame, bool]:
        """One answer of the server, `(rows, cut short?)`, with points in nm: all rows, or the synapses of `pre_ids`."""
        resolution = self._resolution(name)
        query = functools.partial(
            self._client.materialize.query_table,
            name,
            filter_in_dict={"pre_pt_root_id": pre_ids} if pre_ids else None,
            select_columns=SYNAPSE_COLUMNS if pre_ids else None,
            split_positions=True,
            desired_resolution=list(resolution),
            metadata=False,
            log_warning=False,
        )
        rows = self._wire.call(query, f"querying {name}")
        warning = self._wire.redacted(self._wire.headers.get("Warning", ""))
        cut = "Limited query" in warning or len(rows) == self._settings.row_cap
        if warning and not cut:
            log.warning("%s: %s", name, warning)
        given = self._wire.headers.get("dataframe_resolution")
        if given and tuple(float(size) for size in given.split(",")) != resolution:
            raise CaveError(f"table {name}: points arrived in voxels of {given} nm, not {resolution}")
        rows = _exact_ids(_text_booleans(rows), name)
        if pre_ids and not cut:  # a server may send rows that were not asked for
            rows = rows[rows["pre_pt_root_id"].isin(pre_ids)]
        return _in_nm(rows, space.VoxelFrame(resolution)), cut

    def _resolution(self, name: str) -> tuple[float, float, float]:
        """Voxel size (XYZ, nm) of the points of a table, which a reference table takes from its target."""
        x, y, z = self._metadata(self._metadata(name)["reference_table"] or name)["voxel_resolution"]
        return float(x), float(y), float(z)

    def _metadata(self, name: str) -> dict:
        if name not in self.names:
            place = f"{self.datastack} version {self.materialization_version}"
            raise CaveError(f"no table {name!r} in {place}; {_nearest(name, self.names)}")
        get = functools.partial(self._client.materialize.get_table_metadata, name, log_warning=False)
        metadata = self._wire.call(get, f"reading the metadata of {name}")
        if not all(metadata["voxel_resolution"]):
            raise CaveError(f"table {name} has no voxel resolution, so its points have no unit")
        return metadata


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}"


def _sorted(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows of a table in the order of their ids, which must be unique."""
    repeated = rows.loc[rows["id"].duplicated(), "id"].unique()
    if len(repeated):
        raise CaveError(f"table {name} returned {len(repeated)} ids more than once, first {repeated.min()}")
    return rows.sort_values("id", ignore_index=True)


def _text_booleans(rows: pd.DataFrame) -> pd.DataFrame:
    """Truth values as 't' and 'f': depending on its version a server sends booleans or this text."""
    for column in rows.select_dtypes(bool).columns:
        rows[column] = np.where(rows[column], "t", "f")
    return rows


def _exact_ids(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Ids as int64; CaveError where they came as floating-point numbers, which are inexact above 2^53."""
    for column in rows.columns:
        if not re.fullmatch(r"(.*_)?id(_ref)?", column) or column.startswith("superceded_id"):
            continue
        ids = rows[column]
        if len(ids) and not (pd.api.types.is_integer_dtype(ids) and ids.max() < 2**63):
            raise CaveError(f"table {name}: column {column} arrived as {ids.dtype}, in which ids are not exact")
        rows[column] = ids.astype(np.int64)
    return rows


def _in_nm(rows: pd.DataFrame, voxels: space.VoxelFrame) -> pd.DataFrame:
    """Points `<name>_position_{x,y,z}` in voxels become `<name>_{x,y,z}_nm`."""
    for point in [column.removesuffix("_position_x") for column in rows.columns if column.endswith("_position_x")]:
        names = {f"{point}_position_{axis}": f"{point}_{axis}_nm" for axis in "xyz"}
        rows = rows.rename(columns=names)
        rows[list(names.values())] = voxels.to_nm(rows[list(names.values())].to_numpy(dtype=np.float64))
    return rows
