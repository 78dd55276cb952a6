"""Rows of uncompressed sharded Zarr arrays, created and read at the speed of the disk.

One inner chunk holds one row, so that training reads single rows at random; a shard holds up to MAX_ROWS of them in one
file, so that 100,000 cubes make some 1,600 files. Zarr's own selection by row numbers costs tens of milliseconds a
row; here the shard's index, at the end of its file, says where a row's bytes lie, and they are read as they are.
"""

from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import ArrayLike
from zarr.codecs import BytesCodec, ShardingCodec

from pipeline.errors import PipelineError

MAX_ROWS = 64
MAX_BYTES = 32 << 20  # of the rows of a shard
_ABSENT = np.uint64(2**64 - 1)  # in a shard's index: an inner chunk that was not written, all zeros


class ShardError(PipelineError):
    """An array whose rows cannot be read so: of another layout, or with a shard that is missing or cut short."""


def rows_per_shard(*shapes: tuple[int, ...]) -> int:
    """Rows of a shard, the same for arrays of several row `shapes` of bytes."""
    return min(MAX_ROWS, max(1, MAX_BYTES // max(int(np.prod(shape)) for shape in shapes)))


def create(group: zarr.Group, name: str, shape: tuple[int, ...], rows: int, axes: tuple[str, ...]) -> zarr.Array:
    """An empty uint8 array `[N, ...]` in `group` with one row an inner chunk and `rows` rows a shard.

    Nothing is compressed: on electron microscopy it would save a tenth of the space and cost a third of the speed.
    """
    return group.create_array(
        name,
        shape=shape,
        dtype="uint8",
        chunks=(1, *shape[1:]),
        shards=(rows, *shape[1:]),
        compressors=None,
        dimension_names=axes,
    )


class Rows:
    """An array `[N, ...]` as `create` makes it, read by row numbers: `rows[[5, 2]]` is `[2, ...]`."""

    def __init__(self, path: Path):
        self.path = Path(path)
        array = zarr.open_array(self.path, mode="r")
        codecs: list[Any] = list(getattr(array.metadata, "codecs", ()))
        inner = codecs[0].codecs if len(codecs) == 1 and isinstance(codecs[0], ShardingCodec) else ()
        if array.shards is None or not inner or not all(isinstance(codec, BytesCodec) for codec in inner):
            raise ShardError(f"{self.path} is no uncompressed sharded array: make it again")
        self.shape, self.dtype = array.shape, array.dtype
        self._n, self._rest = array.shards[0], (0,) * (array.ndim - 1)
        self._offsets: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: ArrayLike) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.path}, which has {len(self)}")
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        shard = rows // self._n
        for number in np.unique(shard):
            path = self._file(number)
            with self._open(path) as file:
                offsets = self._index(number, file)
                for place in np.flatnonzero(shard == number):
                    offset = offsets[rows[place] % self._n]
                    if offset == _ABSENT:
                        found[place] = 0
                        continue
                    file.seek(int(offset))
                    if file.readinto(memoryview(found[place]).cast("B")) != found[place].nbytes:
                        raise ShardError(f"{path} is cut short at row {rows[place]}: make {self.path.parent} again")
        return found

    def _file(self, number: int) -> Path:
        return self.path.joinpath("c", str(number), *(str(n) for n in self._rest))

    def _open(self, path: Path) -> FileIO:
        try:
            return path.open("rb", buffering=0)
        except FileNotFoundError:
            raise ShardError(f"{path} is missing: make {self.path.parent} again") from None

    def _index(self, number: int, file: FileIO) -> np.ndarray:
        """Offset of each row of a shard, from the index at the end of its file: (offset, size) pairs and a checksum."""
        if number not in self._offsets:
            size, n_bytes = file.seek(0, 2), 16 * self._n
            if size < n_bytes + 4:
                raise ShardError(f"{self._file(number)} is cut short: make {self.path.parent} again")
            file.seek(size - n_bytes - 4)
            self._offsets[number] = np.frombuffer(file.read(n_bytes), "<u8")[::2]
        return self._offsets[number]
