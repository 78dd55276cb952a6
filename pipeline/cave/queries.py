"""Annotation tables from a CAVE datastack, through the real caveclient, whole or not at all.

caveclient leaves to its caller what a long download needs: it sets no timeout, gives up at a 500, a plain 429 or a
body cut short, hides the server's row cap in a header, falls back to an older API without a word, and opens a web
browser when terms of service are missing. Each of those is handled here, once, around every call.
"""

import contextlib
import difflib
import functools
import logging
import os
import re
import threading

import caveclient
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import requests
import tenacity
from caveclient.auth import AuthClient
from caveclient.base import AuthException, ServerIncompatibilityError
from tqdm import tqdm

from pipeline import space

log = logging.getLogger("pipeline")

SYNAPSE_COLUMNS = ["id", "pre_pt_root_id", "post_pt_root_id", "ctr_pt_position", "size"]

TRANSIENT_STATUS = {429, 500, 502, 503, 504}
LONGEST_PAUSE_S = 120


class CaveError(RuntimeError):
    """The annotation service cannot give what was asked; the text says what to do. It never holds a token."""


class _OldApi(Exception):
    """caveclient could not read the list of API versions, or the server has none that is recent enough."""


#: What a call into caveclient may raise because of the server, the network or the request.
_FAILURES = (
    CaveError,
    _OldApi,
    AuthException,
    ServerIncompatibilityError,
    pa.ArrowException,
    OSError,  # includes everything of requests; pyarrow's own for a stream cut short
    ValueError,  # an answer of an unknown type
)


class Annotations:
    """The annotation tables of one datastack at one materialization version.

    `source` is a `config.Simulated` or `config.Cave`. `token` defaults to the environment's CAVE_TOKEN, then to
    caveclient's secrets file. Raises CaveError for a missing or rejected token, an unknown datastack and an unknown or
    expired materialization version.
    """

    def __init__(self, source, server_address, token=None):
        self.datastack = source.datastack
        self.materialization_version = source.materialization_version
        self._settings = source.query
        self._names = source.tables
        self._server = server_address
        self._headers = {}  # of the answer to the last query
        self._token = pydantic.SecretStr(_usable_token(token, server_address))
        self._client = self._call(self._connect, "connecting")
        self._pin_version()

    def __repr__(self):
        return f"Annotations({self.datastack!r}, version {self.materialization_version}, {self._server!r})"

    @property
    def image_source(self):
        """Cloud path of the EM images, as cloud-volume reads it."""
        return self._client.info.image_source()

    @property
    def segmentation_source(self):
        """Cloud path of the segmentation, as cloud-volume reads it."""
        return self._client.info.segmentation_source()

    @property
    def timestamp(self):
        """When the materialization version was frozen, in ISO 8601 (UTC)."""
        return self._client.timestamp.isoformat()

    @functools.cached_property
    def names(self):
        """Names of all tables of this version."""
        return sorted(self._call(self._client.materialize.get_tables, "listing tables"))

    def table(self, name, filter_in=None, columns=None):
        """The rows of table `name`, sorted by `id`; a reference table is joined with the table that it refers to.

        `filter_in` maps columns of `name` to the values wanted. Columns of the joined table whose name is taken end in
        `_ref`. Points come in nanometres, `pt_position` as `pt_{x,y,z}_nm`, whatever voxels the table has. Ids are
        int64, truth values the text 't' or 'f' (servers send either). Raises CaveError for an unknown table or column,
        for a result that the server cuts short, and for ids that are repeated or no longer exact.
        """
        frame = self._joined_pages(name, self._pages(name, filter_in or {}))
        if columns is None:
            return frame
        missing = [column for column in columns if column not in frame]
        if missing:
            raise CaveError(f"table {name} has no columns {missing}; it has {list(frame.columns)}")
        return frame[list(columns)]

    def synapses(self, pre_ids):
        """All synapses of the presynaptic root ids `pre_ids`, sorted by `id`.

        Columns `id, pre_pt_root_id, post_pt_root_id, ctr_pt_{x,y,z}_nm, size`. Autapses and synapses onto unsegmented
        tissue (post id 0) are included: leaving them out is for the caller, who counts them.
        """
        name = self._names.synapses
        return self._joined_pages(name, self.synapse_pages(pre_ids))

    def synapse_pages(self, pre_ids):
        """Yield the synapses page by page, a bounded number of presynaptic ids at a time, in no order."""
        pre_ids = np.unique(np.asarray(pre_ids))
        if not len(pre_ids) or pre_ids.dtype.kind not in "iu" or pre_ids[0] <= 0:
            raise CaveError("synapses are asked for by presynaptic root ids: positive integers, at least one")
        return self._pages(self._names.synapses, {"pre_pt_root_id": pre_ids.tolist()}, SYNAPSE_COLUMNS)

    # The client

    def _connect(self):
        # The client's own retries would only multiply ours, and the cache would redirect later clients of this user.
        settings = {"auth_token": self._token.get_secret_value(), "server_address": self._server, "max_retries": 0}
        try:
            client = caveclient.CAVEclient(self.datastack, write_server_cache=False, **settings)
        except requests.HTTPError as error:
            if error.response.status_code != 404:
                raise
            known = caveclient.CAVEclient(**settings).info.get_datastacks()
            raise CaveError(f"unknown datastack {self.datastack!r}; {_nearest(self.datastack, known)}") from None
        if client.materialize.api_version < 3:
            raise _OldApi
        return client

    def _pin_version(self):
        version, materialize = self.materialization_version, self._client.materialize
        available = sorted(self._call(materialize.get_versions, "listing materialization versions"))
        if version not in available:
            every = self._call(functools.partial(materialize.get_versions, expired=True), "listing expired versions")
            state = "has expired" if version in every else "does not exist"
            raise CaveError(
                f"materialization version {version} of {self.datastack} {state}; available: {available}. "
                f"Set source.materialization_version, and note that root ids differ between versions."
            )
        # From here on every request of the client is for this version.
        self._call(functools.partial(setattr, self._client, "version", version), "pinning the version")

    # Queries

    def _pages(self, name, filter_in, select=None):
        """Yield complete pages: the longest filter is split, into halves wherever the server cut an answer short."""
        filters = {column: list(dict.fromkeys(values)) for column, values in filter_in.items()}
        if not filters:
            frame, cut = self._query(name, filters, select)
            if cut:
                raise CaveError(
                    f"table {name} has more than {len(frame)} rows, which is as many as the server returns; "
                    f"ask for it by ids (filter_in)"
                )
            yield frame
            return
        column = max(filters, key=lambda column: len(filters[column]))
        wanted, limit = filters[column], self._settings.ids_per_query
        start, size, most_rows = 0, limit, 0
        with tqdm(total=len(wanted), desc=name, unit="id", disable=None) as bar:
            while True:
                batch = wanted[start : start + size]
                frame, cut = self._query(name, {**filters, column: batch}, select)
                if cut and len(batch) == 1:
                    raise CaveError(
                        f"{column} {batch[0]} alone has more than {len(frame)} rows in {name}, which is as many as "
                        f"the server returns; leave it out, or ask the server's operators for a larger limit"
                    )
                if cut:
                    size, most_rows = len(batch) // 2, len(frame)
                    continue
                yield frame
                start += len(batch)
                bar.update(len(batch))
                if start >= len(wanted):
                    return
                if len(frame) < most_rows / 4:
                    size = min(2 * size, limit)

    def _query(self, name, filters, select):
        """One answer of the server, `(frame, cut short?)`, with points in nm and the filters applied once more."""
        resolution = self._resolution(name)
        query = functools.partial(
            self._client.materialize.query_table,
            name,
            filter_in_dict=filters or None,
            select_columns=select,
            split_positions=True,
            desired_resolution=resolution,
            metadata=False,
            log_warning=False,
        )
        frame = self._call(query, f"querying {name}")
        warning = self._redacted(self._headers.get("Warning", ""))
        cut = "Limited query" in warning or len(frame) == self._settings.row_cap
        if warning and not cut:
            log.warning("%s: %s", name, warning)
        given = self._headers.get("dataframe_resolution")
        if given and [float(size) for size in given.split(",")] != resolution:
            raise CaveError(f"table {name}: points arrived in voxels of {given} nm, not {resolution}")
        frame = _exact_ids(_text_booleans(frame), name)
        if not cut:
            for column in set(filters) & set(frame):
                frame = frame[frame[column].isin(filters[column])]
        return _in_nm(frame, space.VoxelFrame(tuple(resolution))), cut

    def _resolution(self, name):
        """Voxel size (XYZ, nm) of the points of a table, which a reference table takes from its target."""
        metadata = self._metadata(name)
        return [float(size) for size in self._metadata(metadata["reference_table"] or name)["voxel_resolution"]]

    def _metadata(self, name):
        if name not in self.names:
            raise CaveError(
                f"no table {name!r} in {self.datastack} version {self.materialization_version}; "
                f"{_nearest(name, self.names)}"
            )
        get = functools.partial(self._client.materialize.get_table_metadata, name, log_warning=False)
        metadata = self._call(get, f"reading the metadata of {name}")
        if not all(metadata["voxel_resolution"]):
            raise CaveError(f"table {name} has no voxel resolution, so its points have no unit")
        return metadata

    def _joined_pages(self, name, pages):
        """One frame of all pages, sorted by id, which must be unique."""
        pages = list(pages)
        frame = pd.concat([page for page in pages if len(page)] or pages[:1]).sort_values("id", ignore_index=True)
        repeated = frame.id[frame.id.duplicated()].unique()
        if len(repeated):
            raise CaveError(f"table {name} returned {len(repeated)} ids more than once, first {repeated[0]}")
        return frame

    # The wire

    def _call(self, function, what):
        """`function()` with timeouts and retries; whatever fails becomes a CaveError without the token."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._settings.attempts),
            wait=self._pause,
            retry=tenacity.retry_if_exception(_transient),
            before_sleep=lambda state: log.warning("%s: %s; trying again", what, self._reason(state.outcome)),
            reraise=True,
        )
        failure = None
        try:
            with self._transport():
                return retrying(function)
        except _FAILURES as error:
            failure = CaveError(self._explanation(error, what))
        raise failure  # outside the handler, so that no traceback shows the original, which may quote the token

    def _pause(self, state):
        error = state.outcome.exception()
        asked = getattr(error, "response", None)
        asked = asked.headers.get("Retry-After", "") if asked is not None else ""
        backoff = tenacity.wait_exponential(self._settings.backoff_s, LONGEST_PAUSE_S)(state)
        return max(backoff, min(float(asked), LONGEST_PAUSE_S) if asked.isdigit() else 0)

    @contextlib.contextmanager
    def _transport(self):
        """While it lasts, this thread's requests have a timeout, and terms of service raise instead of a browser.

        caveclient makes requests in its constructors, one of them outside any session, so that `Session.send` is the
        only point that all of them pass.
        """
        original, owner = requests.Session.send, threading.get_ident()

        def send(session, request, **options):
            if threading.get_ident() != owner:
                return original(session, request, **options)
            if options.get("timeout") is None:
                options["timeout"] = self._settings.timeout_s
            response = original(session, request, **options)
            if response.status_code == 403 and "missing_tos" in response.text:
                raise CaveError(f"accept the terms of service first, in a browser: {_terms_url(response)}")
            if request.method == "POST":
                self._headers = response.headers
            return response

        with _TRANSPORT_LOCK:
            requests.Session.send = send
            try:
                yield
            finally:
                requests.Session.send = original

    def _redacted(self, text):
        return str(text).replace(self._token.get_secret_value(), "[token]")

    def _reason(self, outcome):
        return self._redacted(_summary(outcome.exception(), self._settings))

    def _explanation(self, error, what):
        """The text of the CaveError for `error`: what failed, why, and what to do."""
        status = error.response.status_code if isinstance(error, requests.HTTPError) else None
        place = f"{what} ({self.datastack} at {self._server})"
        if isinstance(error, CaveError):
            return self._redacted(error)
        if status == 401 or isinstance(error, AuthException):
            return f"{self._server} rejected the CAVE token (not shown); {_token_help(self._server)}"
        reason = self._redacted(_summary(error, self._settings))
        if status == 403:
            return f"{place}: this token has no permission; ask for access to the datastack. {reason}"
        if _transient(error):
            return f"{place}: failed {self._settings.attempts} times, last: {reason}. Try again later"
        return f"{place}: {reason}"


_TRANSPORT_LOCK = threading.RLock()


def _usable_token(token, server_address):
    token = token or os.environ.get("CAVE_TOKEN") or AuthClient(server_address=server_address).token
    if not token or not token.strip():
        raise CaveError(f"no CAVE token; {_token_help(server_address)}")
    token = token.strip()
    if not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
        raise CaveError(f"the CAVE token (not shown) holds characters that no token has; {_token_help(server_address)}")
    return token


def _token_help(server_address):
    return (
        f"get one at {server_address}/auth/api/v1/create_token and set CAVE_TOKEN to it, or save it with "
        f"caveclient's client.auth.save_token"
    )


def _nearest(name, known):
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(known)) or 'none'}"


def _terms_url(response):
    try:
        return response.json()["data"]["tos_form_url"]
    except (ValueError, KeyError, TypeError):
        return "(the server gave no address)"


def _transient(error):
    """Whether trying again can help."""
    if isinstance(error, requests.HTTPError):
        return error.response.status_code in TRANSIENT_STATUS
    lost = (
        requests.ConnectionError,  # refused, reset, or silent in the middle of a body
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,  # a body cut short
        requests.exceptions.ContentDecodingError,
        requests.JSONDecodeError,
        pa.ArrowException,
        _OldApi,
    )
    return isinstance(error, lost) or type(error) is OSError


def _summary(error, settings):
    """One line about an error of the wire."""
    if isinstance(error, requests.HTTPError):
        response = error.response
        try:
            text = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            text = response.reason
        return f"the server answered {response.status_code} ({str(text)[:300]})"
    if isinstance(error, _OldApi):
        return "the server's list of API versions was unreadable or lacks version 3, which these queries need"
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return f"no answer within {settings.timeout_s:g} s (source.query.timeout_s)"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | pa.ArrowException) or type(error) is OSError:
        return "the answer was cut short"
    if isinstance(error, requests.ConnectionError):
        return f"no connection ({type(error).__name__})"
    return f"{type(error).__name__}: {str(error)[:300]}"


def _text_booleans(frame):
    """Truth values as 't' and 'f': depending on its version a server sends booleans or this text."""
    for column in frame.select_dtypes(bool).columns:
        frame[column] = np.where(frame[column], "t", "f")
    return frame


def _exact_ids(frame, name):
    """Ids as int64; CaveError where they came as floating-point numbers, which are inexact above 2^53."""
    for column in frame.columns:
        if not re.fullmatch(r"(.*_)?id(_ref)?", column) or column.startswith("superceded_id"):
            continue
        ids = frame[column]
        if len(ids) and not (pd.api.types.is_integer_dtype(ids) and ids.max() < 2**63):
            raise CaveError(f"table {name}: column {column} arrived as {ids.dtype}, in which ids are not exact")
        frame[column] = ids.astype(np.int64)
    return frame


def _in_nm(frame, voxels):
    """Points `<name>_position_{x,y,z}` in voxels become `<name>_{x,y,z}_nm`."""
    for x in [column for column in frame.columns if column.endswith("_position_x")]:
        base = x.removesuffix("_position_x")
        points = voxels.to_nm(frame[[f"{base}_position_{axis}" for axis in "xyz"]].to_numpy(dtype=np.float64))
        frame = frame.assign(**{f"{base}_position_{axis}": points[:, i] for i, axis in enumerate("xyz")})
        frame = frame.rename(columns={f"{base}_position_{axis}": f"{base}_{axis}_nm" for axis in "xyz"})
    return frame
