"""Relaxation of overlapping processes into a dense packing, by position-based dynamics.

Nodes are balls joined into chains. Each round moves every node by the mean of its corrections: apart from balls of
other cells, back to its distance from its neighbours on the chain, towards a straight course, and, for the two nodes
of a synapse, into contact. Large balls yield less than small ones. One thread, fixed order: the result depends on the
input alone.
"""

from typing import NamedTuple

import numpy as np

from pipeline.simulate.kernels import Number, kernel

CUBE_NM = 1000.0
LARGE_NM = 450.0  # balls above this radius stand in no cube: they look for the small ones, and for each other
FIXED_NM = 2000.0  # somata stay
ROUNDS = 50
RENEW = 5  # rounds between lists of neighbours
SKIN_NM = 120.0
CLEARANCE_NM = 60.0  # others keep this much farther from partners, so that nothing slips between them
STEP_NM = 60.0  # longest move of a node in one round


class Nodes(NamedTuple):
    """Balls `[N]`, edges `[E, 2]` (those of a chain in a row, sharing nodes) and node pairs of synapses `[S, 2]`."""

    position: np.ndarray  # [N, 3] nm
    radius: np.ndarray  # [N] nm
    cell: np.ndarray  # [N]
    edges: np.ndarray
    pairs: np.ndarray


def relax(nodes: Nodes, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Relaxed positions `[N, 3]` (nm) of `nodes` in the box `low` to `high` (nm)."""
    position = nodes.position.astype(np.float64).copy()
    rest = np.linalg.norm(position[nodes.edges[:, 0]] - position[nodes.edges[:, 1]], axis=1)
    low, high = np.asarray(low, float), np.asarray(high, float)
    shape = np.maximum(np.ceil((high - low) / CUBE_NM), 1).astype(np.int64)
    partner = np.full(len(position), -1, np.int64)
    for column in (0, 1):
        partner[nodes.pairs[:, column]] = nodes.pairs[:, 1 - column]
    girth = nodes.radius + np.where(partner >= 0, CLEARANCE_NM, 0.0)
    for round_ in range(ROUNDS):
        if round_ % RENEW == 0:
            near = _neighbours(position, girth, nodes.cell, partner, low, shape)
        _round(nodes, position, girth, near, rest)
    return position


@kernel
def contact_distance(radius_a: Number, radius_b: Number) -> Number:
    """Distance (nm) at which two partners' balls flatten against each other: 12% of the smaller one overlaps."""
    return radius_a + radius_b - 0.12 * min(radius_a, radius_b)


def _neighbours(
    position: np.ndarray, radius: np.ndarray, cell: np.ndarray, partner: np.ndarray, low: np.ndarray, shape: np.ndarray
) -> np.ndarray:
    """Pairs `[P, 2]` of balls of different cells, partners apart, that are nearer than SKIN_NM to touching."""

    def cubes(position: np.ndarray) -> np.ndarray:
        return np.clip(((position - low) / CUBE_NM).astype(np.int64), 0, shape - 1)

    index, small = cubes(position), radius <= LARGE_NM
    reach = (radius + SKIN_NM + radius[small].max())[:, None]
    first, last = cubes(position - reach), cubes(position + reach)
    cube = np.where(small, (index[:, 2] * shape[1] + index[:, 1]) * shape[0] + index[:, 0], shape.prod())
    order = np.argsort(cube, kind="stable")
    start = np.searchsorted(cube[order], np.arange(shape.prod() + 1))
    balls = np.concatenate([position.T, radius[None]])
    return _pairs(balls, balls.T[order].T.copy(), cell, partner, first, last, shape, order, start)


@kernel
def _pairs(
    balls: np.ndarray,  # [4, N] x, y, z, radius
    ordered: np.ndarray,  # the same in the order of the cubes, large ones last, to be read in a row
    cell: np.ndarray,
    partner: np.ndarray,
    first: np.ndarray,  # [N, 3] the cubes to look for small neighbours in, XYZ, from ...
    last: np.ndarray,  # ... to
    shape: np.ndarray,
    order: np.ndarray,
    start: np.ndarray,  # of each cube's balls in `order`
) -> np.ndarray:
    n, n_small = len(cell), start[-1]
    near = np.empty(n, np.bool_)
    found = np.empty((40 * n, 2), np.int64)
    rows = (last - first + 1)[:, 1:]
    spans = np.empty((np.max(rows[:, 0] * rows[:, 1]) + 1, 2), np.int64)  # ranges of `order` to compare with
    count = 0
    for i in range(n):
        x, y, z, r = balls[0, i], balls[1, i], balls[2, i], balls[3, i] + SKIN_NM
        small = balls[3, i] <= LARGE_NM
        n_spans = 0
        for iz in range(first[i, 2], last[i, 2] + 1):
            for iy in range(first[i, 1], last[i, 1] + 1):
                row = (iz * shape[1] + iy) * shape[0]
                spans[n_spans, 0], spans[n_spans, 1] = start[row + first[i, 0]], start[row + last[i, 0] + 1]
                n_spans += 1
        if not small:
            spans[n_spans, 0], spans[n_spans, 1] = n_small, n
            n_spans += 1
        for s in range(n_spans):
            low, high = spans[s, 0], spans[s, 1]
            xs, ys, zs, radii = ordered[0, low:high], ordered[1, low:high], ordered[2, low:high], ordered[3, low:high]
            for k in range(high - low):  # without a branch, so that the compiler vectorises it
                dx, dy, dz, reach = xs[k] - x, ys[k] - y, zs[k] - z, r + radii[k]
                near[k] = dx * dx + dy * dy + dz * dz < reach * reach
            for k in range(low, high):
                if not near[k - low]:
                    continue
                j = order[k]
                if cell[i] == cell[j] or partner[i] == j or (j <= i and (small or k >= n_small)):
                    continue
                if count == len(found):
                    found = np.concatenate((found, np.empty_like(found)))
                found[count, 0], found[count, 1] = i, j
                count += 1
    return found[:count]


@kernel
def _repel(i: int, j: int, position: np.ndarray, radius: np.ndarray, move: np.ndarray, weight: np.ndarray) -> None:
    wanted = radius[i] + radius[j] + 10.0
    dx = position[i, 0] - position[j, 0]
    dy = position[i, 1] - position[j, 1]
    dz = position[i, 2] - position[j, 2]
    square = dx * dx + dy * dy + dz * dz
    if square >= wanted * wanted:
        return
    length = np.sqrt(square) + 1e-3
    share = radius[j] ** 2 / (radius[i] ** 2 + radius[j] ** 2)
    push = (wanted - length) / length
    move[i, 0] += share * push * dx
    move[i, 1] += share * push * dy
    move[i, 2] += share * push * dz
    weight[i] += 1
    move[j, 0] -= (1 - share) * push * dx
    move[j, 1] -= (1 - share) * push * dy
    move[j, 2] -= (1 - share) * push * dz
    weight[j] += 1


@kernel
def _pull(
    i: int,
    j: int,
    wanted: Number,
    stiffness: Number,
    position: np.ndarray,
    radius: np.ndarray,
    move: np.ndarray,
    weight: np.ndarray,
) -> None:
    length = 1e-3
    for axis in range(3):
        length += (position[i, axis] - position[j, axis]) ** 2
    length = np.sqrt(length)
    share = radius[j] ** 2 / (radius[i] ** 2 + radius[j] ** 2)
    for axis in range(3):
        pull = stiffness * (wanted - length) / length * (position[i, axis] - position[j, axis])
        move[i, axis] += share * pull
        move[j, axis] -= (1 - share) * pull
    weight[i] += 1
    weight[j] += 1


@kernel
def _round(nodes: Nodes, position: np.ndarray, girth: np.ndarray, near: np.ndarray, rest: np.ndarray) -> None:
    radius, edges, pairs = nodes.radius, nodes.edges, nodes.pairs
    n = len(radius)
    move = np.zeros((n, 3))
    weight = np.ones(n)
    for k in range(len(near)):
        _repel(near[k, 0], near[k, 1], position, girth, move, weight)
    for e in range(len(edges)):
        _pull(edges[e, 0], edges[e, 1], rest[e], 0.7, position, radius, move, weight)
    for e in range(len(edges) - 1):
        if edges[e, 1] == edges[e + 1, 0]:
            a, b, c = edges[e, 0], edges[e, 1], edges[e + 1, 1]
            for axis in range(3):
                bend = 0.5 * (position[a, axis] + position[c, axis]) - position[b, axis]
                move[b, axis] += 0.3 * bend
    for s in range(len(pairs)):
        i, j = pairs[s]
        wanted = contact_distance(radius[i], radius[j])
        for _ in range(5):  # five times the weight of a collision, so that partners stay partners
            _pull(i, j, wanted, 0.9, position, radius, move, weight)

    for i in range(n):
        if radius[i] > FIXED_NM:
            continue
        scale = 1.4 / weight[i]
        length = scale * np.sqrt(move[i, 0] ** 2 + move[i, 1] ** 2 + move[i, 2] ** 2)
        if length > STEP_NM:
            scale *= STEP_NM / length
        for axis in range(3):
            position[i, axis] += scale * move[i, axis]
