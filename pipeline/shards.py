"""Rows of sharded Zarr arrays with checksums, created and read at the speed of the disk.

One inner chunk holds one row, so that training reads single rows at random; a shard holds up to MAX_ROWS of them in one
file. All shards of an array lie in one folder: a folder for each would treble the number of inodes.

Zarr's own selection by row numbers costs tens of milliseconds a row; here the shard's index, at the end of its file,
says where a row's bytes lie. Each row ends with its CRC-32C (Zarr's codec `crc32c`), which is compared on every
reading. It finds changed and lost bytes; a row that was moved whole to another's place keeps its checksum, and is found
by `pipeline.stores`, which compares digests.
"""

import hashlib
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import ArrayLike
from zarr.codecs import Crc32cCodec, ShardingCodec, ZstdCodec

from pipeline.errors import PipelineError

MAX_ROWS = 64
MAX_BYTES = 32 << 20  # of the rows of a shard
_ABSENT = np.uint64(2**64 - 1)  # in a shard's index: an inner chunk that was not written


class ShardError(PipelineError):
    """An array whose rows cannot be read: damaged, or of another layout; the text names the file and its `problem`."""

    problem = ""


def rows_per_shard(*shapes: tuple[int, ...]) -> int:
    """Rows of a shard, the same for arrays of several row `shapes` of bytes."""
    return min(MAX_ROWS, max(1, MAX_BYTES // max(int(np.prod(shape)) for shape in shapes)))


def create(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    rows: int,
    axes: tuple[str, ...],
    dtype: str = "uint8",
    compressed: bool = False,
) -> zarr.Array:
    """An empty array `[N, ...]` in `group` with one row an inner chunk and `rows` rows a shard.

    Labels are compressed; electron microscopy is not, since it would save a tenth of the space and cost a third of the
    speed.
    """
    return group.create_array(
        name,
        shape=shape,
        dtype=dtype,
        chunks=(1, *shape[1:]),
        shards=(rows, *shape[1:]),
        compressors=[*([ZstdCodec()] if compressed else []), Crc32cCodec()],
        chunk_key_encoding={"name": "default", "separator": "."},
        dimension_names=axes,
        config={"write_empty_chunks": True},
    )


def digest(image: np.ndarray) -> str:
    """Hex SHA-256 of an image's bytes."""
    return hashlib.sha256(np.ascontiguousarray(image).data).hexdigest()


class Rows:
    """An array `[N, ...]` as `create` makes it, read by row numbers: `rows[[5, 2]]` is `[2, ...]`.

    Nothing is kept in memory here: the system's page cache holds as much of an array as there is memory for, once for
    all processes that read it. Several threads may read at a time. Raises ShardError for an array of another kind, and
    on reading for a row whose bytes are lost or changed.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        try:
            array = zarr.open_array(self.path, mode="r")
        except (OSError, ValueError) as error:
            raise self._error(self.path, f"cannot be opened ({error})") from None
        codecs: list[Any] = list(getattr(array.metadata, "codecs", ()))
        sharded = len(codecs) == 1 and isinstance(codecs[0], ShardingCodec)
        inner = [type(codec) for codec in codecs[0].codecs] if sharded else []
        if array.shards is None or inner[-1:] != [Crc32cCodec] or inner[1:-1] not in ([], [ZstdCodec]):
            raise ShardError(f"{self.path} is no array of shards with a checksum a row; make {self._folder} again")
        self.shape, self.dtype, self.rows_per_shard = array.shape, array.dtype, array.shards[0]
        self._zstd = Zstd() if ZstdCodec in inner else None
        self._key: Callable[[tuple[int, ...]], str] = array.metadata.encode_chunk_key
        self._indexes: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: ArrayLike) -> np.ndarray:
        return self.read(rows)

    def read(self, rows: ArrayLike, box: tuple[slice, ...] = ()) -> np.ndarray:
        """`array[rows]`, or of each row no more than the `box` of its first axes."""
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.path}, which has {len(self)}")
        whole = np.empty(self.shape[1:], self.dtype)  # of one row: it stays in the processor's cache
        found = np.empty((len(rows), *whole[box].shape), self.dtype)
        shard = rows // self.rows_per_shard
        for number in np.unique(shard):
            path = self.file(number)
            try:
                file = path.open("rb", buffering=0)
            except FileNotFoundError:
                raise self._error(path, "is missing") from None
            with file:
                for place in np.flatnonzero(shard == number):
                    self._read(file, path, number, rows[place], whole if box else found[place])
                    if box:
                        found[place] = whole[box]
        return found

    def file(self, shard: int) -> Path:
        """The file of a shard, by its number."""
        return self.path / self._key((int(shard), *[0] * (len(self.shape) - 1)))

    def _read(self, file: FileIO, path: Path, shard: int, row: int, found: np.ndarray) -> None:
        offset, size = self._index(file, path, shard)[row % self.rows_per_shard]
        if offset == _ABSENT:
            raise self._error(path, f"lacks row {row}")
        pixels = found.data.cast("B")
        stored = memoryview(bytearray(int(size) - 4)) if self._zstd else pixels
        checksum = bytearray(4)
        if os.preadv(file.fileno(), [stored, checksum], int(offset)) != len(stored) + 4:
            raise self._error(path, f"is cut short at row {row}")
        if _checksum(stored) != checksum:
            raise self._error(path, f"is damaged in row {row}: its checksum differs")
        if self._zstd:
            self._zstd.decode(stored, pixels)

    def _index(self, file: FileIO, path: Path, shard: int) -> np.ndarray:
        """(offset, size) of each row of a shard, from the end of its file."""
        if shard not in self._indexes:
            n_bytes = 16 * self.rows_per_shard + 4
            file.seek(max(0, file.seek(0, os.SEEK_END) - n_bytes))
            stored = file.read(n_bytes)
            if len(stored) != n_bytes or _checksum(stored[:-4]) != stored[-4:]:
                raise self._error(path, "is cut short, or damaged in its index")
            self._indexes[shard] = np.frombuffer(stored[:-4], "<u8").reshape(-1, 2)
        return self._indexes[shard]

    @property
    def _folder(self) -> Path:
        return self.path.parent.parent

    def _error(self, path: Path, problem: str) -> ShardError:
        advice = f"mend it with `python -m pipeline verify --repair`, or delete {self._folder} and make it again"
        error = ShardError(f"{path} {problem}; {advice}")
        error.problem = problem
        return error


def _checksum(content: bytes | memoryview) -> bytes:
    """CRC-32C as Zarr's codec stores it."""
    return crc32c.crc32c(content).to_bytes(4, "little")
