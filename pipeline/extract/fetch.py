"""Stored objects of a volume, by key, from a folder or over http: deadlines, retries, and whose fault a failure is.

A fault of the server is not one of the volume. Silence, lost connections, answers cut short, 429 and 5xx say nothing
about an object: it is asked for again, until `patience_s` have passed. That an object is missing or cannot be decoded
is believed after `AGREEING` equal answers, and only while the volume's `info` is answered as it should be; so is that
the server refuses (401, 403).
"""

import abc
import collections
import functools
import json
import logging
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cloudfiles.compression
import requests.utils
import tenacity
import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, SSLError, TimeoutError

from pipeline.config import Transfer
from pipeline.errors import PipelineError

log = logging.getLogger("pipeline")

Value = TypeVar("Value")

INFO = "info"
AGREEING = 5  # equal answers; were each the chance failure of 1 request in 20, some 3 in 10 million requests
LONGEST_PAUSE_S = 30.0
WHOLE = 10  # times `timeout_s`: after this, an answer that still trickles in counts as lost
LOG_EVERY_S = 10.0
TRANSIENT_STATUS = {408, 425, 429}  # and from 500 on

#: Names of compressed files, as cloud-files writes them, and how it calls the compression.
SUFFIXES = {"": None, ".gz": "gzip", ".br": "br", ".zstd": "zstd", ".xz": "xz", ".bz2": "bzip2"}


class Unreadable(PipelineError):
    """An object of the volume is missing, or its bytes cannot be decoded."""


class VolumeUnavailable(PipelineError):
    """The server or the disk does not give what is stored: says nothing about the volume, and ends the run."""


class Store(abc.ABC):
    """Where the objects of one volume lie."""

    parallel: int  # requests in flight that pay
    retries = 0  # requests that were repeated so far

    @abc.abstractmethod
    def get(self, key: str, decode: Callable[[bytes], Value]) -> Value:
        """`decode` of the stored bytes; any exception it raises says that they are not what they should be.

        Raises Unreadable and VolumeUnavailable. Safe to call from several threads.
        """

    def info(self) -> dict[str, Any]:
        """The volume's description; Unreadable if there is none."""
        return self.get(INFO, _info)


def store(path: str, transfer: Transfer) -> Store | None:
    """The store at a cloud-volume path; None for those that only cloud-volume reads (`graphene://`, `gs://`, ...)."""
    address = path.removeprefix("precomputed://")
    if address.startswith("file://"):
        return Folder(Path(address.removeprefix("file://")).expanduser())
    return Web(address, transfer) if address.startswith(("http://", "https://")) else None


class Folder(Store):
    parallel = 4

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, decode: Callable[[bytes], Value]) -> Value:
        for suffix, compression in SUFFIXES.items():
            try:
                with open(f"{self._folder}/{key}{suffix}", "rb", buffering=0) as file:  # half the time of pathlib
                    stored = file.read()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise VolumeUnavailable(f"cannot read {error.filename}: {error.strerror}") from None
            return _decoded(key, stored, functools.partial(_decompressed, compression, decode))
        raise Unreadable(f"missing chunk {key}")


class Web(Store):
    """A volume behind `url`. A Web that has given up stays so: its other requests end at once."""

    def __init__(self, url: str, transfer: Transfer) -> None:
        self.parallel = transfer.requests
        self._deadline_s = WHOLE * transfer.timeout_s
        self._url = url.rstrip("/")
        self._transfer = transfer
        options: dict[str, Any] = {
            "maxsize": transfer.requests,
            "timeout": urllib3.Timeout(connect=transfer.timeout_s, read=transfer.timeout_s),
            "retries": urllib3.Retry(0, redirect=3, raise_on_status=False, respect_retry_after_header=False),
        }
        proxies = requests.utils.get_environ_proxies(url)
        if proxy := requests.utils.select_proxy(url, proxies):
            self._pool: urllib3.PoolManager = urllib3.ProxyManager(proxy, **options)
        else:
            self._pool = urllib3.PoolManager(**options)
        self._ended = threading.Event()
        self._retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Lost),
            stop=tenacity.stop_any(
                tenacity.stop_after_delay(transfer.patience_s), tenacity.stop_when_event_set(self._ended)
            ),
            wait=self._pause,
            sleep=tenacity.sleep_using_event(self._ended),
            before_sleep=lambda state: self._log(str(state.outcome and state.outcome.exception())),
            reraise=True,
        )
        self._counting, self._next_log = threading.Lock(), 0.0

    def get(self, key: str, decode: Callable[[bytes], Value]) -> Value:
        answers: collections.Counter = collections.Counter()
        try:
            return self._retrying(self._attempt, key, decode, answers)
        except _Lost as lost:
            self._ended.set()
            reason = str(lost)
        raise VolumeUnavailable(
            f"{self._url} has given no usable answer for {self._transfer.patience_s:g} s "
            f"(extract.transfer.patience_s); last: {reason}. "
            "Finished blocks are kept: start again when the server is back"
        )

    def _attempt(self, key: str, decode: Callable[[bytes], Value], answers: collections.Counter) -> Value:
        """One request; `answers` counts those of the same object so far."""
        status, body = self._ask(key)
        problem: PipelineError
        if status == 200:
            try:
                return _decoded(key, body, decode)
            except Unreadable as undecodable:
                problem = undecodable
        elif status in (404, 410):
            problem, body = Unreadable(f"missing chunk {key}"), b""
        else:
            problem, body = self._refusal(status, key), b""
        answers[status, zlib.crc32(body)] += 1
        agreed = answers[status, zlib.crc32(body)] >= AGREEING
        if agreed and (key == INFO or isinstance(problem, VolumeUnavailable) or self._answers_rightly()):
            raise problem
        raise _Lost(str(problem))

    def _ask(self, key: str) -> tuple[int, bytes]:
        """Status and body of an answer; _Lost where there is none, or one that says nothing about the object."""
        deadline = time.monotonic() + self._deadline_s
        try:
            response = self._pool.request("GET", f"{self._url}/{key}", preload_content=False)
            pieces = []
            while piece := response.read1(1 << 20):
                pieces.append(piece)
                if time.monotonic() > deadline:
                    response.close()
                    raise _Lost(f"the answer took longer than {self._deadline_s:g} s")
            if response.status in TRANSIENT_STATUS or response.status >= 500:
                raise _Lost(f"the server answered {response.status}", urllib3.Retry().get_retry_after(response))
        except LocationValueError:
            raise VolumeUnavailable(f"{self._url} is no address of a volume") from None
        except HTTPError as error:
            raise _Lost(self._reason(error)) from None
        return response.status, b"".join(pieces)

    def _answers_rightly(self) -> bool:
        """Whether the server still knows the volume, so that what it says about an object can be believed."""
        status, body = self._ask(INFO)
        try:
            return status == 200 and bool(_info(body))
        except ValueError:
            return False

    def _refusal(self, status: int, key: str) -> VolumeUnavailable:
        return VolumeUnavailable(
            f"{self._url} refuses: the server answered {status} for {key}. Check the volume's address and that this "
            "machine may read it (some buckets also answer 403 for a missing chunk), and start again: finished blocks "
            "are kept"
        )

    def _reason(self, error: HTTPError) -> str:
        cause = getattr(error, "reason", None) or error  # of urllib3's MaxRetryError
        if isinstance(cause, TimeoutError) and not isinstance(cause, urllib3.exceptions.NewConnectionError):
            return f"no answer within {self._transfer.timeout_s:g} s (extract.transfer.timeout_s)"
        if isinstance(cause, SSLError):
            return f"no secure connection ({cause})"
        if isinstance(cause, urllib3.exceptions.NewConnectionError):
            return "no connection"
        return "the connection was lost, or the answer cut short"

    def _pause(self, state: tenacity.RetryCallState) -> float:
        lost = state.outcome.exception() if state.outcome else None
        asked_s = lost.pause_s if isinstance(lost, _Lost) else 0.0
        backoff = tenacity.wait_exponential(self._transfer.backoff_s, LONGEST_PAUSE_S)
        spread = tenacity.wait_random(0, self._transfer.backoff_s)  # so that requests lost together do not return so
        return max(backoff(state), min(asked_s, LONGEST_PAUSE_S)) + spread(state)

    def _log(self, reason: str) -> None:
        """Logs a line at a time, since in an outage every request in flight would have the same to say."""
        with self._counting:
            self.retries += 1
            if time.monotonic() < self._next_log:
                return
            self._next_log = time.monotonic() + LOG_EVERY_S
        patience_s, so_far = self._transfer.patience_s, self.retries
        log.warning("%s: %s; trying again, for up to %g s (failure %d)", self._url, reason, patience_s, so_far)


class _Lost(Exception):
    """An attempt that says nothing about the object; `pause_s` is what the server asked for."""

    def __init__(self, reason: str, pause_s: float | None = None) -> None:
        super().__init__(reason)
        self.pause_s = pause_s or 0.0


def _decoded(key: str, stored: bytes, decode: Callable[[bytes], Value]) -> Value:
    try:
        if stored:  # which cloud-volume decodes as zeros
            return decode(stored)
        reason = "it is empty"
    except Exception as error:  # whatever a decoder raises says that the bytes are not what they should be
        reason = str(error) or type(error).__name__
    raise Unreadable(f"undecodable chunk {key} ({reason})")


def _decompressed(compression: str | None, decode: Callable[[bytes], Value], stored: bytes) -> Value:
    return decode(cloudfiles.compression.decompress(stored, compression))


def _info(stored: bytes) -> dict[str, Any]:
    """The JSON of an `info` file; ValueError for anything else."""
    info = json.loads(stored)
    if not isinstance(info, dict) or not {"data_type", "num_channels", "scales"} <= info.keys() or not info["scales"]:
        raise ValueError("it describes no volume")
    return info
