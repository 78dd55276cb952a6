"""Dask workers for the stages that scale out: simulation, extraction and the detection of clefts."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import distributed
from tqdm import tqdm

from pipeline.config import Compute

# Silence Dask's messages about workers that come and go: failures reach us as exceptions.
logging.getLogger("distributed").setLevel(logging.ERROR)

WINDOW = 4  # items in flight per worker


@contextlib.contextmanager
def workers(settings: Compute) -> Iterator[distributed.Client]:
    """Yield a Dask client: local processes, or the cluster at `settings.scheduler`.

    On a Slurm cluster start a `dask_jobqueue.SLURMCluster` and give its scheduler's address.
    """
    if settings.scheduler:
        with distributed.Client(settings.scheduler) as client:
            yield client
        return
    local = {"threads_per_worker": 1, "host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        distributed.LocalCluster(n_workers=settings.workers, **local) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def run(
    client: distributed.Client | None, function: Callable, items: Iterable, what: str, *shared: Any
) -> Iterator[Any]:
    """Yield `function(item, *shared)` for each item as results come, a bounded number in flight, under a progress bar.

    `shared` values go to every worker once, however large. The first failure cancels the rest and raises. Without a
    client, this process does the work.
    """
    items = list(items)
    if client is None:
        yield from (function(item, *shared) for item in tqdm(items, desc=what, disable=None))
        return
    shared = tuple(client.scatter(value, broadcast=True) for value in shared)

    def submit(item: Any) -> distributed.Future:
        return client.submit(function, item, *shared, pure=False, retries=0)

    limit = max(1, WINDOW * len(client.scheduler_info()["workers"]))
    waiting = iter(items)
    pool = distributed.as_completed(with_results=True)
    for _, item in zip(range(limit), waiting, strict=False):
        pool.add(submit(item))
    with tqdm(total=len(items), desc=what, disable=None) as bar:
        for future, result in pool:
            yield result
            bar.update()
            future.release()
            for item in waiting:
                pool.add(submit(item))
                break
