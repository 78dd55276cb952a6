"""Dask workers for the stages that scale out: simulation and extraction."""

import contextlib
import logging

import distributed
from tqdm import tqdm

# Its news of workers that come and go would drown the stages' own lines; failures reach us as exceptions.
logging.getLogger("distributed").setLevel(logging.ERROR)


@contextlib.contextmanager
def workers(settings):
    """Yield a Dask client: local processes, or the cluster at `settings.scheduler` (a `config.Compute`).

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


def run(client, function, items, what, *shared, window=4):
    """Yield `function(item, *shared)` for each item as results come, a bounded number in flight, under a progress bar.

    `shared` values go to every worker once, however large. The first failure cancels the rest and raises. `window` is
    the number of items in flight per worker.
    """
    items = list(items)
    shared = [client.scatter(value, broadcast=True) for value in shared]

    def submit(item):
        return client.submit(function, item, *shared, pure=False, retries=0)

    limit = max(1, window * len(client.scheduler_info()["workers"]))
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
