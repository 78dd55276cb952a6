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
from pipeline.simulate.noise import inlined, kernel

GRID_NM = 200.0  # side of the cubes that list their capsules
REACH_NM = 230.0  # surfaces farther than this from a cube cannot matter in it
WARP_NM = 55.0  # displacement of one standard deviation (chosen: membranes wander as in kasthuri_ac3)
BLOCK_PX = 8
LANES = BLOCK_PX * BLOCK_PX  # points that are ranked at once
GLIA = -1
FAR_NM = 400.0


class Field(NamedTuple):
    """Capsules `[N]` with their owners, the cubes that list them (CSR), and periodic noise `[Z, Y, X, 6]`."""

    capsules: np.ndarray  # [N, 9], see `pack`
    owner: np.ndarray  # [N] cell index
    origin: np.ndarray  # [3] nm, lower corner of cube (0, 0, 0)
    shape: np.ndarray  # [3] cubes
    start: np.ndarray
    items: np.ndarray
    noise: np.ndarray


def pack(ends, radii):
    """Capsules `[N, 9]` float32 for `distance`: start, course (XYZ nm), 1 / its square, radius, change of radius.

    `ends` `[N, 2, 3]` and `radii` `[N, 2]` are nm.
    """
    course = ends[:, 1] - ends[:, 0]
    inverse = 1 / np.maximum((course**2).sum(axis=1), 1e-6)
    parts = (ends[:, 0], course, inverse[:, None], radii[:, :1], radii[:, 1:] - radii[:, :1])
    return np.ascontiguousarray(np.concatenate(parts, axis=1), np.float32)


def build(ends, radii, owner, low, high, rng):
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
def _offset(capsules, k, x, y, z):
    """Vector from the axis of capsule `k` to a point, and the capsule's radius there (nm)."""
    c = capsules[k]
    vx, vy, vz = x - c[0], y - c[1], z - c[2]
    t = min(max((vx * c[3] + vy * c[4] + vz * c[5]) * c[6], np.float32(0)), np.float32(1))
    return vx - t * c[3], vy - t * c[4], vz - t * c[5], c[7] + t * c[8]


@inlined
def distance(capsules, k, x, y, z):
    """Signed distance (nm) from a point to the surface of capsule `k` of `pack`."""
    vx, vy, vz, radius = _offset(capsules, k, x, y, z)
    return np.sqrt(vx * vx + vy * vy + vz * vz) - radius


@inlined
def gradient(capsules, k, x, y, z):
    """Direction (XYZ) in which the distance to capsule `k` grows."""
    vx, vy, vz, _ = _offset(capsules, k, x, y, z)
    length = np.sqrt(vx * vx + vy * vy + vz * vz) + np.float32(1e-3)
    return vx / length, vy / length, vz / length


@kernel
def _list_capsules(capsules, origin, shape, start, items):
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
def glia_reach(wave):
    """Distance (nm) from the nearest surface at which glia takes the space (chosen)."""
    return min(max(np.float32(48) + np.float32(24) * wave, np.float32(14)), np.float32(120))


@inlined
def _between(field, own, other, s_own, s_other, x, y, z):
    """Distance (nm) to the face between two capsules, inside the first, and the z of the face's normal."""
    ax, ay, az = gradient(field.capsules, own, x, y, z)
    bx, by, bz = gradient(field.capsules, other, x, y, z)
    hx, hy, hz = bx - ax, by - ay, bz - az
    slope = max(np.sqrt(hx * hx + hy * hy + hz * hz), np.float32(0.5))
    return (s_other - s_own) / slope, hz / slope


@kernel
def _rank(field, candidates, count, n, place, nearest, ranked):
    """Find the two nearest cells of `n` points, at most LANES, among the first `count` capsules of `candidates`.

    `place` holds rows of x, y and z, `nearest` gets rows of the distances to the nearest capsule and to the nearest
    of another cell, `ranked` rows of these two capsules and of the nearest cell. All are flat, in rows of LANES, and
    the loop has no branches, so that the compiler makes vector instructions of it.
    """
    for j in range(n):
        nearest[j] = nearest[LANES + j] = np.float32(1e9)
        ranked[j] = ranked[LANES + j] = np.int32(-1)
        ranked[2 * LANES + j] = np.int32(GLIA)
    for i in range(count):
        k = candidates[i]
        cell = field.owner[k]
        ax, ay, az, bx, by, bz, inverse, radius, change = field.capsules[k]
        for j in range(n):
            vx, vy, vz = place[j] - ax, place[LANES + j] - ay, place[2 * LANES + j] - az
            t = min(max((vx * bx + vy * by + vz * bz) * inverse, np.float32(0)), np.float32(1))
            vx, vy, vz = vx - t * bx, vy - t * by, vz - t * bz
            s = np.sqrt(vx * vx + vy * vy + vz * vz) - (radius + t * change)
            s1, s2 = nearest[j], nearest[LANES + j]
            k1, k2, c1 = ranked[j], ranked[LANES + j], ranked[2 * LANES + j]
            closer, same = s < s1, cell == c1
            second = s < s2
            nearest[LANES + j] = s2 if same else (s1 if closer else (s if second else s2))
            ranked[LANES + j] = k2 if same else (k1 if closer else (k if second else k2))
            nearest[j] = s if closer else s1
            ranked[j] = k if closer else k1
            ranked[2 * LANES + j] = cell if closer else c1


@inlined
def _resolve(field, j, place, nearest, ranked, reach):
    """Cell at point `j` of `_rank`, the cell across its nearest membrane, distance to it (nm), z of its normal."""
    x, y, z = place[j], place[LANES + j], place[2 * LANES + j]
    s1, s2 = nearest[j], nearest[LANES + j]
    k1, k2, c1 = ranked[j], ranked[LANES + j], ranked[2 * LANES + j]
    if k1 < 0:
        return np.int32(GLIA), np.int32(GLIA), np.float32(FAR_NM), np.float32(0)
    if s1 >= reach:
        return np.int32(GLIA), c1, min(s1 - reach, np.float32(FAR_NM)), gradient(field.capsules, k1, x, y, z)[2]
    if k2 >= 0 and s2 - s1 < 2 * (reach - s1):  # the slope is 2 at most: nothing farther can beat the glia
        across, normal = _between(field, k1, k2, s1, s2, x, y, z)
        if across < reach - s1:
            return c1, field.owner[k2], min(across, np.float32(FAR_NM)), normal
    return c1, np.int32(GLIA), min(reach - s1, np.float32(FAR_NM)), gradient(field.capsules, k1, x, y, z)[2]


@kernel
def pair_distance(field, own, other, x, y, z):
    """Distance (nm) from a point in cell `own` to its face with cell `other`, and the z of the face's normal."""
    cube = _cube(field, x, y, z)
    s_own, s_other = np.float32(1e9), np.float32(1e9)
    k_own = k_other = np.int32(-1)
    for i in range(field.start[cube], field.start[cube + 1]):
        k = field.items[i]
        cell = field.owner[k]
        if cell != own and cell != other:
            continue
        s = distance(field.capsules, k, x, y, z)
        if cell == own and s < s_own:
            s_own, k_own = s, k
        elif cell == other and s < s_other:
            s_other, k_other = s, k
    if k_own < 0 or k_other < 0:
        return np.float32(FAR_NM), np.float32(0)
    return _between(field, k_own, k_other, s_own, s_other, x, y, z)


@inlined
def _cube(field, x, y, z):
    ix = min(max(np.int64((x - field.origin[0]) / GRID_NM), 0), field.shape[0] - 1)
    iy = min(max(np.int64((y - field.origin[1]) / GRID_NM), 0), field.shape[1] - 1)
    iz = min(max(np.int64((z - field.origin[2]) / GRID_NM), 0), field.shape[2] - 1)
    return (iz * field.shape[1] + iy) * field.shape[0] + ix


def query(field, points):
    """Cell, cell across the nearest membrane, and distance to that (nm) at tissue points `[N, 3]` (nm)."""
    points = points.astype(np.float32)
    cube = _cubes(field, points)
    return _query(field, points, cube, np.argsort(cube))


@kernel
def _cubes(field, points):
    return np.array([_cube(field, x, y, z) for x, y, z in points])


@kernel
def _query(field, points, cube, order):
    """`query`, taking the points in an `order` in which those of a cube are together and share its capsules."""
    cells = np.empty(len(points), np.int32)
    across = np.empty(len(points), np.int32)
    depths = np.empty(len(points), np.float32)
    waves = np.empty(noise.CHANNELS, np.float32)
    place, nearest, ranked = _lanes()
    first = 0
    while first < len(points):
        here = cube[order[first]]
        n = 0
        while n < LANES and first + n < len(points) and cube[order[first + n]] == here:
            for axis in range(3):
                place[axis * LANES + n] = points[order[first + n], axis]
            n += 1
        listed = field.items[field.start[here] : field.start[here + 1]]
        _rank(field, listed, len(listed), n, place, nearest, ranked)
        for j in range(n):
            i = order[first + j]
            noise.at(field.noise, points[i, 0], points[i, 1], points[i, 2], waves)
            cells[i], across[i], depths[i], _ = _resolve(field, j, place, nearest, ranked, glia_reach(waves[3]))
        first += n
    return cells, across, depths


@inlined
def _lanes():
    """Empty `place`, `nearest` and `ranked` of `_rank`."""
    return np.empty(3 * LANES, np.float32), np.empty(2 * LANES, np.float32), np.empty(3 * LANES, np.int32)


@kernel
def section(field, z_nm, shape, pixel_nm):
    """The field over one section: cell, cell across, depth (nm), |z of normal|, tissue XYZ (nm), gap and grain noise.

    Arrays are `[Y, X]`, tissue positions `[3, Y, X]`, the two noises `[2, Y, X]`, at pixel centres of plane `z_nm`.
    """
    height, width = shape
    cell = np.empty((height, width), np.int32)
    across = np.empty((height, width), np.int32)
    depth = np.empty((height, width), np.float32)
    tilt = np.empty((height, width), np.float32)
    waves = np.empty(noise.CHANNELS, np.float32)
    plane = noise.plane(field.noise, z_nm, shape, pixel_nm)
    where = plane[:3]
    for py in range(height):
        y = np.float32((py + 0.5) * pixel_nm)
        for px in range(width):
            where[0, py, px] = np.float32((px + 0.5) * pixel_nm) + np.float32(WARP_NM) * where[0, py, px]
            where[1, py, px] = y + np.float32(WARP_NM) * where[1, py, px]
            where[2, py, px] = np.float32(z_nm) + np.float32(WARP_NM) * where[2, py, px]
    most = np.diff(field.start).max()
    kept = np.empty(most, np.int32)
    sizes = np.empty(most, np.float32)
    place, nearest, ranked = _lanes()
    margin = np.float32(2 * 1.3 * 0.71 * BLOCK_PX * pixel_nm)  # two slopes of 1, the warp's stretch, half a diagonal
    for by in range(0, height, BLOCK_PX):
        for bx in range(0, width, BLOCK_PX):
            x, y = np.float32((bx + 0.5 * BLOCK_PX) * pixel_nm), np.float32((by + 0.5 * BLOCK_PX) * pixel_nm)
            noise.at(field.noise, x, y, z_nm, waves)
            x, y = x + np.float32(WARP_NM) * waves[0], y + np.float32(WARP_NM) * waves[1]
            z = np.float32(z_nm) + np.float32(WARP_NM) * waves[2]
            cube = _cube(field, x, y, z)
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
            n = 0
            for py in range(by, min(by + BLOCK_PX, height)):
                for px in range(bx, min(bx + BLOCK_PX, width)):
                    for axis in range(3):
                        place[axis * LANES + n] = where[axis, py, px]
                    n += 1
            _rank(field, kept, count, n, place, nearest, ranked)
            n = 0
            for py in range(by, min(by + BLOCK_PX, height)):
                for px in range(bx, min(bx + BLOCK_PX, width)):
                    found = _resolve(field, n, place, nearest, ranked, glia_reach(plane[3, py, px]))
                    cell[py, px], across[py, px], depth[py, px] = found[0], found[1], found[2]
                    tilt[py, px] = abs(found[3])
                    n += 1
    return cell, across, depth, tilt, where, plane[4:]


def to_image(field, points):
    """Image positions (nm) `[N, 3]` at which tissue points `[N, 3]` (nm) appear: the warp inverted."""
    points = np.ascontiguousarray(points, np.float64)
    return _unwarp(field.noise, points)


@kernel
def _unwarp(noise_field, points):
    out = points.copy()
    waves = np.empty(noise.CHANNELS, np.float32)
    for i in range(len(points)):
        for _ in range(8):
            noise.at(noise_field, out[i, 0], out[i, 1], out[i, 2], waves)
            for axis in range(3):
                out[i, axis] = points[i, axis] - WARP_NM * waves[axis]
    return out
