"""Stages in processes of their own, side by side."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any


def side_by_side(function: Callable[[Any, int], Any], items: Iterable[Any], n: int) -> list[Any]:
    """`[function(item, slot), ...]`, `n` at a time; `slot` counts those that run together from 0."""
    slots: SimpleQueue[int] = SimpleQueue()
    for slot in range(n):
        slots.put(slot)

    def call(item: Any) -> Any:
        slot = slots.get()
        try:
            return function(item, slot)
        finally:
            slots.put(slot)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(call, items))


def succeeds(arguments: list[str], slot: int, processes: int = 1) -> bool:
    """Whether `python -m pipeline <arguments>` succeeds for the same edition, in a process (or several) of its own."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    # a progress bar of its own line, and a GPU in turn
    environment = os.environ | {"TQDM_POSITION": str(slot), "LOCAL_RANK": str(slot)}
    return subprocess.run([sys.executable, *launch, "-m", "pipeline", *arguments], env=environment).returncode == 0
