"""Several training processes, one a GPU, as started by `torchrun`; without it, everything here does nothing.

Each process takes its share of every batch, and gradients are averaged (DistributedDataParallel), so that a step is
that of one process with the whole batch. Batch normalisation and random changes of images are each process's own.
"""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

Made = TypeVar("Made")


@contextlib.contextmanager
def group() -> Iterator[int]:
    """Join the processes of `torchrun` for as long as the context lasts; yields this one's rank, 0 where alone."""
    if not distributed.is_torchelastic_launched():
        yield 0
        return
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    an_hour = datetime.timedelta(hours=1)  # in which the slowest ends its part of a prediction
    distributed.init_process_group(backend, timeout=an_hour)
    try:
        yield distributed.get_rank()
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(rows: np.ndarray) -> tuple[np.ndarray, float]:
    """This process's part of the rows of a batch, and what its mean loss weighs: parts may differ in length by one."""
    mine = rows[rank() :: size()]
    return mine, len(mine) * size() / len(rows)


def wrap(network: nn.Module) -> nn.Module:
    """The network to call in a training step, whose backward pass averages gradients over the processes."""
    return DistributedDataParallel(network) if size() > 1 else network


def mean(value: float) -> float:
    """The mean of a float over the processes."""
    if size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    distributed.all_reduce(total)
    return float(total) / size()


def share_first(network: nn.Module) -> None:
    """Give the network of the first process, its batch statistics included, to all of them."""
    if size() > 1:
        for value in network.state_dict().values():
            distributed.broadcast(value, src=0)


def in_parts(predict: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    """`predict(rows)` `[N, ...]` in all processes, each of which computes a part of the rows."""
    if size() == 1:
        return predict(rows)
    mine = np.array_split(rows, size())[rank()]
    parts: list[Any] = [None] * size()
    distributed.all_gather_object(parts, predict(mine) if len(mine) else None)
    return np.concatenate([part for part in parts if part is not None])


def from_first(make: Callable[[], Made]) -> Made:
    """What `make()` returns in the first process, in all of them."""
    if size() == 1:
        return make()
    value: list[Any] = [make() if rank() == 0 else None]
    distributed.broadcast_object_list(value, src=0)
    return value[0]
