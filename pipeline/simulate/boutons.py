"""Where partners touch, and the vesicles of their boutons."""

from typing import NamedTuple

import numpy as np

from pipeline.simulate import classes, contents, field, tissue
from pipeline.simulate.kernels import kernel

GROWTH_NM = 60.0  # by which boutons outgrow their plan, filling the space between cells

FACE_POINTS, FACE_NM = 800, 300.0  # drawn around a planned contact to find the partners' common face


class Vesicles(NamedTuple):
    """Ellipsoids of revolution: tissue centre nm `[N, 3]`, half axes (along, across) nm `[N, 2]`, axis `[N, 3]`."""

    centre: np.ndarray
    half_axes: np.ndarray
    axis: np.ndarray
    owner: np.ndarray
    junction: np.ndarray
    wall: np.ndarray  # [N] greys by which its wall is darker than the cytoplasm


def contacts(
    tissue_: tissue.Tissue, field_: field.Field, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle of each pair of partners' common face, `[S, 3]` nm in tissue, its normal from pre to post, and its radius.

    Partners are packed to touch, but their neighbours decide how: points are drawn around the planned contact, and
    those near the membrane that the partners share outline their face. A pair without one keeps its plan and radius 0.
    """
    junctions = tissue_.junctions
    pre, post = tissue_.position[junctions.pre_node], tissue_.position[junctions.post_node]
    length = np.linalg.norm(post - pre, axis=1, keepdims=True)
    normal = (post - pre) / length
    r_pre = tissue_.radius[junctions.pre_node][:, None]
    r_post = tissue_.radius[junctions.post_node][:, None]
    planned = pre + normal * (r_pre + 0.5 * (length - r_pre - r_post))
    place = rng.normal(size=(len(planned), FACE_POINTS, 3))
    place *= FACE_NM * rng.random((len(planned), FACE_POINTS, 1)) ** (1 / 3) / np.linalg.norm(place, axis=2)[..., None]
    place += planned[:, None]
    cell, across, depth = field.query(field_, place.reshape(-1, 3))
    shape = place.shape[:2]
    pair = np.stack([cell, across], axis=1).reshape(*shape, 2)
    wanted = junctions[["pre", "post"]].to_numpy()[:, None]
    on_face = ((pair == wanted).all(axis=2) | (pair == wanted[..., ::-1]).all(axis=2)) & (depth.reshape(shape) < 25)
    middle, radius = planned.copy(), np.zeros(len(planned))
    for s, mask in enumerate(on_face):
        if mask.sum() >= 6:
            points = place[s][mask]
            middle[s] = points[np.argmin(((points - points.mean(axis=0)) ** 2).sum(axis=1))]
            # a disc's root mean square distance from its middle is its radius over the square root of 2
            radius[s] = np.sqrt(2 * ((points - points.mean(axis=0)) ** 2).sum(axis=1).mean())
    return middle, normal, radius


def vesicles(
    tissue_: tissue.Tissue,
    field_: field.Field,
    organelles_: contents.Organelles,
    at: np.ndarray,
    normal: np.ndarray,
    rng: np.random.Generator,
) -> Vesicles:
    """Vesicles of every junction: a cloud in the bouton, denser towards the active zone, and a few docked there.

    `at` and `normal` `[S, 3]` are the junctions' `contacts`.
    """
    junctions = tissue_.junctions
    clouds = []
    for s, row in enumerate(junctions.itertuples()):
        radius = tissue_.radius[row.pre_node]
        wanted = row.vesicles_per_um3 * 4.19 * (radius + GROWTH_NM) ** 3 / 1e9
        n = int(6 * wanted) + 40
        place = rng.normal(size=(n, 3))
        place *= ((radius + GROWTH_NM) * 1.2 * rng.random(n) ** (1 / 3) / _length(place))[:, None]
        place += tissue_.position[row.pre_node]
        diameter = np.clip(rng.normal(row.vesicle_diameter_nm, classes.VESICLE_DIAMETER[row.label][3], n), 24, 60)
        docked = int(rng.integers(3, 9))  # the first; about 2-10 docked (Harris & Weinberg 2012)
        spread = rng.uniform(-1, 1, (n, 3))[:docked] * row.radius
        spread -= (spread @ normal[s])[:, None] * normal[s]
        place[:docked] = at[s] + spread - normal[s] * (0.5 * diameter[:docked] + 14)[:, None]
        far = _length(place - at[s]) / (1.3 * radius)
        keep = rng.random(n) < 0.12 + 0.88 * np.exp(-4 * far**2)
        keep[:docked] = True
        spread = rng.normal(0, classes.VESICLE_FLATNESS[row.label][3], n)
        flat = np.maximum(row.vesicle_flatness + spread, 1.0)
        n_kept = keep.sum()
        clouds.append((place[keep], diameter[keep], flat[keep], np.full(n_kept, row.pre), np.full(n_kept, s)))
    centres, sizes, flatness, owners, of = (np.concatenate(parts) for parts in zip(*clouds, strict=True))
    owners = owners.astype(np.int32)
    cell, _, depth = field.query(field_, centres)
    free = (cell == owners) & (depth > 0.5 * sizes + 9)
    first = np.searchsorted(of, np.arange(len(junctions) + 1))
    ball = 4.19 * (tissue_.radius[junctions.pre_node] + GROWTH_NM) ** 3 / 1e9
    wanted = junctions.vesicles_per_um3.to_numpy() * ball
    solid = np.flatnonzero(np.isin(organelles_.kind, (contents.MITOCHONDRION, contents.RETICULUM, contents.DENSE_BODY)))
    solid = solid[np.argsort(organelles_.owner[solid], kind="stable")]
    listed = np.concatenate([np.arange(organelles_.first[i], organelles_.first[i + 1]) for i in solid])
    owner = np.repeat(organelles_.owner[solid], np.diff(organelles_.first)[solid])
    range_of = np.searchsorted(owner, np.arange(len(tissue_.cells) + 1))
    chosen = _settle(centres, sizes, free, first, wanted, owners, organelles_, listed, range_of)
    axis = rng.normal(size=(len(centres), 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    # an ellipsoid of revolution with the volume of the sphere: along = r * f**(2/3), across = r * f**(-1/3)
    half = 0.5 * sizes[:, None] * np.stack([flatness ** (2 / 3), flatness ** (-1 / 3)], axis=1)
    return Vesicles(
        centres[chosen].astype(np.float32),
        half[chosen].astype(np.float32),
        axis[chosen].astype(np.float32),
        owners[chosen],
        of[chosen].astype(np.int32),
        junctions.vesicle_wall.to_numpy(np.float32)[of[chosen]],
    )


def _length(vectors: np.ndarray) -> np.ndarray:
    """`np.linalg.norm(vectors, axis=1)` of `[N, 3]`, several times as fast."""
    x, y, z = vectors.T
    return np.sqrt(x * x + y * y + z * z)


@kernel
def _settle(
    centres: np.ndarray,
    sizes: np.ndarray,
    free: np.ndarray,
    first: np.ndarray,
    wanted: np.ndarray,
    owners: np.ndarray,
    organelles_: contents.Organelles,
    listed: np.ndarray,
    range_of: np.ndarray,
) -> np.ndarray:
    """Accept candidates in order, as many as wanted, that touch neither an accepted one nor an organelle."""
    chosen = np.zeros(len(sizes), np.bool_)
    for s in range(len(first) - 1):
        count = 0
        kept = np.empty(first[s + 1] - first[s], np.int64)
        for i in range(first[s], first[s + 1]):
            if count >= wanted[s]:
                break
            if not free[i]:
                continue
            x, y, z = np.float32(centres[i, 0]), np.float32(centres[i, 1]), np.float32(centres[i, 2])
            clear = True
            for m in range(range_of[owners[i]], range_of[owners[i] + 1]):
                if field.distance(organelles_.capsules, listed[m], x, y, z) < 0.5 * sizes[i] + 8:
                    clear = False
                    break
            for k in range(count):
                j = kept[k]
                square = 0.0
                for axis in range(3):
                    square += (centres[i, axis] - centres[j, axis]) ** 2
                if square < (0.5 * (sizes[i] + sizes[j]) + 2) ** 2:
                    clear = False
                    break
            if clear:
                kept[count] = i
                count += 1
                chosen[i] = True
    return chosen
