"""An image server on loopback that fails as it is told: what a run of many hours meets, made to happen in seconds.

It serves a precomputed volume over http, as a bucket does. `FAULTS` names what can go wrong with an answer.

    with serve(stored("build/demo/source/em"), [Fault("503", share=0.05), Fault("hang", share=0.01)]) as server:
        CloudVolume(f"precomputed://{server.address}")
"""

import asyncio
import contextlib
import dataclasses
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

#: Kinds of faults beside HTTP status codes.
FAULTS = {
    "delay": "the answer comes, but `seconds` late",
    "hang": "no answer comes",
    "drop": "the connection is closed instead",
    "truncate": "the connection is closed in the middle of the body",
    "trickle": "the body comes a byte every 0.1 s",
    "html": "status 200, and a page instead of the data",
    "empty": "status 200, and no data",
    "corrupt": "status 200, and other bytes than those stored",
}

_PAGE = b"<html><body>Please sign in to the network</body></html>"


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong with a `share` of the requests for objects whose key contains `name`."""

    kind: str  # a status code, such as "503", or one of FAULTS
    share: float = 1.0
    name: str = ""
    first: int | None = None  # only an object's first requests
    seconds: float | None = None  # of a delay; after a status code, the header Retry-After

    def __post_init__(self) -> None:
        if self.kind not in FAULTS and not self.kind.isdigit():
            raise ValueError(f"no fault {self.kind!r}; there are {[*FAULTS]} and status codes")


Source = Callable[[str], tuple[bytes, str] | None]  # an object by its key, with its content encoding ("" for none)


@dataclasses.dataclass
class Server:
    """A running server. `faults` may be changed while it runs; shares of several are of all requests, not nested."""

    source: Source
    faults: Sequence[Fault]
    latency_s: float
    seed: int
    address: str = ""
    requests: Counter[str] = dataclasses.field(default_factory=Counter)  # by key
    failed: Counter[str] = dataclasses.field(default_factory=Counter)  # by kind of fault

    def _fault(self, key: str) -> Fault | None:
        """What goes wrong with this request: drawn from the seed, the key and how often it was asked for."""
        self.requests[key] += 1
        draw = random.Random(f"{self.seed} {key} {self.requests[key]}").random()
        for fault in self.faults:
            if fault.name in key and (fault.first is None or self.requests[key] <= fault.first):
                draw -= fault.share
                if draw < 0:
                    self.failed[fault.kind] += 1
                    return fault
        return None

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            while True:
                method, path, *_ = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
                await self._answer(path.decode().lstrip("/"), method == b"HEAD", writer)
        writer.close()

    async def _answer(self, key: str, head: bool, writer: asyncio.StreamWriter) -> None:
        fault = self._fault(key)
        kind, seconds = (fault.kind, fault.seconds) if fault else ("", None)
        await asyncio.sleep(self.latency_s + (seconds if kind == "delay" and seconds else 0))
        if kind == "hang":
            await asyncio.Event().wait()
        if kind == "drop":
            raise ConnectionError
        found = self.source(key)
        status = int(kind) if kind.isdigit() else 200 if found else 404
        body, encoding = found if found and status == 200 else (b"", "")
        if kind in ("html", "empty"):
            status, body, encoding = 200, _PAGE if kind == "html" else b"", ""
        if kind == "corrupt":
            body = random.Random(key).randbytes(len(body))
        header = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}"]
        header += [f"Content-Encoding: {encoding}"] if encoding else []
        header += [f"Retry-After: {seconds:g}"] if kind.isdigit() and seconds is not None else []
        writer.write("\r\n".join([*header, "", ""]).encode())
        if head:
            return
        if kind == "trickle":
            for byte in body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)
            return
        writer.write(body[: len(body) // 2] if kind == "truncate" else body)
        await writer.drain()
        if kind == "truncate":
            raise ConnectionError


def stored(folder: str | Path) -> Source:
    """The files of a folder; those compressed as `.gz` are sent as buckets send them."""
    folder = Path(folder).resolve()

    def read(key: str) -> tuple[bytes, str] | None:
        for suffix, encoding in (("", ""), (".gz", "gzip")):
            file = (folder / f"{key}{suffix}").resolve()
            if file.is_relative_to(folder) and file.is_file():
                return file.read_bytes(), encoding
        return None

    return read


@contextlib.contextmanager
def serve(
    source: Source, faults: Sequence[Fault] = (), latency_s: float = 0.0, seed: int = 0, port: int = 0
) -> Iterator[Server]:
    """Serve on 127.0.0.1 from a thread until the block ends; port 0 takes a free one."""
    server, loop = Server(source, faults, latency_s, seed), asyncio.new_event_loop()

    async def close() -> None:
        listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    listening = loop.run_until_complete(asyncio.start_server(server.connected, "127.0.0.1", port, backlog=512))
    server.address = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
