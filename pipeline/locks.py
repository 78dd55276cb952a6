"""One process at a time works in a folder, and another is told which one does."""

import contextlib
import datetime
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import SoftFileLock, Timeout

from pipeline.artefacts import read_json, write_json
from pipeline.errors import PipelineError

PATIENCE = 1.0  # seconds: enough to find out that the holder is dead, and to let one that is about to end do so


class LockError(PipelineError):
    """A folder in which another process works, or did on another host; the text names it."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`: the file `<folder>.lock` beside it, and `<folder>.lock.json`, which names the holder.

    The lock is the file's existence, which every file system shares between hosts. One that a dead process of this host
    left is taken over; whether it is dead, its process id and start say, and no clock is asked. Raises LockError for
    any other that is there.
    """
    path = folder.with_name(f"{folder.name}.lock")
    holder = path.with_name(f"{path.name}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = SoftFileLock(path, timeout=PATIENCE)
    try:
        lock.acquire()
    except Timeout:
        raise LockError(_text(folder, path, holder)) from None
    try:
        since = datetime.datetime.now(datetime.UTC).isoformat(sep=" ", timespec="seconds")
        write_json(holder, {"host": socket.gethostname(), "pid": os.getpid(), "since": since})
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _text(folder: Path, path: Path, holder: Path) -> str:
    try:
        found = read_json(holder)
        who = f"process {found['pid']} on {found['host']}, since {found['since']}"
    except FileNotFoundError:
        who = "a process that has just begun"
    return (
        f"another run works in {folder}: {who}. Wait for it, or end it; "
        f"if it no longer runs, delete {path} and start again"
    )
