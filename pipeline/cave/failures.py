"""Failures that the sandbox can be told to have, as real servers and networks do: for tests, and for any client."""

import dataclasses
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence

import flask

#: What a failure can be, in words for users. A number is a status, answered in place of the request.
KINDS = {
    "<status>": "this status and no data, such as 503; `429 5` asks to wait 5 s (Retry-After)",
    "terms": "403, because the terms of service are not accepted",
    "delay <s>": "the answer comes this many seconds later",
    "hang": "no answer",
    "drop": "the connection is closed without an answer",
    "truncated": "half of the answer, then the connection is closed",
    "short": "half of the answer, passed off as all of it",
    "empty": "no data, passed off as all of it",
    "cap <n>": "at most n rows, announced in a header as the real service does",
    "silent cap <n>": "at most n rows, without that header",
    "unfiltered": "rows that were not asked for",
    "expire": "from now on the materialization version has expired",
}

_NUMBERS = {"<status>": r"\d{3}( \d+)?", "<s>": r"\d+(\.\d+)?", "<n>": r"\d+"}
_VALID = re.compile("|".join(re.sub("<.+?>", lambda found: _NUMBERS[found[0]], kind) for kind in KINDS))


@dataclasses.dataclass
class Failure:
    """The next `times` requests whose path contains `path` meet `what`, one of KINDS.

    With `above_ids`, only queries for more than so many ids. Raises ValueError for what is none of KINDS.
    """

    path: str
    what: str
    times: int = 1
    above_ids: int = 0

    def __post_init__(self) -> None:
        if not _VALID.fullmatch(self.what):
            raise ValueError(f"no failure {self.what!r}; there are: {', '.join(KINDS)}")

    @property
    def number(self) -> float:
        """What `<s>` or `<n>` stands for."""
        return float(self.what.split()[-1])

    def meets(self, request: flask.Request) -> bool:
        return self.times > 0 and self.path in request.path and (not self.above_ids or _n_ids(request) > self.above_ids)


def install(app: flask.Flask, failures: Sequence[Failure], expire: Callable[[], None]) -> threading.Event:
    """Give an application failures; setting the event that is returned ends whatever hangs. `expire` is for "expire".

    `flask.g.row_cap` is the number of rows that the current answer may have at most, where a failure says so.
    """
    closing = threading.Event()
    lock = threading.Lock()

    def next_failure() -> Failure | None:
        with lock:
            found = next((failure for failure in failures if failure.meets(flask.request)), None)
            if found:
                found.times -= 1
            return found

    @app.before_request
    def meet() -> tuple[dict, int, dict] | tuple[dict, int] | None:
        failure = next_failure()
        if failure is None:
            return None
        flask.g.failure = failure.what
        status, _, pause_s = failure.what.partition(" ")
        if status.isdigit():
            # Careless servers repeat the request in their error texts, token and all.
            text = f"sandbox failure for {flask.request.headers.get('Authorization')}"
            return {"message": text}, int(status), {"Retry-After": pause_s} if pause_s else {}
        if failure.what == "terms":
            url = "https://example.org/terms"
            return {"error": "missing_tos", "message": "terms", "data": {"tos_form_url": url}}, 403
        _before(failure, closing, expire)
        return None

    @app.after_request
    def spoil(response: flask.Response) -> flask.Response:
        what = flask.g.get("failure", "")
        if what in ("truncated", "short", "empty"):
            body = response.get_data()
            response.set_data(body[: 0 if what == "empty" else len(body) // 2])
            if what == "truncated":
                response.headers["Content-Length"] = str(len(body))
        if what.startswith("silent cap"):
            response.headers.pop("Warning", None)
        return response

    return closing


def _before(failure: Failure, closing: threading.Event, expire: Callable[[], None]) -> None:
    """What a failure does before the request is answered after all."""
    if failure.what == "drop":
        flask.request.environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    elif failure.what == "hang":
        closing.wait(600)
    elif failure.what == "expire":
        expire()
    elif failure.what.startswith("delay"):
        time.sleep(failure.number)
    elif "cap" in failure.what:
        flask.g.row_cap = int(failure.number)
    elif failure.what == "unfiltered":
        body = json.loads(flask.request.get_data())
        del body["filter_in_dict"]
        flask.request._cached_data = json.dumps(body).encode()  # type: ignore[attr-defined]


def _n_ids(request: flask.Request) -> int:
    """How many ids a query asks for; 0 for any other request."""
    if request.method != "POST":
        return 0
    filters = json.loads(request.get_data()).get("filter_in_dict", {})
    return max((len(ids) for columns in filters.values() for ids in columns.values()), default=0)
