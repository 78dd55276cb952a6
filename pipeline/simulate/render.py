"""One section of the simulated volume: its cells, its clefts, its structures and the electron micrograph.

A section is a slab of 40 nm. Membranes and densities are drawn from the distance to the membrane and the slope of the
membrane through the slab, so that what is cut obliquely blurs, as it does in a real section. Greys are those of
kasthuri_ac3 (uint8, 0 black).
"""

import math

import numpy as np

from pipeline.simulate import contents, faces, field, noise, tiles
from pipeline.simulate.kernels import Number, kernel
from pipeline.simulate.noise import PIXEL_NM, SECTION_NM
from pipeline.simulate.scene import Scene, organelle_reach

CYTOPLASM = 174.0  # median grey of clear cytoplasm
MEMBRANE_NM = 8.5  # unit membrane (Peters et al. 1991)
#: Half the cleft: 20-30 nm wide at asymmetric, 12-20 nm at symmetric junctions (Peters et al. 1991), drawn narrower
#: by the membranes' own blur.
HALF_CLEFT_NM = (6.5, 9.0)  # inhibitory, excitatory
CLEFT_REACH_NM = 16.0  # a cleft mask takes voxels this near to the middle of the cleft
HALO_NM, HALO = 16.0, 7.0  # how far, and by how many greys, a vesicle darkens the cytoplasm about it (chosen)
FADED_NM = 80.0  # distance from an organelle's surface at which nothing of it is left to see
SIDE_NM = (40.0, 90.0)  # depth at which points of the two partners are taken

#: Labels of the `structures` volume, which names what is drawn in a voxel; 0 is everything else. The density is the
#: dense material beside a cleft, on the postsynaptic side and, where it is drawn, on the presynaptic one.
STRUCTURES = {"cleft": 1, "density": 2, "vesicle": 3, "mitochondrion": 4}
_CLEFT, _DENSITY, _VESICLE, _MITOCHONDRION = STRUCTURES.values()


@kernel
def _step(x: Number, sigma: Number) -> Number:
    """A smooth step from 0 to 1: the normal distribution function, by its logistic approximation."""
    return np.float32(1.0) / (np.float32(1.0) + math.exp(min(max(-1.702 * x / sigma, -30.0), 30.0)))


@kernel
def _band(x: Number, low: Number, high: Number, sigma: Number) -> Number:
    return _step(x - low, sigma) - _step(x - high, sigma)


@kernel
def _smear(sigma: Number, tilt: Number) -> Number:
    """Blur of an edge that crosses the slab at a slope: the projected width of a uniform slab added to `sigma`."""
    return math.sqrt(sigma * sigma + (SECTION_NM * tilt) ** 2 / 12.0)


@kernel
def _paint_cytoplasm(scene: Scene, at: field.Section, grain: np.ndarray, cloud: np.ndarray, grey: np.ndarray) -> None:
    height, width = at.cell.shape
    for y in range(height):
        for x in range(width):
            c = at.cell[y, x]
            shade = scene.tone[c]
            if at.depth[y, x] < 60:  # where the membrane lies slanted in the slab, both cells are seen at once
                shade += (scene.tone[at.across[y, x]] - shade) * _step(-at.depth[y, x], _smear(3.0, at.tilt[y, x]))
            fleck = grain[y, x] - np.float32(0.85) - np.float32(0.35) * cloud[y, x]
            fleck = max(fleck, np.float32(0)) / (1 + np.float32(0.5) * max(fleck, np.float32(0)))
            grey[y, x] = CYTOPLASM + shade + 5 * cloud[y, x] - 60 * scene.flecks[c] * fleck + 16.0 * grain[y, x]


@kernel
def _paint_organelles(
    scene: Scene,
    rows: np.ndarray,
    z_nm: Number,
    at: field.Section,
    tiles_: tiles.Tiles,
    grey: np.ndarray,
    shown: np.ndarray,
) -> None:
    organelles, image = scene.organelles, scene.organelle_image
    height, width = at.cell.shape
    waves = np.empty(noise.CHANNELS, np.float32)
    for n in range(len(rows)):
        k = rows[n]
        kind, owner, phase = organelles.kind[k], organelles.owner[k], organelles.phase[k]
        first, last = organelles.first[k], organelles.first[k + 1]
        low_x = low_y = np.float32(1e9)
        high_x = high_y = np.float32(-1e9)
        near = np.empty(last - first, np.int64)  # the capsules that this section cuts
        kept, sizes = np.empty(last - first, np.int64), np.empty(last - first, np.float32)
        count = 0
        for i in range(first, last):
            reach = organelle_reach(organelles.radius[i])
            if min(image[i, 0, 2], image[i, 1, 2]) - reach > z_nm or max(image[i, 0, 2], image[i, 1, 2]) + reach < z_nm:
                continue
            near[count] = i
            count += 1
            low_x, high_x = min(low_x, image[i, 0, 0] - reach), max(high_x, image[i, 0, 0] + reach)
            low_x, high_x = min(low_x, image[i, 1, 0] - reach), max(high_x, image[i, 1, 0] + reach)
            low_y, high_y = min(low_y, image[i, 0, 1] - reach), max(high_y, image[i, 0, 1] + reach)
            low_y, high_y = min(low_y, image[i, 1, 1] - reach), max(high_y, image[i, 1, 1] + reach)
        low_row, high_row = max(int(low_y / PIXEL_NM), 0), min(int(high_y / PIXEL_NM) + 1, height)
        low_column, high_column = max(int(low_x / PIXEL_NM), 0), min(int(high_x / PIXEL_NM) + 1, width)
        for m in range(tiles_.start[owner], tiles_.start[owner + 1]):
            y0, x0 = tiles_.corner[m]
            y0, y1 = max(y0, low_row), min(y0 + field.BLOCK_PX, high_row)
            x0, x1 = max(x0, low_column), min(x0 + field.BLOCK_PX, high_column)
            if y0 >= y1 or x0 >= x1:
                continue
            mx, my, mz = tiles_.middle[m]
            s, spread = np.float32(1e9), tiles_.spread[m] + np.float32(0.5)
            for i in range(count):
                sizes[i] = field.distance(organelles.capsules, near[i], mx, my, mz)
                s = min(s, sizes[i])
            if s > FADED_NM + spread:
                continue
            n_kept = 0  # capsules that are the nearest to some pixel of the tile
            for i in range(count):
                if sizes[i] <= s + 2 * spread:
                    kept[n_kept] = near[i]
                    n_kept += 1
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if at.cell[y, x] != owner:
                        continue
                    qx, qy, qz = at.where[0, y, x], at.where[1, y, x], at.where[2, y, x]
                    s, nearest = np.float32(1e9), kept[0]
                    for i in range(n_kept):
                        other = field.distance(organelles.capsules, kept[i], qx, qy, qz)
                        if other < s:
                            s, nearest = other, kept[i]
                    if s > FADED_NM:
                        continue
                    gx, gy, gz = field.gradient(organelles.capsules, nearest, qx, qy, qz)
                    inside = _step(at.depth[y, x] - 24, 4.0)
                    if kind == contents.MITOCHONDRION:
                        noise.at(scene.field.noise, 1.7 * qx + 900 * phase, 1.7 * qy, 1.7 * qz, waves)
                        s += 11 * waves[0]
                        blur = _smear(4.5, abs(gz))
                        body = _step(-s, blur) * inside
                        # cristae: folds across the long axis about 45 nm apart, bent by noise
                        ax, ay, az = organelles.capsules[nearest, 3:6]
                        norm = math.sqrt(ax * ax + ay * ay + az * az) + 1e-3
                        course = ((qx * ax + qy * ay + qz * az) / norm + 0.35 * (qx * gy - qy * gx)) / 46.0
                        folds = math.sin(6.28 * course + 2.0 * waves[1] + phase) + 0.7 * waves[4]
                        matrix = 110 + 12 * math.sin(5 * phase) - 30 * _step(folds - 0.2, 0.35) + 6 * waves[2]
                        matrix -= 58 * _band(s, -14.0, 3.0, blur) + 14 * _band(s, -30.0, -14.0, blur)
                        grey[y, x] += body * (matrix - grey[y, x])
                        if body > 0.5:
                            shown[y, x] = _MITOCHONDRION
                    elif kind == contents.RETICULUM:
                        noise.at(scene.field.noise, 1.9 * qx + 900 * phase, 1.9 * qy, 1.9 * qz, waves)
                        s += 17 * waves[0] + 10 * waves[5]
                        wall = _band(s, -6.0, 6.0, _smear(3.6, abs(gz))) * inside
                        grey[y, x] += 12 * _step(-s - 6, 4.0) * inside - 140 * wall
                    elif kind == contents.ROD:
                        grey[y, x] -= 85 * _step(-s, _smear(4.0, abs(gz))) * inside
                    elif kind == contents.FAINT_ROD:
                        grey[y, x] -= 30 * _step(-s, _smear(4.0, abs(gz))) * inside
                    else:
                        noise.at(scene.field.noise, qx + 900 * phase, qy, qz, waves)
                        body = _step(-s - 10 * waves[0], _smear(5.0, abs(gz))) * inside
                        grey[y, x] += body * (45 + 14 * waves[5] - grey[y, x])


@kernel
def _paint_vesicles(
    scene: Scene, rows: np.ndarray, z_nm: Number, at: field.Section, grey: np.ndarray, shown: np.ndarray
) -> None:
    vesicles = scene.vesicles
    height, width = at.cell.shape
    for n in range(len(rows)):
        k = rows[n]
        along, across = vesicles.half_axes[k]
        reach = max(along, across) + HALO_NM + 10
        cx, cy, cz = scene.vesicle_image[k]
        ux, uy, uz = vesicles.axis[k]
        size = (along * across * across) ** (1 / 3)
        for y in range(max(int((cy - reach) / PIXEL_NM), 0), min(int((cy + reach) / PIXEL_NM) + 1, height)):
            for x in range(max(int((cx - reach) / PIXEL_NM), 0), min(int((cx + reach) / PIXEL_NM) + 1, width)):
                if at.cell[y, x] != vesicles.owner[k]:
                    continue
                dx, dy = (x + 0.5) * PIXEL_NM - cx, (y + 0.5) * PIXEL_NM - cy
                wall = np.float32(0)
                lumen = np.float32(0)
                halo = np.float32(0)
                for level in range(-1, 2):  # three thirds of the section's thickness
                    dz = z_nm + level * SECTION_NM / 3 - cz
                    axial = dx * ux + dy * uy + dz * uz
                    radial = dx * dx + dy * dy + dz * dz - axial * axial
                    s = (math.sqrt((axial / along) ** 2 + radial / (across * across)) - 1) * size
                    wall += _band(s, -7.0, 1.5, 3.2)
                    lumen += _step(-s - 6, 3.0)
                    halo += _step(HALO_NM - s, 7.0)
                    if s < 0:  # its outline, as seen through the section
                        shown[y, x] = _VESICLE
                grey[y, x] += (12 * lumen - vesicles.wall[k] * wall - HALO * halo) / 3


@kernel
def _paint_membranes(scene: Scene, at: field.Section, grey: np.ndarray) -> None:
    height, width = at.cell.shape
    for y in range(height):
        for x in range(width):
            d = at.depth[y, x]
            c = at.cell[y, x]
            if scene.myelin[c] and d < 130:
                sheath = _band(d, 4.0, 88.0, _smear(5.0, at.tilt[y, x]))
                grey[y, x] += sheath * (38 + 6 * math.sin(d * 0.5) - grey[y, x])
            if d > 75:
                continue
            half = min(max(np.float32(4.5) + np.float32(4.0) * at.texture[0, y, x], np.float32(1.0)), np.float32(15))
            blur = _smear(4.2, at.tilt[y, x])
            dark = _band(d, half, half + MEMBRANE_NM, blur) + _band(-d, half, half + MEMBRANE_NM, blur)
            grey[y, x] -= (104 + 12 * at.texture[1, y, x]) * min(dark, np.float32(1.15))


@kernel
def _paint_junctions(
    scene: Scene,
    rows: np.ndarray,
    index: int,
    at: field.Section,
    grain: np.ndarray,
    grey: np.ndarray,
    shown: np.ndarray,
) -> np.ndarray:
    """Densities of the junctions `rows`; returns the voxels of their clefts and of the partners beside them.

    The list is `[N, 5]`: junction, x, y, z (voxels), kind (0 cleft, 1 presynaptic side, 2 postsynaptic side).
    """
    junctions = scene.junctions
    height, width = at.cell.shape
    found = np.empty((4096, 5), np.int32)
    count = 0
    partners = np.empty(len(scene.field.owner), np.int32)  # capsules of the two cells that a cube lists
    for n in range(len(rows)):
        k = rows[n]
        listed_for, n_partners = -1, 0
        reach = junctions.radius[k] + 220
        cx, cy = junctions.image_centre[k, 0], junctions.image_centre[k, 1]
        excitatory = junctions.label[k] == 1
        half = HALF_CLEFT_NM[1] if excitatory else HALF_CLEFT_NM[0]
        for y in range(max(int((cy - reach) / PIXEL_NM), 0), min(int((cy + reach) / PIXEL_NM) + 1, height)):
            for x in range(max(int((cx - reach) / PIXEL_NM), 0), min(int((cx + reach) / PIXEL_NM) + 1, width)):
                before, after = at.cell[y, x] == junctions.pre[k], at.cell[y, x] == junctions.post[k]
                if not (before or after) or at.depth[y, x] > 130:
                    continue
                square = np.float32(0)
                for axis in range(3):
                    square += (at.where[axis, y, x] - junctions.centre[k, axis]) ** 2
                if square > (junctions.radius[k] + 140) ** 2:
                    continue
                other = junctions.post[k] if before else junctions.pre[k]
                px, py, pz = at.where[0, y, x], at.where[1, y, x], at.where[2, y, x]
                cube = field.cube_of(scene.field, px, py, pz)
                if cube != listed_for:
                    n_partners = faces.list_pair(scene.field, cube, junctions.pre[k], junctions.post[k], partners)
                    listed_for = cube
                d, slant = faces.distance(scene.field, partners[:n_partners], at.cell[y, x], other, px, py, pz)
                if d > 120:
                    continue
                slant = abs(slant)
                # the disc is measured along the face: what lies deeper is as far from the middle as its foot
                lateral = math.sqrt(max(square - d * d, np.float32(0))) + 12 * at.texture[0, y, x]
                extent = _step(junctions.radius[k] - lateral, 26.0)
                if extent < 0.02:
                    continue
                fine = _smear(4.2, slant)
                fuzzy = _smear(6.5, slant)
                rough = 1 + 0.16 * at.texture[1, y, x] + 0.10 * grain[y, x]
                thick = junctions.thickness[k]
                inner = half + 3
                dark = 18 * _band(d, -half, half, fine)
                if after:  # the density fades into the cytoplasm
                    dense = _band(d, inner, inner + thick, fuzzy)
                    faded = _band(d, inner, inner + 1.6 * thick, 2 * fuzzy)
                    dark += junctions.darkness[k] * rough * (0.7 * dense + 0.3 * faded)
                else:  # the presynaptic grid, thin in both classes
                    dense = _band(d, inner, inner + min(thick, np.float32(14)), fuzzy)
                    dark += 0.6 * junctions.darkness[k] * rough * dense
                floor = grey[y, x] - 60
                grey[y, x] -= extent * min(dark, max(floor, np.float32(0)))
                if extent > 0.5:
                    kind = -1
                    if d <= CLEFT_REACH_NM:
                        kind = 0
                    elif SIDE_NM[0] <= d <= SIDE_NM[1]:
                        kind = 1 if before else 2
                    if kind == 0:
                        shown[y, x] = _CLEFT
                    elif dense > 0.5 and shown[y, x] == 0:
                        shown[y, x] = _DENSITY
                    if kind >= 0:
                        if count == len(found):
                            found = np.concatenate((found, np.empty_like(found)))
                        found[count, 0], found[count, 1], found[count, 2] = k, x, y
                        found[count, 3], found[count, 4] = index, kind
                        count += 1
    return found[:count]


def section(
    scene: Scene, index: int, shape: tuple[int, int], seed: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells, grey and structures of one section, and the voxels of its clefts and partners (`_paint_junctions`).

    Arrays are `[Y, X]`: int32 cell index, float32, and uint8 with the labels of `STRUCTURES`. `seed` is of this
    section alone, so that its pixels do not depend on the order in which sections are rendered.
    """
    rng = np.random.default_rng(seed)
    z_nm = (index + 0.5) * SECTION_NM
    at = field.section(scene.field, z_nm, shape)
    fine = noise.unit(rng, shape, 1.2)
    grain = fine - 0.5 * noise.unit(rng, shape, 3.0)
    cloud = noise.unit(rng, (shape[0] // 12 + 2, shape[1] // 12 + 2), 1.5)
    cloud = noise.enlarge(cloud, (12 * cloud.shape[0], 12 * cloud.shape[1]), shape)
    grey, shown = np.empty(shape, np.float32), np.zeros(shape, np.uint8)
    _paint_cytoplasm(scene, at, grain, cloud, grey)
    rows = np.flatnonzero((scene.organelle_z[:, 0] < z_nm) & (scene.organelle_z[:, 1] > z_nm))
    rows = rows[np.argsort(scene.organelles.kind[rows] == contents.MITOCHONDRION, kind="stable")]  # over the rest
    _paint_organelles(scene, rows, z_nm, at, tiles.find(at, len(scene.tone)), grey, shown)
    reach = scene.vesicles.half_axes.max(axis=1) + SECTION_NM / 2
    rows = np.flatnonzero(np.abs(scene.vesicle_image[:, 2] - z_nm) < reach)
    _paint_vesicles(scene, rows, z_nm, at, grey, shown)
    _paint_membranes(scene, at, grey)
    rows = np.flatnonzero(np.abs(scene.junctions.image_centre[:, 2] - z_nm) < scene.junctions.radius + 160)
    return at.cell, grey, shown, _paint_junctions(scene, rows, index, at, grain, grey, shown)
