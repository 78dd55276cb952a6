"""Boxes of a precomputed volume from its stored chunks, which several threads fetch and decode.

tensorstore reads as cheaply as its decoders, but extractions with it were seen to hang. The cause was probably not in
it (see `pipeline.compute`); these threads are as fast where the latency of a server counts.
"""

import collections
import functools
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cloudvolume.chunks
import numpy as np

from pipeline.extract.fetch import Store, Unreadable

CACHE_BYTES = 320 << 20  # decoded chunks, per volume and worker process

Corner = tuple[int, int, int]  # XYZ voxels
Corners = Iterable[tuple[Corner, Corner]]  # (low, high) of chunks


class ChunkReader:
    """The chunks of one `scale` of an `info` file in a store; cloud-volume's codecs decode them.

    A chunk is fetched and decoded once while it is among the last ones used, however many threads ask for it. Raises
    Unreadable for an encoding without a codec.
    """

    def __init__(self, store: Store, scale: dict[str, Any], dtype: np.dtype) -> None:
        try:
            cloudvolume.chunks.check_installed(scale["encoding"])
        except ImportError as error:
            raise Unreadable(str(error)) from None
        self._store, self._scale, self._dtype = store, scale, dtype
        self._threads = ThreadPoolExecutor(store.parallel, thread_name_prefix="chunks")
        decoded_bytes = int(np.prod(scale["chunk_sizes"][0])) * dtype.itemsize
        self._lock = threading.Lock()
        self._chunk = functools.lru_cache(maxsize=max(1, CACHE_BYTES // decoded_bytes))(self._begin)

    def read(self, low_vx: np.ndarray, high_vx: np.ndarray, chunks: Corners) -> np.ndarray:
        """The box `[low_vx, high_vx)` as [Z, Y, X]; Unreadable names all that cannot be read of its `chunks`."""
        box = np.empty((high_vx - low_vx)[::-1], self._dtype)
        begun: collections.deque[tuple[Corner, Corner, Future]] = collections.deque()
        faults: list[str] = []
        corner, far = low_vx.tolist(), high_vx.tolist()

        def finish() -> None:
            low, high, future = begun.popleft()
            try:
                chunk = future.result()
            except Unreadable as fault:
                faults.append(str(fault))
                return
            shared = [(max(a, b), min(c, d)) for a, b, c, d in zip(low, corner, high, far, strict=True)]
            box[_within(shared, corner)] = chunk[_within(shared, low)]

        for low, high in chunks:
            with self._lock:  # lru_cache may otherwise begin a chunk twice
                begun.append((low, high, self._chunk(low, high)))
            if len(begun) > 2 * self._store.parallel:  # of a large box, not all chunks are held at once
                finish()
        while begun:
            finish()
        if faults:
            raise Unreadable("; ".join(faults))
        return box

    def _begin(self, low: Corner, high: Corner) -> Future:
        name = "_".join(f"{first}-{end}" for first, end in zip(low, high, strict=True))
        shape = (*(end - first for first, end in zip(low, high, strict=True)), 1)
        decode = functools.partial(self._decode, shape)
        return self._threads.submit(self._store.get, f"{self._scale['key']}/{name}", decode)

    def _decode(self, shape: tuple[int, ...], stored: bytes) -> np.ndarray:
        """A chunk as [Z, Y, X]; any exception says that the bytes are no such chunk."""
        block = self._scale.get("compressed_segmentation_block_size")
        encoding = self._scale["encoding"]
        chunk = cloudvolume.chunks.decode(stored, encoding=encoding, shape=shape, dtype=self._dtype, block_size=block)
        if chunk.shape != shape or chunk.dtype != self._dtype:
            raise ValueError(f"it holds {chunk.shape} of {chunk.dtype}, not {shape} of {self._dtype}")
        return chunk[..., 0].T


def _within(spans: list[tuple[int, int]], corner: Sequence[int]) -> tuple[slice, ...]:
    """The box of `spans` (start, end; XYZ voxels) as an index of an array [Z, Y, X] that starts at a corner."""
    x, y, z = (slice(start - first, end - first) for (start, end), first in zip(spans, corner, strict=True))
    return z, y, x
