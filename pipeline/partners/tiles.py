"""A network over a whole volume: tiles fixed by the volume, blocks as units of work.

Tiles lie on a grid anchored at the volume's first voxel and overlap; the score of a voxel is that of the one tile whose
inner part holds it. What a tile sees does not depend on blocks, so that neither do the scores. A block computes the
tiles it needs; the least is computed twice where blocks are multiples of the tiles' inner parts.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from pipeline import blocks
from pipeline.space import zyx

Size = tuple[int, int, int]


@dataclasses.dataclass(frozen=True)
class Tiling:
    """What every block task knows. Tiles overlap their neighbours by `overlap_zyx` on each side."""

    read_em: Callable[[np.ndarray, np.ndarray], np.ndarray]
    apply_tile: Callable[[np.ndarray], np.ndarray]
    bounds_vx: np.ndarray  # [2, XYZ]
    tile_zyx: Size
    overlap_zyx: Size

    @property
    def shape(self) -> np.ndarray:
        return zyx(self.bounds_vx[1] - self.bounds_vx[0])

    @property
    def inner(self) -> np.ndarray:
        return np.array(self.tile_zyx) - 2 * np.array(self.overlap_zyx)

    def scores(self, block: blocks.Region) -> np.ndarray:
        """Scores of a block, float16 `[Z, Y, X]`."""
        low, high = (np.array([getattr(part, end) for part in block]) for end in ("start", "stop"))
        found = np.zeros(high - low, np.float16)
        tiles = (range(a, b) for a, b in zip(low // self.inner, -(-high // self.inner), strict=True))
        for index in itertools.product(*tiles):
            start = np.array(index) * self.inner
            first, last = np.maximum(start, low), np.minimum(start + self.inner, high)
            corner = start - self.overlap_zyx
            own, of_tile = (tuple(map(slice, first - origin, last - origin)) for origin in (low, corner))
            found[own] = self._tile(corner)[of_tile]
        return found

    def _tile(self, start: np.ndarray) -> np.ndarray:
        """Scores of the tile that starts at a voxel of the array, perhaps beyond it."""
        end = start + self.tile_zyx
        low, high = np.maximum(start, 0), np.minimum(end, self.shape)
        pixels = self.read_em(self.bounds_vx[0] + zyx(low), self.bounds_vx[0] + zyx(high))
        pixels = np.pad(pixels, np.stack([low - start, end - high], axis=1), mode="reflect")
        scores = np.asarray(self.apply_tile(pixels))
        if scores.shape != tuple(self.tile_zyx):
            raise ValueError(f"a tile of {tuple(self.tile_zyx)} voxels came back with the shape {scores.shape}")
        return scores


def infer(
    read_em: Callable[[np.ndarray, np.ndarray], np.ndarray],
    bounds_vx: np.ndarray,
    apply_tile: Callable[[np.ndarray], np.ndarray],
    tile_zyx: Size,
    overlap_zyx: Size,
    block_zyx: Size,
    out: Path,
    voxel_nm: tuple[float, float, float],
    identity: Any,
    client: Client | None = None,
) -> Path:
    """Write the scores of a volume to the Zarr array `out`: float16 [Z, Y, X], one chunk a block; returns its path.

    `read_em(low_vx, high_vx)` gives the box `[low_vx, high_vx)` (XYZ voxels of `voxel_nm` inside `bounds_vx` [2, XYZ])
    as [Z, Y, X]; `apply_tile` turns an image of `tile_zyx` voxels into scores of that shape. Both are sent to the
    client's workers. Beyond the volume the image is reflected. The array's attributes `resolution_nm` and `offset_vx`
    (XYZ) say where it lies.

    `identity` (as JSON has it) names what the scores depend on: the network's weights, the volume. An interrupted
    run continues from its finished blocks when called again with the same arguments, and ends with the same bytes.
    Raises ValueError for tiles that are all overlap and for scores of another shape.
    """
    tiling = Tiling(read_em, apply_tile, np.asarray(bounds_vx), tile_zyx, overlap_zyx)
    if (tiling.inner < 1).any():
        raise ValueError(f"tiles of {tuple(tile_zyx)} voxels are all overlap ({tuple(overlap_zyx)} on each side)")
    plan = {
        "bounds_vx": tiling.bounds_vx.tolist(),
        "tile_zyx": tile_zyx,
        "overlap_zyx": overlap_zyx,
        "block_zyx": block_zyx,
        "voxel_nm": voxel_nm,
        "identity": identity,
    }
    place = (voxel_nm, tiling.bounds_vx[0])
    regions = blocks.grid(tiling.shape, block_zyx)
    with blocks.Work(out, plan, lambda path: blocks.create(path, tiling.shape, "float16", block_zyx, *place)) as work:
        work.run("tiles", functools.partial(_infer_block, tiling, work.content), regions, client)
        work.publish()
    return Path(out)


def _infer_block(tiling: Tiling, path: Path, block: blocks.Region) -> None:
    blocks.write(path, block, tiling.scores(block))
