"""A CAVE server on loopback that answers, from a folder of tables, the calls which caveclient makes.

The demo, the tests and `python -m pipeline sandbox` use it, so that the client, the wire and the volumes are the real
ones and only the address differs. Where the real service is awkward, so is this one: rows come in no order, answers
are cut at a cap that only a header mentions, exclusion filters have no effect, materialization versions expire.
"""

import contextlib
import dataclasses
import json
import logging
import socket
import threading
import zlib
from pathlib import Path

import flask
import pandas as pd
import pyarrow as pa
import werkzeug.exceptions
import werkzeug.serving

from pipeline import artefacts

log = logging.getLogger("pipeline")

#: The sandbox's only token. It is public, and no token of any real server.
TOKEN = "synapse-ei-sandbox"

SUPPORTED = {  # keys of a query's body; anything else is refused rather than ignored
    "tables",
    "suffix_map",
    "select_columns",
    "select_column_map",
    "filter_in_dict",
    "filter_equal_dict",
    "filter_notin_dict",
    "filter_spatial_dict",
    "limit",
    "offset",
    "desired_resolution",
}


@dataclasses.dataclass
class Fault:
    """One request to answer badly: the next one whose path contains `path`.

    `kind`: a status ("500", "429", or "429 2" with a Retry-After of two seconds), "missing_tos", "reset" (connection
    dropped), "hang" (silence), "truncated" (half the body), "short" (half the body, passed off as whole), "empty" (no
    body), "no_warning" (the header about the row cap is lost), "unfiltered" (rows that were not asked for).
    """

    path: str
    kind: str


@contextlib.contextmanager
def serve(source_dir, settings, port=0, row_cap=200_000, faults=()):
    """Serve `<source_dir>/tables` on 127.0.0.1 from a thread; yields the address, `http://127.0.0.1:<port>`.

    `settings` is a `config.Simulated`: its datastack, its materialization version (the one before it exists but has
    expired) and its names of tables. Port 0 takes a free one. `faults` is a list of `Fault`s, from which the server
    removes each that it has committed.
    """
    closing = threading.Event()
    app = _app(Path(source_dir).resolve(), settings, row_cap, faults, closing)
    server = werkzeug.serving.make_server("127.0.0.1", port, app, threaded=True, request_handler=_QuietHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def run(source_dir, settings, port):
    """Serve until interrupted, and print how to connect."""
    with serve(source_dir, settings, port) as address:
        print(
            f"CAVE sandbox of {source_dir} at {address} (this machine only); stop it with Ctrl-C.\n\n"
            f"  from caveclient import CAVEclient\n"
            f'  client = CAVEclient("{settings.datastack}", server_address="{address}", auth_token="{TOKEN}",\n'
            f"                      write_server_cache=False)\n"
            f"  client.version = {settings.materialization_version}\n"
            f'  client.materialize.query_table("{settings.tables.nuclei}")\n',
            flush=True,
        )
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
    def log_request(self, *args, **kwargs):
        pass


class Tables:
    """The annotation tables of a folder, read once each."""

    def __init__(self, folder):
        if not (folder / "metadata.json").is_file():
            raise FileNotFoundError(f"no annotation tables in {folder}: simulate the source first (make simulate)")
        self.folder = folder
        self.metadata = artefacts.read_json(folder / "metadata.json")
        self._frames = {}
        self._lock = threading.Lock()

    def __getitem__(self, name):
        with self._lock:
            if name not in self._frames:
                self._frames[name] = pd.read_parquet(self.folder / f"{name}.parquet")
            return self._frames[name]


def _app(source_dir, settings, row_cap, faults, closing):
    app = flask.Flask("sandbox", static_folder=None)
    tables = Tables(source_dir / "tables")
    versions = {settings.materialization_version - 1: False, settings.materialization_version: True}
    datastack = "/materialize/api/v<int(min=2,max=3):api>/datastack/<name>"

    @app.before_request
    def check_token():
        # The client sends the token as a header and as a cookie; the real service accepts either.
        header = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
        if TOKEN not in (header, flask.request.cookies.get("middle_auth_token")):
            flask.abort(401, "missing or unknown token")

    @app.before_request
    def check_names():
        given = flask.request.view_args or {}
        if given.get("name", settings.datastack) != settings.datastack:
            flask.abort(404, f"datastack {given['name']} not found")
        if given.get("table", next(iter(tables.metadata))) not in tables.metadata:
            flask.abort(404, f"analysis table {given['table']} not found for version {given['version']}")
        if given.get("version", settings.materialization_version) not in versions:
            flask.abort(404, f"version {given['version']} not found")

    @app.errorhandler(werkzeug.exceptions.HTTPException)
    def as_json(error):
        return {"message": error.description}, error.code

    _misbehave(app, faults, closing)

    @app.get("/info/version")
    def info_version():
        return flask.jsonify("4.3.3")

    @app.get("/info/api/v2/datastacks")
    def datastacks():
        return flask.jsonify([settings.datastack])

    @app.get("/info/api/v2/datastack/full/<name>")
    def datastack_info(name):
        return {
            "datastack": name,
            "aligned_volume": {
                "id": 1,
                "name": name,
                "image_source": f"precomputed://file://{source_dir / 'em'}",
                "description": "simulated neuropil",
            },
            "segmentation_source": f"precomputed://file://{source_dir / 'segmentation'}",
            "local_server": flask.request.host_url.rstrip("/"),
            "synapse_table": settings.tables.synapses,
            "soma_table": settings.tables.nuclei,
            "viewer_site": None,
            "viewer_resolution_x": 4.0,
            "viewer_resolution_y": 4.0,
            "viewer_resolution_z": 40.0,
        }

    @app.get("/materialize/api/versions")
    def api_versions():
        return flask.jsonify([2, 3])

    @app.get("/materialize/version")
    def materialize_version():
        return flask.jsonify("5.26.4")

    @app.get(f"{datastack}/versions")
    def list_versions(api, name):
        with_expired = flask.request.args.get("expired") == "True"
        return flask.jsonify([version for version, valid in versions.items() if valid or with_expired])

    @app.get(f"{datastack}/version/<int:version>")
    def version_metadata(api, name, version):
        valid = versions[version]
        return {
            "id": version,
            "version": version,
            "datastack": name,
            "valid": valid,
            "status": "AVAILABLE" if valid else "EXPIRED",
            "time_stamp": "2024-01-01T08:00:00.000000",
            "expires_on": "2121-01-01T08:00:00.000000" if valid else "2024-01-02T08:00:00.000000",
        }

    @app.get(f"{datastack}/version/<int:version>/tables")
    def list_tables(api, name, version):
        return flask.jsonify(sorted(tables.metadata))

    @app.get(f"{datastack}/version/<int:version>/table/<table>/metadata")
    def table_metadata(api, name, version, table):
        metadata = dict(tables.metadata[table])
        sizes = metadata.pop("voxel_resolution")
        return {
            "table_name": table,
            "valid": True,
            "description": "simulated",
            **metadata,
            **{f"voxel_resolution_{axis}": size for axis, size in zip("xyz", sizes, strict=True)},
        }

    @app.post(f"{datastack}/version/<int:version>/table/<table>/query")
    def query_one(api, name, version, table):
        return _answer(tables, [[table]], versions[version], row_cap)

    @app.post(f"{datastack}/version/<int:version>/query")
    def query_joined(api, name, version):
        return _answer(tables, None, versions[version], row_cap)

    return app


def _misbehave(app, faults, closing):
    """Commit the scripted faults."""

    @app.before_request
    def instead():
        fault = next((fault for fault in faults if fault.path in flask.request.path), None)
        if fault is None:
            return None
        faults.remove(fault)
        flask.g.fault = fault.kind
        status, _, pause_s = fault.kind.partition(" ")
        if status.isdigit():
            # Careless servers repeat the request in their error texts, token and all.
            text = f"scripted fault for {flask.request.headers.get('Authorization')}"
            return {"message": text}, int(status), {"Retry-After": pause_s} if pause_s else {}
        if fault.kind == "missing_tos":
            url = "https://example.org/terms"
            return {"error": "missing_tos", "message": "terms", "data": {"tos_form_url": url}}, 403
        if fault.kind == "reset":
            flask.request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        if fault.kind == "hang":
            closing.wait(60)
        return None

    @app.after_request
    def after(response):
        kind = flask.g.get("fault")
        if kind in ("truncated", "short", "empty"):
            body = response.get_data()
            response.set_data(body[: 0 if kind == "empty" else len(body) // 2])
            if kind == "truncated":
                response.headers["Content-Length"] = len(body)
        if kind == "no_warning":
            response.headers.pop("Warning", None)
        return response


def _answer(tables, asked, valid, row_cap):
    """The response to a query: an Arrow stream of one batch."""
    if not valid:
        flask.abort(410, "This materialization version is not available")
    body = json.loads(flask.request.get_data())
    if flask.g.get("fault") == "unfiltered":
        body.pop("filter_in_dict", None)
    unsupported = sorted(set(body) - SUPPORTED)
    if unsupported:
        flask.abort(400, f"the sandbox does not support {unsupported}")
    asked = asked or body["tables"]
    for table, *_ in asked:
        if table not in tables.metadata:
            flask.abort(404, f"analysis table {table} not found")
    frames = {table: _filtered(tables[table], table, body) for table, *_ in asked}
    frame = _selected(_joined(frames, asked, body.get("suffix_map") or {}), frames, asked, body)
    resolution = body.get("desired_resolution") or tables.metadata[asked[-1][0]]["voxel_resolution"]
    frame = _converted(frame, tables.metadata[asked[-1][0]]["voxel_resolution"], resolution)

    # No ORDER BY: each request has an order of its own, so that paging by offset cannot work here either.
    frame = frame.sample(frac=1, random_state=zlib.crc32(flask.request.get_data()))
    limit = min(body.get("limit") or row_cap, row_cap)
    offset = body.get("offset") or 0
    frame = frame.iloc[offset : offset + limit].reset_index(drop=True)

    response = flask.Response(_arrow(frame), content_type="data.arrow")
    for size in resolution:
        response.headers.add("dataframe_resolution", size)
    response.headers["column_names"] = json.dumps(list(frame.columns))
    if len(frame) == limit:
        response.headers["Warning"] = f'201 - "Limited query to {limit} rows'
    return response


def _filtered(frame, table, body):
    """The rows that pass the filters on one table. Exclusion filters are read by no current server; nor here."""
    keep = frame.valid.copy()
    for column, values in body.get("filter_in_dict", {}).get(table, {}).items():
        keep &= _column(frame, table, column).isin(values)
    for column, value in body.get("filter_equal_dict", {}).get(table, {}).items():
        keep &= _column(frame, table, column) == value
    for column, (low, high) in body.get("filter_spatial_dict", {}).get(table, {}).items():
        for i, axis in enumerate("xyz"):
            keep &= _column(frame, table, f"{column}_{axis}").between(low[i], high[i])
    return frame[keep]


def _column(frame, table, column):
    if column not in frame:
        flask.abort(400, f"column {column} not found in {table}")
    return frame[column]


def _joined(frames, asked, suffixes):
    """The only table, or the inner join of two, in which names that both have take each table's suffix."""
    if len(asked) == 1:
        return frames[asked[0][0]]
    (left, left_on), (right, right_on) = asked
    shared = set(frames[left]) & set(frames[right])
    renamed = {
        table: frames[table].rename(columns={column: column + suffixes.get(table, "") for column in shared})
        for table in (left, right)
    }
    on = {
        "left_on": left_on + (suffixes.get(left, "") if left_on in shared else ""),
        "right_on": right_on + (suffixes.get(right, "") if right_on in shared else ""),
    }
    return renamed[left].merge(renamed[right], **on)


def _selected(frame, frames, asked, body):
    """The columns asked for; a point's name stands for its three columns."""
    wanted = body.get("select_columns")
    if body.get("select_column_map"):
        suffixes = body.get("suffix_map") or {}
        wanted = [
            column if column in frame and column not in _shared(frames) else column + suffixes.get(table, "")
            for table, columns in body["select_column_map"].items()
            for column in columns
        ]
    if not wanted:
        return frame
    columns = []
    for column in wanted:
        points = [f"{column}_{axis}" for axis in "xyz"]
        columns += points if points[0] in frame else [column]
    for column in columns:
        _column(frame, " and ".join(table for table, *_ in asked), column)
    return frame[columns]


def _shared(frames):
    return set.intersection(*(set(frame) for frame in frames.values())) if len(frames) > 1 else set()


def _converted(frame, resolution, desired):
    if list(resolution) == list(desired):
        return frame
    frame = frame.copy()
    for column in frame.columns:
        for i, axis in enumerate("xyz"):
            if column.endswith(f"_position_{axis}"):
                frame[column] = frame[column] * (resolution[i] / desired[i])
    return frame


def _arrow(frame):
    batch = pa.RecordBatch.from_pandas(frame, preserve_index=False)
    compression = "zstd" if "zstd" in flask.request.headers.get("Accept-Encoding", "") else None
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=compression)) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()
