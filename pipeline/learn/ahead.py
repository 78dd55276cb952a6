"""Reading ahead: the next batches are read by several threads while the network works on this one."""

import collections
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import joblib
import numpy as np
import torch

READERS = min(4, joblib.cpu_count())  # threads: shards are read, and their checksums computed, outside Python's lock
AHEAD = 4  # batches in memory, apart from that in use


def read_ahead(
    read: Callable[[np.ndarray], Any], batches: Iterable[np.ndarray], place: torch.device
) -> Iterator[tuple[Any, float]]:
    """Yield (what `read` gives, seconds waited for it) of each batch of rows, in their order.

    For a network on a GPU, tensors are in pinned memory, from where they are sent without waiting. What `read` raises
    is raised here when its batch is due.
    """

    def load(rows: np.ndarray) -> Any:
        found = read(rows)
        if place.type != "cuda":
            return found
        torch.cuda.set_device(place)  # which is each thread's own
        return tuple(part.pin_memory() for part in found) if isinstance(found, tuple) else found.pin_memory()

    left = iter(batches)
    with ThreadPoolExecutor(READERS, thread_name_prefix="read-ahead") as readers:
        waiting = collections.deque(readers.submit(load, rows) for rows in itertools.islice(left, AHEAD))
        try:
            while waiting:
                started = time.monotonic()
                stored = waiting.popleft().result()
                seconds = time.monotonic() - started
                waiting.extend(readers.submit(load, rows) for rows in itertools.islice(left, 1))
                yield stored, seconds
        finally:  # after an error, or where the rest is not wanted
            readers.shutdown(cancel_futures=True)
