"""Where in a section each cell lies, so that a painter of what a cell holds passes over the rest of the section."""

from typing import NamedTuple

import numpy as np

from pipeline.simulate import field
from pipeline.simulate.field import BLOCK_PX, LANES
from pipeline.simulate.kernels import kernel


class Tiles(NamedTuple):
    """Squares of BLOCK_PX pixels; those with pixels of cell `c` are `start[c]:start[c + 1]`."""

    start: np.ndarray  # [cells + 1]
    corner: np.ndarray  # [N, 2] first pixel, YX
    middle: np.ndarray  # [N, 3] nm, XYZ in tissue, of the pixel in the middle
    spread: np.ndarray  # [N] nm in tissue from there to the farthest pixel


def find(at: field.Section, n_cells: int) -> Tiles:
    """The Tiles of a section's cells."""
    cell, corner, middle, spread = _collect(at)
    order = np.argsort(cell, kind="stable")
    start = np.searchsorted(cell[order], np.arange(n_cells + 1))
    return Tiles(start, corner[order], middle[order], spread[order])


@kernel
def _collect(at: field.Section) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The cell, corner, middle and spread of every tile, in raster order."""
    height, width = at.cell.shape
    most = (height // BLOCK_PX + 1) * (width // BLOCK_PX + 1)
    cell, corner = np.empty(4 * most, np.int32), np.empty((4 * most, 2), np.int32)
    middle, spread = np.empty((4 * most, 3), np.float32), np.empty(4 * most, np.float32)
    count = 0
    for y0 in range(0, height, BLOCK_PX):
        for x0 in range(0, width, BLOCK_PX):
            if count + LANES > len(cell):
                cell, corner = np.concatenate((cell, cell)), np.concatenate((corner, corner))
                middle, spread = np.concatenate((middle, middle)), np.concatenate((spread, spread))
            y1, x1 = min(y0 + BLOCK_PX, height), min(x0 + BLOCK_PX, width)
            mx, my, mz = at.where[:, (y0 + y1) // 2, (x0 + x1) // 2]
            farthest = np.float32(0)
            first = count
            for y in range(y0, y1):
                for x in range(x0, x1):
                    dx, dy, dz = at.where[0, y, x] - mx, at.where[1, y, x] - my, at.where[2, y, x] - mz
                    farthest = max(farthest, dx * dx + dy * dy + dz * dz)
                    c = at.cell[y, x]
                    known = False
                    for i in range(first, count):
                        known = known or cell[i] == c
                    if not known:
                        cell[count] = c
                        count += 1
            for i in range(first, count):
                corner[i, 0], corner[i, 1] = y0, x0
                middle[i, 0], middle[i, 1], middle[i, 2] = mx, my, mz
                spread[i] = np.sqrt(farthest)
    return cell[:count], corner[:count], middle[:count], spread[:count]
