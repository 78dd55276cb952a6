"""The sandbox, made to fail as real servers do."""

import contextlib
import dataclasses
import json
import socket
import threading

import flask

from pipeline.cave import sandbox


@dataclasses.dataclass
class Failure:
    """One request to answer badly: the next one whose path contains `path`.

    `mode`: a status ("500", "429", or "429 2" with a Retry-After of two seconds), "missing_tos", "reset" (connection
    dropped), "hang" (silence), "truncated" (half the body), "short" (half the body, passed off as whole), "empty" (no
    body), "no_warning" (the header about the row cap is lost), "unfiltered" (rows that were not asked for).
    """

    path: str
    mode: str


@contextlib.contextmanager
def serve(source_dir, settings, failures=(), row_cap=200_000):
    """As `sandbox.serve`; each of the list `failures` is removed when it happens."""
    app, closing = sandbox.application(source_dir, settings, row_cap), threading.Event()

    @app.before_request
    def instead():
        failure = next((failure for failure in failures if failure.path in flask.request.path), None)
        if failure is None:
            return None
        failures.remove(failure)
        flask.g.mode = failure.mode
        status, _, pause_s = failure.mode.partition(" ")
        if status.isdigit():
            # Careless servers repeat the request in their error texts, token and all.
            text = f"scripted failure for {flask.request.headers.get('Authorization')}"
            return {"message": text}, int(status), {"Retry-After": pause_s} if pause_s else {}
        if failure.mode == "missing_tos":
            url = "https://example.org/terms"
            return {"error": "missing_tos", "message": "terms", "data": {"tos_form_url": url}}, 403
        if failure.mode == "reset":
            flask.request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        if failure.mode == "hang":
            closing.wait(60)
        if failure.mode == "unfiltered":
            body = json.loads(flask.request.get_data())
            del body["filter_in_dict"]
            flask.request._cached_data = json.dumps(body).encode()
        return None

    @app.after_request
    def after(response):
        mode = flask.g.get("mode")
        if mode in ("truncated", "short", "empty"):
            body = response.get_data()
            response.set_data(body[: 0 if mode == "empty" else len(body) // 2])
            if mode == "truncated":
                response.headers["Content-Length"] = len(body)
        if mode == "no_warning":
            response.headers.pop("Warning", None)
        return response

    with sandbox.listen(app) as address:
        try:
            yield address
        finally:
            closing.set()
