"""Calls into caveclient that survive a bad network and never show the token.

caveclient sets no timeout, gives up at a 500, a plain 429 or a body cut short, falls back to an older API without a
word, and opens a web browser when terms of service are missing. Each of those is handled here, around every call.
"""

import contextlib
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import pyarrow as pa
import pydantic
import requests
import tenacity
from caveclient.auth import AuthClient
from caveclient.base import AuthException, ServerIncompatibilityError

from pipeline import config
from pipeline.cave import CaveError

log = logging.getLogger("pipeline")

Answer = TypeVar("Answer")

TRANSIENT_STATUS = {429, 500, 502, 503, 504}
#: Where a smaller question can help: the answer takes the server too long, or is too large for what stands before it.
OVERLOADED_STATUS = {413, 500, 502, 504}
GONE_STATUS = {404, 410}
LONGEST_PAUSE_S = 120


class TooMuch(CaveError):
    """A question that is too large for the server, as it seems; a smaller one can help."""


class Gone(CaveError):
    """What is asked for does not exist, or not any more."""


class OldApi(Exception):
    """caveclient could not read the list of API versions, or the server has none that is recent enough."""


#: What a call into caveclient may raise because of the server, the network or the request.
_FAILURES = (
    CaveError,
    OldApi,
    AuthException,
    ServerIncompatibilityError,
    pa.ArrowException,
    OSError,  # includes everything of requests; pyarrow's own for a stream cut short
    ValueError,  # an answer of an unknown type
)

#: Failures of the network, and answers cut short: trying again can help.
_LOST = (
    requests.ConnectionError,  # refused, reset, or silent in the middle of a body
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
    requests.JSONDecodeError,
    pa.ArrowException,
    OldApi,
)

_TRANSPORT_LOCK = threading.RLock()


class Wire:
    """The way to one server. `token` defaults to CAVE_TOKEN, then to caveclient's secrets file.

    Raises CaveError for a missing or malformed token.
    """

    def __init__(self, server: str, place: str, settings: config.Query, token: str | None) -> None:
        self._server = server
        self._place = place
        self._settings = settings
        self._token = pydantic.SecretStr(self._usable(token))
        self._accepted = False  # whether the server has accepted the token
        self.headers: Mapping[str, str] = {}  # of the answer to the last query

    @property
    def token(self) -> str:
        return self._token.get_secret_value()

    def call(self, function: Callable[[], Answer], what: str, divisible: bool = False) -> Answer:
        """`function()` with timeouts and retries; whatever fails becomes a CaveError without the token.

        Where the caller could ask for less (`divisible`), what may be too much is not tried again but raises TooMuch.
        Raises Gone for what does not exist (any more).
        """

        def try_again(error: BaseException) -> bool:
            return _transient(error) and not (divisible and _overloaded(error))

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._settings.attempts),
            wait=self._pause,
            retry=tenacity.retry_if_exception(try_again),
            before_sleep=lambda state: log.warning("%s: %s; trying again", what, self._reason(_error(state))),
            reraise=True,
        )
        try:
            with self._transport():
                answer = retrying(function)
        except _FAILURES as error:
            failure = self._failure(error, what, divisible)
        else:
            self._accepted = True
            return answer
        raise failure  # outside the handler, so that no traceback shows the original, which may quote the token

    def _failure(self, error: BaseException, what: str, divisible: bool) -> CaveError:
        """The error to raise for `error`."""
        if divisible and _overloaded(error):
            return TooMuch(self._reason(error))
        response = _refusal(error)
        kind = Gone if response is not None and response.status_code in GONE_STATUS else CaveError
        return kind(self._explanation(error, what))

    def redacted(self, text: object) -> str:
        return str(text).replace(self.token, "[token]")

    def _pause(self, state: tenacity.RetryCallState) -> float:
        response = getattr(_error(state), "response", None)
        asked = response.headers.get("Retry-After", "") if response is not None else ""
        backoff = tenacity.wait_exponential(self._settings.backoff_s, LONGEST_PAUSE_S)(state)
        return max(backoff, min(float(asked), LONGEST_PAUSE_S) if asked.isdigit() else 0)

    @contextlib.contextmanager
    def _transport(self) -> Iterator[None]:
        """While it lasts, this thread's requests have a timeout, and terms of service raise instead of a browser.

        caveclient makes requests in its constructors, one of them outside any session, so that `Session.send` is the
        only point that all of them pass.
        """
        original, owner = requests.Session.send, threading.get_ident()

        def send(session: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
            if threading.get_ident() != owner:
                return original(session, request, **options)
            if options.get("timeout") is None:
                options["timeout"] = self._settings.timeout_s
            response = original(session, request, **options)
            if response.status_code == 403 and "missing_tos" in response.text:
                address = _from_json(response, "data", "tos_form_url") or "(the server gave no address)"
                raise CaveError(f"accept the terms of service first, in a browser: {address}")
            if request.method == "POST":
                self.headers = response.headers
            return response

        with _TRANSPORT_LOCK:
            requests.Session.send = send  # type: ignore
            try:
                yield
            finally:
                requests.Session.send = original  # type: ignore

    def _explanation(self, error: BaseException, what: str) -> str:
        """The text of the CaveError for `error`: what failed, why, and what to do."""
        response = _refusal(error)
        status = response.status_code if response is not None else None
        place = f"{what} ({self._place} at {self._server})"
        if isinstance(error, CaveError):
            return self.redacted(error)
        if status == 401 and self._accepted:
            return (
                f"{self._server} no longer accepts the CAVE token (not shown), which it accepted before: it has "
                f"expired or was revoked; {self._token_help()}"
            )
        if status == 401 or isinstance(error, AuthException):
            return f"{self._server} rejected the CAVE token (not shown); {self._token_help()}"
        reason = self._reason(error)
        if status == 403:
            return f"{place}: this token has no permission; ask for access to the datastack. {reason}"
        if _transient(error):
            return f"{place}: failed {self._settings.attempts} times, last: {reason}. Try again later"
        return f"{place}: {reason}"

    def _reason(self, error: BaseException) -> str:
        """One line about an error of the wire."""
        if (response := _refusal(error)) is not None:
            text = _from_json(response, "message") or response.reason
            reason = f"the server answered {response.status_code} ({text[:300]})"
        elif isinstance(error, OldApi):
            reason = "the server's list of API versions was unreadable or lacks version 3, which these queries need"
        elif _timed_out(error):
            reason = f"no answer within {self._settings.timeout_s:g} s (source.query.timeout_s)"
        elif _cut_short(error):
            reason = "the answer was cut short"
        elif isinstance(error, requests.ConnectionError):
            reason = f"no connection ({type(error).__name__})"
        else:
            reason = f"{type(error).__name__}: {str(error)[:300]}"
        return self.redacted(reason)

    def _usable(self, token: str | None) -> str:
        token = (token or os.environ.get("CAVE_TOKEN") or AuthClient(server_address=self._server).token or "").strip()
        if not token:
            raise CaveError(f"no CAVE token; {self._token_help()}")
        if not re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII):
            raise CaveError(f"the CAVE token (not shown) holds characters that no token has; {self._token_help()}")
        return token

    def _token_help(self) -> str:
        return (
            f"get one at {self._server}/auth/api/v1/create_token and set CAVE_TOKEN to it, or save it with "
            f"caveclient's client.auth.save_token"
        )


def _error(state: tenacity.RetryCallState) -> BaseException:
    """The error of the last attempt; only failed attempts are waited for."""
    error = state.outcome.exception() if state.outcome else None
    assert error is not None
    return error


def _transient(error: BaseException) -> bool:
    """Whether trying again can help."""
    if (response := _refusal(error)) is not None:
        return response.status_code in TRANSIENT_STATUS
    return isinstance(error, _LOST) or type(error) is OSError


def _overloaded(error: BaseException) -> bool:
    """Whether the answer may have been too much for the server."""
    if (response := _refusal(error)) is not None:
        return response.status_code in OVERLOADED_STATUS
    return _timed_out(error) or _cut_short(error)


def _timed_out(error: BaseException) -> bool:
    return isinstance(error, requests.Timeout) or "timed out" in str(error)


def _cut_short(error: BaseException) -> bool:
    return isinstance(error, requests.exceptions.ChunkedEncodingError | pa.ArrowException) or type(error) is OSError


def _refusal(error: BaseException) -> requests.Response | None:
    """The server's answer where that is the error."""
    return error.response if isinstance(error, requests.HTTPError) else None


def _from_json(response: requests.Response, *keys: str) -> str | None:
    """A text in the JSON body of an answer, or None."""
    try:
        value = response.json()
        for key in keys:
            value = value[key]
        return str(value)
    except (ValueError, KeyError, TypeError):
        return None
