"""Boxes of a precomputed volume from its stored chunks, which several threads fetch and decode.

tensorstore reads as cheaply as its decoders, but extractions with it were seen to hang. The cause was probably not in
it (see `pipeline.compute`); these threads are as fast where the latency of a server counts.
"""

import collections
import functools
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cloudvolume.chunks
import numpy as np

from pipeline.extract.fetch import Store, Unreadable

CACHE_BYTES = 320 << 20  # decoded chunks, per volume and worker process

Corners = Iterable[tuple[np.ndarray, np.ndarray]]  # (low, high) of chunks, XYZ voxels


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
        begun: collections.deque[tuple[np.ndarray, Future]] = collections.deque()
        faults: list[str] = []

        def finish() -> None:
            low, future = begun.popleft()
            try:
                chunk = future.result()
            except Unreadable as fault:
                faults.append(str(fault))
                return
            start = np.maximum(low, low_vx)
            end = np.minimum(low + chunk.shape[::-1], high_vx)
            box[_slices(start - low_vx, end - low_vx)] = chunk[_slices(start - low, end - low)]

        for low, high in chunks:
            with self._lock:  # lru_cache may otherwise begin a chunk twice
                begun.append((low, self._chunk(tuple(low.tolist()), tuple(high.tolist()))))
            if len(begun) > 2 * self._store.parallel:  # of a large box, not all chunks are held at once
                finish()
        while begun:
            finish()
        if faults:
            raise Unreadable("; ".join(faults))
        return box

    def _begin(self, low: tuple[int, ...], high: tuple[int, ...]) -> Future:
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


def _slices(start_vx: np.ndarray, end_vx: np.ndarray) -> tuple[slice, ...]:
    """The box between two corners (XYZ) as an index of [Z, Y, X]."""
    x, y, z = (slice(*ends) for ends in zip(start_vx.tolist(), end_vx.tolist(), strict=True))
    return z, y, x
