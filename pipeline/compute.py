"""Dask workers for the stages that scale out: simulation, extraction and the detection of clefts.

Workers may come late, and die. What they have not begun waits at the scheduler, so that one that comes gets its share;
what a dead one was computing, or held as a result that had not been fetched, the scheduler gives to others. Nothing is
sent to workers ahead of their tasks, since it would be lost with them.
"""

import contextlib
import itertools
import logging
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import dask
import distributed.system
import joblib
from tqdm import tqdm

from pipeline.config import Compute
from pipeline.errors import PipelineError

# A worker that profiles itself lists the frames of all threads 100 times a second, in which Python before 3.11.9 can
# lock up for good (python/cpython#106883); docs/cluster.md says how workers that others start are told.
dask.config.set({"distributed.worker.profile.enabled": False})

# Silence Dask's messages about workers that come and go: failures reach us as exceptions.
logging.getLogger("distributed").setLevel(logging.ERROR)

log = logging.getLogger("pipeline")

#: Memory for each local worker. Extraction took at most 1.07 GiB at the default geometry, with a larger cache of chunks
#: than today's (`make bench`); Dask ends a worker that needs more than its share.
WORKER_BYTES = 2 << 30
IN_FLIGHT = 1000  # tasks that the scheduler knows: as many threads can be kept busy
SILENCE_S = 60.0  # without a result, after which we look whether there is any worker


class ComputeError(PipelineError):
    """Workers or their scheduler are lost; the text names the scheduler or the last worker."""


def number_of_workers(settings: Compute) -> int:
    """Local workers: as many as the settings say, by default one a core, unless there is less memory than they need."""
    cores = joblib.cpu_count()  # like the limit of memory, that of the container where there is one
    return settings.workers or max(1, min(cores, distributed.system.MEMORY_LIMIT // WORKER_BYTES))


@contextlib.contextmanager
def workers(settings: Compute) -> Iterator[distributed.Client]:
    """Yield a Dask client: local processes, or the cluster at `settings.scheduler` (see docs/cluster.md).

    Raises ComputeError where no scheduler answers.
    """
    if settings.scheduler:
        with _connect(settings.scheduler) as client:
            yield client
        return
    local = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=number_of_workers(settings), **local) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def run(client: distributed.Client | None, function: Callable, items: Iterable, what: str) -> Iterator[Any]:
    """Yield `function(item)` for each item as results come, a bounded number in flight, under a progress bar.

    The first failure cancels the rest and raises; ComputeError if several workers died of the same item, or if the
    scheduler is lost. Without a client, this process does the work.
    """
    items = list(items)
    if client is None:
        yield from map(function, tqdm(items, desc=what, disable=None))
        return
    waiting, pending = iter(items), set()
    done: queue.SimpleQueue[distributed.Future] = queue.SimpleQueue()

    def submit(n: int) -> None:
        for item in itertools.islice(waiting, n):
            future = client.submit(function, item, pure=False)
            pending.add(future)
            future.add_done_callback(done.put)

    try:
        submit(IN_FLIGHT)
        if items:
            _look_for_workers(client, what)
        with tqdm(total=len(items), desc=what, disable=None) as bar:
            while pending:
                try:
                    future = done.get(timeout=SILENCE_S)
                except queue.Empty:
                    _look_for_workers(client, what)
                    continue
                result = _result(client, future, what)
                pending.remove(future)
                future.release()  # or it would be computed again when its worker dies
                yield result
                bar.update()
                submit(1)
    finally:
        client.cancel(pending)


def _connect(address: str) -> distributed.Client:
    try:
        return distributed.Client(address)
    except (OSError, ValueError) as error:
        reason = str(error)
    raise ComputeError(
        f"no Dask scheduler answers at {address} (compute.scheduler): {reason}. Start one, as docs/cluster.md says"
    )


def _result(client: distributed.Client, future: distributed.Future, what: str) -> Any:
    try:
        return future.result()
    except distributed.KilledWorker as error:
        problem = (
            f"{error.allowed_failures + 1} workers died of the same task, the last one at {error.last_worker.address}: "
            "most often they need more memory, and their logs say more"
        )
    except distributed.CancelledError:
        problem = f"the scheduler at {_address(client)} was lost, or gave up its tasks"
    raise ComputeError(f"{what}: {problem}. Finished blocks are kept: start again to go on")


def _look_for_workers(client: distributed.Client, what: str) -> None:
    """Say so if there are no workers."""
    if not client.nthreads():
        log.warning(
            "%s: the scheduler at %s has no workers; waiting for some. If they end as soon as they have come, their "
            "logs say why: they need this software, and the same version of it",
            what,
            _address(client),
        )


def _address(client: distributed.Client) -> str:
    return str(getattr(client.scheduler, "address", "an unknown address"))
