"""A CAVE server on loopback that answers, from a folder of tables, the calls which caveclient makes.

The demo, the tests and `python -m pipeline sandbox` use it, so that the client, the wire and the volumes are the real
ones and only the address differs. Materialization versions expire, as those of the real service do.
"""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import flask
import werkzeug.exceptions
import werkzeug.serving

from pipeline import config
from pipeline.cave import failures
from pipeline.cave.answers import Tables, answer
from pipeline.cave.failures import Failure

#: The sandbox's only token. It is public, and no token of any real server.
TOKEN = "synapse-ei-sandbox"

ROW_CAP = 200_000  # of an answer; the real service's default


def run(source_dir: Path, settings: config.Simulated, port: int, scripted: Sequence[Failure] = ()) -> None:
    """Serve until interrupted, and print how to connect."""
    with serve(source_dir, settings, port, scripted) as address:
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


@contextlib.contextmanager
def serve(
    source_dir: Path,
    settings: config.Simulated | config.Cave,
    port: int = 0,
    scripted: Sequence[Failure] = (),
    row_cap: int = ROW_CAP,
) -> Iterator[str]:
    """Serve `<source_dir>/tables` on 127.0.0.1 from a thread; yields the address, `http://127.0.0.1:<port>`.

    Port 0 takes a free one. The datastack, the tables and the materialization version are those of `settings`, and the
    version before it exists but has expired; no answer has more than `row_cap` rows. Requests meet the failures that
    are `scripted`, in their order.
    """
    versions = {settings.materialization_version - 1: False, settings.materialization_version: True}
    app = application(source_dir, settings, versions, row_cap)
    closing = failures.install(app, scripted, lambda: versions.update(dict.fromkeys(versions, False)))
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


class _QuietHandler(werkzeug.serving.WSGIRequestHandler):
    def log_request(self, *args: Any, **kwargs: Any) -> None:
        pass


def application(
    source_dir: Path, settings: config.Simulated | config.Cave, versions: dict[int, bool], row_cap: int
) -> flask.Flask:
    """The service, see `serve`; `versions` says of each materialization version whether it is valid."""
    source_dir = Path(source_dir).resolve()
    app = flask.Flask("sandbox", static_folder=None)
    tables = Tables(source_dir / "tables")
    datastack = "/materialize/api/v<int(min=2,max=3):api>/datastack/<name>"

    @app.before_request
    def check_token() -> None:
        # The client sends the token as a header and as a cookie; the real service accepts either.
        header = flask.request.headers.get("Authorization", "").removeprefix("Bearer ")
        if TOKEN not in (header, flask.request.cookies.get("middle_auth_token")):
            flask.abort(401, "missing or unknown token")

    @app.before_request
    def check_names() -> None:
        given = flask.request.view_args or {}
        if given.get("name", settings.datastack) != settings.datastack:
            flask.abort(404, f"datastack {given['name']} not found")
        if given.get("table", next(iter(tables.metadata))) not in tables.metadata:
            flask.abort(404, f"analysis table {given['table']} not found for version {given['version']}")
        if given.get("version", settings.materialization_version) not in versions:
            flask.abort(404, f"version {given['version']} not found")

    @app.errorhandler(werkzeug.exceptions.HTTPException)
    def as_json(error: werkzeug.exceptions.HTTPException) -> tuple[dict, int]:
        return {"message": error.description}, error.code or 500

    @app.get("/info/version")
    def info_version() -> flask.Response:
        return flask.jsonify("4.3.3")

    @app.get("/info/api/v2/datastacks")
    def datastacks() -> flask.Response:
        return flask.jsonify([settings.datastack])

    @app.get("/info/api/v2/datastack/full/<name>")
    def datastack_info(name: str) -> dict:
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
    def api_versions() -> flask.Response:
        return flask.jsonify([2, 3])

    @app.get("/materialize/version")
    def materialize_version() -> flask.Response:
        return flask.jsonify("5.26.4")

    @app.get(f"{datastack}/versions")
    def list_versions(api: int, name: str) -> flask.Response:
        with_expired = flask.request.args.get("expired") == "True"
        return flask.jsonify([version for version, valid in versions.items() if valid or with_expired])

    @app.get(f"{datastack}/version/<int:version>")
    def version_metadata(api: int, name: str, version: int) -> dict:
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
    def list_tables(api: int, name: str, version: int) -> flask.Response:
        return flask.jsonify(sorted(tables.metadata))

    @app.get(f"{datastack}/version/<int:version>/table/<table>/metadata")
    def table_metadata(api: int, name: str, version: int, table: str) -> dict:
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
    @app.post(f"{datastack}/version/<int:version>/query")
    def query(api: int, name: str, version: int, table: str | None = None) -> flask.Response:
        if not versions[version]:
            flask.abort(410, "This materialization version is not available")
        return answer(tables, [[table]] if table else None, min(row_cap, flask.g.get("row_cap", row_cap)))

    return app
