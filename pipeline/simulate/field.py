"""Which cell holds a point, and how far its membrane is.

Cells are unions of tapered capsules. A point belongs to the cell whose surface is nearest (signed distance, negative
inside), so processes that touch share a membrane and grow until they meet. Where every surface is farther than a
local reach, the space is glia, which therefore gets the concave, sheet-like outlines of astrocytes. A smooth warp
between image and tissue coordinates keeps membranes from being the spheres and planes they are built of.

Positions are nm, XYZ, from the lower corner of the volume.
"""

from typing import NamedTuple

import numpy as np

from pipeline.simulate import noise
from pipeline.simulate.kernels import Number, inlined, kernel
from pipeline.simulate.noise import PIXEL_NM

GRID_NM = 200.0  # side of the cubes that list their capsules
REACH_NM = 230.0  # surfaces farther than this from a cube cannot matter in it
WARP_NM = 55.0  # displacement of one standard deviation (chosen: membranes wander as in kasthuri_ac3)
BLOCK_PX = 8
LANES = BLOCK_PX * BLOCK_PX  # points that `_nearest` takes at once
X, Y, Z, REACH, FIRST, SECOND, DEPTH, TILT = (LANES * row for row in range(8))  # rows of its `real`
FIRST_OF, SECOND_OF, CELL, ACROSS = (LANES * row for row in range(4))  # rows of its `whole`
GLIA = -1
FAR_NM = 400.0


class Section(NamedTuple):
    """The field at the pixel centres of one section, `[Y, X]`."""

    cell: np.ndarray
    across: np.ndarray  # cell across the nearest membrane
    depth: np.ndarray  # nm from that membrane
    tilt: np.ndarray  # |z of its normal|
    where: np.ndarray  # [3, Y, X] XYZ in tissue, nm
    texture: np.ndarray  # [2, Y, X] noise of the intercellular gap and of the grain


class Field(NamedTuple):
    """Capsules `[N]` with their owners, the cubes that list them (CSR), and periodic noise `[Z, Y, X, 6]`."""

    capsules: np.ndarray  # [N, 9], see `pack`
    owner: np.ndarray  # [N] cell index
    origin: np.ndarray  # [3] nm, lower corner of cube (0, 0, 0)
    shape: np.ndarray  # [3] cubes
    start: np.ndarray
    items: np.ndarray
    noise: np.ndarray


def pack(ends: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Capsules `[N, 9]` float32 for `distance`: start, course (XYZ nm), 1 / its square, radius, change of radius.

    `ends` `[N, 2, 3]` and `radii` `[N, 2]` are nm.
    """
    course = ends[:, 1] - ends[:, 0]
    inverse = 1 / np.maximum((course**2).sum(axis=1), 1e-6)
    parts = (ends[:, 0], course, inverse[:, None], radii[:, :1], radii[:, 1:] - radii[:, :1])
    return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)


def build(
    ends: np.ndarray, radii: np.ndarray, owner: np.ndarray, low: np.ndarray, high: np.ndarray, rng: np.random.Generator
) -> Field:
    """The Field of capsules (`ends` `[N, 2, 3]`, `radii` `[N, 2]`, nm) over the box `low` to `high` (nm)."""
    capsules = pack(ends, radii)
    origin = np.asarray(low, np.float32)
    shape = np.ceil((np.asarray(high) - low) / GRID_NM).astype(np.int64)
    counts = _list_capsules(capsules, origin, shape, np.zeros(0, np.int64), np.zeros(0, np.int32))
    start = np.concatenate([[0], np.cumsum(counts)])
    items = np.empty(start[-1], np.int32)
    _list_capsules(capsules, origin, shape, start, items)
    return Field(capsules, owner.astype(np.int32), origin, shape, start, items, noise.periodic(rng))


@inlined
def _offset(capsules: np.ndarray, k: int, x: Number, y: Number, z: Number) -> tuple[Number, Number, Number, Number]:
    """Vector from the axis of capsule `k` to a point, and the capsule's radius there (nm)."""
    c = capsules[k]
    vx, vy, vz = x - c[0], y - c[1], z - c[2]
    t = min(max((vx * c[3] + vy * c[4] + vz * c[5]) * c[6], np.float32(0)), np.float32(1))
    return vx - t * c[3], vy - t * c[4], vz - t * c[5], c[7] + t * c[8]


@inlined
def distance(capsules: np.ndarray, k: int, x: Number, y: Number, z: Number) -> Number:
    """Signed distance (nm) from a point to the surface of capsule `k` of `pack`."""
    vx, vy, vz, radius = _offset(capsules, k, x, y, z)
    return np.sqrt(vx * vx + vy * vy + vz * vz) - radius


@inlined
def gradient(capsules: np.ndarray, k: int, x: Number, y: Number, z: Number) -> tuple[Number, Number, Number]:
    """Direction (XYZ) in which the distance to capsule `k` grows."""
    vx, vy, vz, _ = _offset(capsules, k, x, y, z)
    length = np.sqrt(vx * vx + vy * vy + vz * vz) + np.float32(1e-3)
    return vx / length, vy / length, vz / length


@kernel
def _list_capsules(
    capsules: np.ndarray, origin: np.ndarray, shape: np.ndarray, start: np.ndarray, items: np.ndarray
) -> np.ndarray:
    """Count the capsules of each cube or, given `start`, write them to `items`."""
    nx, ny, nz = shape
    counts = np.zeros(nx * ny * nz, np.int64)
    half = 0.5 * GRID_NM * np.sqrt(3.0)
    low, high = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for k in range(len(capsules)):
        reach = max(capsules[k, 7], capsules[k, 7] + capsules[k, 8]) + REACH_NM
        for axis in range(3):
            a, b = capsules[k, axis] - origin[axis], capsules[k, axis] + capsules[k, axis + 3] - origin[axis]
            low[axis] = min(max(np.int64(np.floor((min(a, b) - reach) / GRID_NM)), 0), shape[axis] - 1)
            high[axis] = min(max(np.int64(np.floor((max(a, b) + reach) / GRID_NM)), 0), shape[axis] - 1)
        for iz in range(low[2], high[2] + 1):
            for iy in range(low[1], high[1] + 1):
                for ix in range(low[0], high[0] + 1):
                    x = np.float32(origin[0] + (ix + 0.5) * GRID_NM)
                    y = np.float32(origin[1] + (iy + 0.5) * GRID_NM)
                    z = np.float32(origin[2] + (iz + 0.5) * GRID_NM)
                    if distance(capsules, k, x, y, z) > REACH_NM + half:
                        continue
                    cube = (iz * ny + iy) * nx + ix
                    if len(items):
                        items[start[cube] + counts[cube]] = k
                    counts[cube] += 1
    return counts


@inlined
def glia_reach(wave: Number) -> Number:
    """Distance (nm) from the nearest surface at which glia takes the space (chosen)."""
    return min(max(np.float32(48) + np.float32(24) * wave, np.float32(14)), np.float32(120))


@inlined
def between(
    field: Field, own: Number, other: Number, s_own: Number, s_other: Number, x: Number, y: Number, z: Number
) -> tuple[Number, Number]:
    """Distance (nm) to the face between two capsules, inside the first, and the z of the face's normal."""
    ax, ay, az = gradient(field.capsules, own, x, y, z)
    bx, by, bz = gradient(field.capsules, other, x, y, z)
    hx, hy, hz = bx - ax, by - ay, bz - az
    slope = max(np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(0.5))
    return (s_other - s_own) / slope, hz / slope


@kernel
def _nearest(field: Field, candidates: np.ndarray, count: int, n: int, real: np.ndarray, whole: np.ndarray) -> None:
    """Which cells `n` points (at most LANES) lie in and beside, among the first `count` capsules of `candidates`.

    `real` (float32) holds the points in its rows X, Y, Z and how far glia keeps away in REACH; it gets the distance
    to the nearest membrane in DEPTH and the z of the membrane's normal in TILT. `whole` (int32) gets the cell in CELL
    and that across the membrane in ACROSS. The other rows are scratch. Both are flat and the loop over the points has
    no branch, since only then does the compiler turn it into vector instructions.
    """
    for j in range(n):
        real[FIRST + j] = real[SECOND + j] = np.float32(1e9)
        whole[FIRST_OF + j] = whole[SECOND_OF + j] = np.int32(-1)
        whole[CELL + j] = np.int32(GLIA)
    for i in range(count):
        k = candidates[i]
        cell = field.owner[k]
        c = field.capsules[k]
        ax, ay, az, bx, by, bz, inverse, radius, growth = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c[8]
        for j in range(n):
            vx, vy, vz = real[X + j] - ax, real[Y + j] - ay, real[Z + j] - az
            t = min(max((vx * bx + vy * by + vz * bz) * inverse, np.float32(0)), np.float32(1))
            vx, vy, vz = vx - t * bx, vy - t * by, vz - t * bz
            s = np.sqrt(vx * vx + vy * vy + vz * vz) - (radius + t * growth)
            s1, s2 = real[FIRST + j], real[SECOND + j]
            k1, k2, c1 = whole[FIRST_OF + j], whole[SECOND_OF + j], whole[CELL + j]
            leads, follows, same = s < s1, s < s2, cell == c1
            real[SECOND + j] = s2 if same else (s1 if leads else (s if follows else s2))
            whole[SECOND_OF + j] = k2 if same else (k1 if leads else (k if follows else k2))
            real[FIRST + j] = s if leads else s1
            whole[FIRST_OF + j] = k if leads else k1
            whole[CELL + j] = cell if leads else c1
    for j in range(n):
        x, y, z, reach = real[X + j], real[Y + j], real[Z + j], real[REACH + j]
        s1, s2, k1, k2 = real[FIRST + j], real[SECOND + j], whole[FIRST_OF + j], whole[SECOND_OF + j]
        whole[ACROSS + j] = GLIA
        if k1 < 0:
            real[DEPTH + j], real[TILT + j] = FAR_NM, 0
            continue
        if k2 >= 0 and s1 < reach and s2 - s1 < 2 * (reach - s1):  # slopes are 2 at most: none farther beats the glia
            depth, tilt = between(field, k1, k2, s1, s2, x, y, z)
            if depth < reach - s1:
                whole[ACROSS + j] = field.owner[k2]
                real[DEPTH + j], real[TILT + j] = min(depth, np.float32(FAR_NM)), tilt
                continue
        real[DEPTH + j] = min(abs(reach - s1), np.float32(FAR_NM))
        real[TILT + j] = gradient(field.capsules, k1, x, y, z)[2]
        if s1 >= reach:
            whole[ACROSS + j], whole[CELL + j] = whole[CELL + j], GLIA


@inlined
def cube_of(field: Field, x: Number, y: Number, z: Number) -> int:
    ix = min(max(np.int64((x - field.origin[0]) / GRID_NM), 0), field.shape[0] - 1)
    iy = min(max(np.int64((y - field.origin[1]) / GRID_NM), 0), field.shape[1] - 1)
    iz = min(max(np.int64((z - field.origin[2]) / GRID_NM), 0), field.shape[2] - 1)
    return (iz * field.shape[1] + iy) * field.shape[0] + ix


def query(field: Field, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cell, cell across the nearest membrane, and distance to that (nm) at tissue points `[N, 3]` (nm)."""
    points = points.astype(np.float32)
    cube = _cubes(field, points)
    return _query(field, points, cube, np.argsort(cube))


@kernel
def _cubes(field: Field, points: np.ndarray) -> np.ndarray:
    cubes = np.empty(len(points), np.int64)
    for i in range(len(points)):
        cubes[i] = cube_of(field, points[i, 0], points[i, 1], points[i, 2])
    return cubes


@kernel
def _query(
    field: Field, points: np.ndarray, cube: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`query`, taking the points in an `order` in which those of a cube are together and share its capsules."""
    cells = np.empty(len(points), np.int32)
    across = np.empty(len(points), np.int32)
    depths = np.empty(len(points), np.float32)
    waves = np.empty(noise.CHANNELS, np.float32)
    real, whole = np.empty(8 * LANES, np.float32), np.empty(4 * LANES, np.int32)
    first = 0
    while first < len(points):
        here = cube[order[first]]
        n = 0
        while n < LANES and first + n < len(points) and cube[order[first + n]] == here:
            x, y, z = points[order[first + n], 0], points[order[first + n], 1], points[order[first + n], 2]
            noise.at(field.noise, x, y, z, waves)
            real[X + n], real[Y + n], real[Z + n], real[REACH + n] = x, y, z, glia_reach(waves[3])
            n += 1
        listed = field.items[field.start[here] : field.start[here + 1]]
        _nearest(field, listed, len(listed), n, real, whole)
        for j in range(n):
            i = order[first + j]
            cells[i], across[i], depths[i] = whole[CELL + j], whole[ACROSS + j], real[DEPTH + j]
        first += n
    return cells, across, depths


@kernel
def section(field: Field, z_nm: Number, shape: tuple[int, int]) -> Section:
    """The Section of `shape` (YX pixels) at the plane `z_nm`."""
    height, width = shape
    cell = np.empty((height, width), np.int32)
    across = np.empty((height, width), np.int32)
    depth = np.empty((height, width), np.float32)
    tilt = np.empty((height, width), np.float32)
    waves = np.empty(noise.CHANNELS, np.float32)
    plane = noise.plane(field.noise, z_nm, shape)
    where = plane[:3]
    for py in range(height):
        y = np.float32((py + 0.5) * PIXEL_NM)
        for px in range(width):
            where[0, py, px] = np.float32((px + 0.5) * PIXEL_NM) + np.float32(WARP_NM) * where[0, py, px]
            where[1, py, px] = y + np.float32(WARP_NM) * where[1, py, px]
            where[2, py, px] = np.float32(z_nm) + np.float32(WARP_NM) * where[2, py, px]
    kept = np.empty(len(field.owner), np.int32)
    sizes = np.empty(len(field.owner), np.float32)
    real, whole = np.empty(8 * LANES, np.float32), np.empty(4 * LANES, np.int32)
    margin = np.float32(2 * 1.3 * 0.71 * BLOCK_PX * PIXEL_NM)  # two slopes of 1, the warp's stretch, half a diagonal
    for by in range(0, height, BLOCK_PX):
        for bx in range(0, width, BLOCK_PX):
            x, y = np.float32((bx + 0.5 * BLOCK_PX) * PIXEL_NM), np.float32((by + 0.5 * BLOCK_PX) * PIXEL_NM)
            noise.at(field.noise, x, y, z_nm, waves)
            x, y = x + np.float32(WARP_NM) * waves[0], y + np.float32(WARP_NM) * waves[1]
            z = np.float32(z_nm) + np.float32(WARP_NM) * waves[2]
            cube = cube_of(field, x, y, z)
            first, last = field.start[cube], field.start[cube + 1]
            s1, s2 = np.float32(1e9), np.float32(1e9)
            c1 = np.int32(GLIA)
            for i in range(first, last):
                k = field.items[i]
                s = distance(field.capsules, k, x, y, z)
                sizes[i - first] = s
                if s < s1:
                    if field.owner[k] != c1:
                        s2, c1 = s1, field.owner[k]
                    s1 = s
                elif field.owner[k] != c1 and s < s2:
                    s2 = s
            count = 0
            for i in range(first, last):
                if sizes[i - first] <= s2 + margin:
                    kept[count] = field.items[i]
                    count += 1
            rows, columns = min(BLOCK_PX, height - by), min(BLOCK_PX, width - bx)
            for j in range(rows * columns):
                py, px = by + j // columns, bx + j % columns
                for axis in range(3):
                    real[X + axis * LANES + j] = where[axis, py, px]
                real[REACH + j] = glia_reach(plane[3, py, px])
            _nearest(field, kept, count, rows * columns, real, whole)
            for j in range(rows * columns):
                py, px = by + j // columns, bx + j % columns
                cell[py, px], across[py, px] = whole[CELL + j], whole[ACROSS + j]
                depth[py, px], tilt[py, px] = real[DEPTH + j], abs(real[TILT + j])
    return Section(cell, across, depth, tilt, where, plane[4:])


def to_image(field: Field, points: np.ndarray) -> np.ndarray:
    """Image positions (nm) `[N, 3]` at which tissue points `[N, 3]` (nm) appear: the warp inverted."""
    points = np.ascontiguousarray(points, np.float64)
    return _unwarp(field.noise, points)


@kernel
def _unwarp(noise_field: np.ndarray, points: np.ndarray) -> np.ndarray:
    out = points.copy()
    waves = np.empty(noise.CHANNELS, np.float32)
    for i in range(len(points)):
        for _ in range(8):
            noise.at(noise_field, out[i, 0], out[i, 1], out[i, 2], waves)
            for axis in range(3):
                out[i, axis] = points[i, axis] - WARP_NM * waves[axis]
    return out
