"""Annotation tables from a CAVE datastack, through the real caveclient, whole or not at all.

The server cuts answers at a row cap that only a header mentions, and sends points in voxels; both are handled here.
"""

import difflib
import functools
import logging
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import caveclient
import numpy as np
import pandas as pd
import requests
from numpy.typing import ArrayLike
from tqdm import tqdm

from pipeline import config, space
from pipeline.cave import CaveError
from pipeline.cave.pages import Pages
from pipeline.cave.wire import Gone, OldApi, TooMuch, Wire

log = logging.getLogger("pipeline")

SYNAPSE_COLUMNS = ["id", "pre_pt_root_id", "post_pt_root_id", "ctr_pt_position", "size"]

Select = list[str] | dict[str, list[str]]  # columns of a table, or of each of two that are joined

#: Queries begin with so many ids and grow from there while answers come within FAST_S and fill less than a quarter of
#: what the server returns at most.
FIRST_IDS = 8
FAST_S = 10


class Annotations:
    """The annotation tables of one datastack at one materialization version.

    `token` as for `wire.Wire`. Answers are kept in the folder `pages` and not asked for again; without a folder, they
    last as long as this object. Raises CaveError for a missing or rejected token, an unknown datastack and an unknown
    or expired materialization version.
    """

    def __init__(
        self,
        source: config.Simulated | config.Cave,
        server_address: str,
        token: str | None = None,
        pages: Path | None = None,
    ) -> None:
        self.datastack = source.datastack
        self.materialization_version = source.materialization_version
        self._settings = source.query
        self._synapse_table = source.tables.synapses
        self._server = server_address
        self._wire = Wire(server_address, source.datastack, source.query, token)
        self._client = self._wire.call(self._connect, "connecting")
        self._check_version()
        # From here on every request of the client is for this version.
        pin = functools.partial(setattr, self._client, "version", self.materialization_version)
        self._wire.call(pin, "pinning the version")
        self.seconds_per_id: float | None = None  # that the last query by ids took, unless all of it was kept
        self._are_kept = pages is not None
        if pages is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="cave-pages-")
            pages = Path(self._temporary.name)
        self._pages = pages

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

    @property
    def expires(self) -> str:
        """When the server stops serving the materialization version, as an ISO 8601 date."""
        get = self._client.materialize.get_version_metadata
        return self._wire.call(get, "reading the metadata of the version")["expires_on"].date().isoformat()

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of all tables of this version."""
        return sorted(self._wire.call(self._client.materialize.get_tables, "listing tables"))

    def table(self, name: str, columns: Sequence[str], of_target: Sequence[str] = ()) -> pd.DataFrame:
        """`columns` of all rows of table `name`, sorted by `id`, which is always among them.

        Of a reference table, `of_target` are the columns of the table that it refers to. Points come in nanometres,
        `pt_position` as `pt_{x,y,z}_nm`, whatever voxels the table has. Ids are int64, truth values the text 't' or 'f'
        (servers send either). Raises CaveError for an unknown table, for a result that the server cuts short, and for
        ids that are missing, repeated or no longer exact.
        """
        columns = ["id", *(column for column in columns if column != "id")]
        select: Select = columns
        if of_target:
            target = self._metadata(name)["reference_table"]
            if not target:
                raise CaveError(f"table {name} refers to no other table, which should have {list(of_target)}")
            select = {name: columns, target: list(of_target)}
        pages = self._pages_of(name, select)
        found = [rows for _, rows in pages.read()]
        if not found:
            found = [self._ask_for_all(name, select)]
            pages.write(found[0])
        return _sorted(self._usable(found[0], name), name)

    def synapses(self, pre_ids: ArrayLike) -> pd.DataFrame:
        """All synapses of the presynaptic root ids `pre_ids`, sorted by `id`.

        Columns `id, pre_pt_root_id, post_pt_root_id, ctr_pt_{x,y,z}_nm, size`. Autapses and synapses onto unsegmented
        tissue (post id 0) are included: leaving them out is for the caller, who counts them. Errors as for `table`;
        what was answered before an error is kept.
        """
        pre_ids = np.unique(np.asarray(pre_ids))
        if not len(pre_ids) or pre_ids.dtype.kind not in "iu" or pre_ids[0] <= 0:
            raise CaveError("synapses are asked for by presynaptic root ids: positive integers, at least one")
        name = self._synapse_table
        pages = self._pages_of(name, SYNAPSE_COLUMNS)
        kept = pages.ids()
        waiting = [one for one in pre_ids.tolist() if one not in kept]
        if len(waiting) < len(pre_ids):
            log.info("%s: the rows of %d of %d ids are there already", name, len(pre_ids) - len(waiting), len(pre_ids))
        try:
            self._fetch(name, waiting, pages)
        except CaveError as error:
            n = len(pages.ids().intersection(pre_ids.tolist()))
            kept_in = f". The rows of {n} of {len(pre_ids)} ids are kept in {pages.folder}: start again to go on"
            failure = CaveError(f"{error}{kept_in if self._are_kept else ''}")
        else:
            rows = [self._usable(page[page["pre_pt_root_id"].isin(ids)], name) for ids, page in pages.read()]
            whole = pd.concat([page for page in rows if len(page)] or rows[:1])
            return _sorted(whole[whole["pre_pt_root_id"].isin(pre_ids)], name)
        raise failure

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

    def _check_version(self) -> None:
        """CaveError unless the server has the materialization version."""
        call, get_versions = self._wire.call, self._client.materialize.get_versions
        version, available = self.materialization_version, call(get_versions, "listing materialization versions")
        if version not in available:
            every = call(functools.partial(get_versions, expired=True), "listing expired versions")
            state = "has expired" if version in every else "does not exist"
            raise CaveError(
                f"materialization version {version} of {self.datastack} {state}; available: {sorted(available)}. "
                "Set source.materialization_version, and note that root ids differ between versions"
            )

    # Queries

    def _pages_of(self, name: str, select: Select) -> Pages:
        place = {"server": self._server, "datastack": self.datastack, "version": self.materialization_version}
        return Pages(self._pages, place | {"table": name, "columns": select})

    def _fetch(self, name: str, ids: list[int], pages: Pages) -> None:
        """Write pages with all rows of table `name` of these presynaptic `ids`.

        Where an answer is cut short or is too much for the server, half as many ids are asked for.
        """
        limit, cap = self._settings.ids_per_query, self._settings.row_cap
        done, size, begun = 0, min(FIRST_IDS, limit), time.monotonic()
        with tqdm(total=len(ids), desc=name, unit="id", disable=None) as bar:
            while done < len(ids):
                batch = ids[done : done + size]
                started = time.monotonic()
                try:
                    rows, cut = self._ask(name, SYNAPSE_COLUMNS, batch)
                except TooMuch as error:
                    log.warning("querying %s for %d ids: %s; asking for half as many", name, len(batch), error)
                    time.sleep(self._settings.backoff_s)
                    size = len(batch) // 2
                    continue
                if cut and len(batch) == 1:
                    raise CaveError(
                        f"pre_pt_root_id {batch[0]} alone has more than {len(rows)} rows in {name}, which is as many "
                        "as the server returns; leave it out, or ask the server's operators for a larger limit"
                    )
                if cut:
                    size, cap = len(batch) // 2, len(rows)
                    continue
                self._usable(rows, name)  # raises before anything wrong is kept
                pages.write(rows, batch)
                done += len(batch)
                bar.update(len(batch))
                if time.monotonic() - started < FAST_S and 4 * len(rows) < cap:
                    size = min(2 * len(batch), limit)
        self.seconds_per_id = (time.monotonic() - begun) / len(ids) if ids else None

    def _ask_for_all(self, name: str, select: Select) -> pd.DataFrame:
        rows, cut = self._ask(name, select)
        if cut:
            raise CaveError(
                f"table {name} has more than {len(rows)} rows, which is as many as the server returns; ask the "
                "server's operators for a larger limit"
            )
        self._usable(rows, name)
        return rows

    def _ask(self, name: str, select: Select, ids: list[int] | None = None) -> tuple[pd.DataFrame, bool]:
        """One answer of the server as it came, `(rows, cut short?)`: all rows, or those of presynaptic `ids`."""
        resolution = self.voxel_nm(name)
        query = functools.partial(
            self._client.materialize.query_table,
            name,
            filter_in_dict={"pre_pt_root_id": ids} if ids else None,
            select_columns=select,
            split_positions=True,
            desired_resolution=list(resolution),
            metadata=False,
            log_warning=False,
        )
        try:
            rows = self._wire.call(query, f"querying {name}", divisible=len(ids or ()) > 1)
        except Gone:
            self._check_version()  # which says it better where that is the reason
            raise
        warning = self._wire.redacted(self._wire.headers.get("Warning", ""))
        cut = "Limited query" in warning or len(rows) == self._settings.row_cap
        if warning and not cut:
            log.warning("%s: %s", name, warning)
        given = self._wire.headers.get("dataframe_resolution")
        if given and tuple(float(size) for size in given.split(",")) != resolution:
            raise CaveError(f"table {name}: points arrived in voxels of {given} nm, not {resolution}")
        return rows, cut

    def _usable(self, rows: pd.DataFrame, name: str) -> pd.DataFrame:
        """Rows as they came, made into what `table` promises, except for their order."""
        return _in_nm(_exact_ids(_text_booleans(rows), name), space.VoxelFrame(self.voxel_nm(name)))

    def voxel_nm(self, name: str) -> tuple[float, float, float]:
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
    return rows.assign(**{name: np.where(rows[name], "t", "f") for name in rows.select_dtypes(bool)})


def _exact_ids(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Ids as int64; CaveError where some are missing or came as floating-point numbers, inexact above 2^53."""
    exact = {}
    for column in [column for column in rows.columns if re.fullmatch(r"(.*_)?id(_ref)?", column)]:
        ids = rows[column]
        if (missing := ids.isna()).any():
            shown = f"id {rows['id'][missing].head().tolist()}" if column != "id" else "the ids themselves"
            raise CaveError(
                f"table {name}: column {column} has no value in {missing.sum()} of {len(rows)} rows ({shown}); report "
                "them to the operators of the service"
            )
        if len(ids) and not (pd.api.types.is_integer_dtype(ids) and ids.max() < 2**63):
            raise CaveError(f"table {name}: column {column} arrived as {ids.dtype}, in which ids are not exact")
        exact[column] = ids.astype(np.int64)
    return rows.assign(**exact)


def _in_nm(rows: pd.DataFrame, voxels: space.VoxelFrame) -> pd.DataFrame:
    """Points `<name>_position_{x,y,z}` in voxels become `<name>_{x,y,z}_nm`."""
    for point in [column.removesuffix("_position_x") for column in rows.columns if column.endswith("_position_x")]:
        names = {f"{point}_position_{axis}": f"{point}_{axis}_nm" for axis in "xyz"}
        rows = rows.rename(columns=names)
        rows[list(names.values())] = voxels.to_nm(rows[list(names.values())].to_numpy(dtype=np.float64))
    return rows
