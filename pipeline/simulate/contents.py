"""What lies inside the cells: mitochondria, endoplasmic reticulum, cytoskeleton and dense bodies.

Shapes and sizes after Peters, Palay & Webster 1991 (mitochondria 0.1-0.35 um wide, microtubules 24 nm, reticulum and
endosomes of 40-120 nm); their numbers are chosen by comparison with kasthuri_ac3. The mitochondria of boutons alone
depend on the class of a neuron (see `classes`).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pipeline.simulate import classes, field, tissue

MITOCHONDRION, RETICULUM, ROD, FAINT_ROD, DENSE_BODY = range(5)


class Organelles(NamedTuple):
    """Capsules: ends nm `[N, 2, 3]`, radius nm `[N]`, and both packed, `[N, 9]` (`field.pack`).

    Per organelle: the range `first[i]:first[i + 1]` of its capsules, its kind, the owning cell, and a random phase
    that shapes it.
    """

    ends: np.ndarray
    radius: np.ndarray
    capsules: np.ndarray
    first: np.ndarray
    kind: np.ndarray
    owner: np.ndarray
    phase: np.ndarray


def chains(tissue_: tissue.Tissue) -> list[np.ndarray]:
    """Rows of node indices, one per process branch or spine, in the order they were planned."""
    edges = tissue_.edges
    breaks = np.flatnonzero(edges[1:, 0] != edges[:-1, 1]) + 1
    return [np.append(part[:, 0], part[-1, 1]) for part in np.split(edges, breaks)]


class _Collector:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.ends: list[np.ndarray] = []
        self.radius: list[float] = []
        self.rows: list[tuple[int, int, int, float]] = []

    def chain(self, kind: int, owner: int, points: np.ndarray, radius: float) -> None:
        self.rows.append((len(points) - 1, kind, owner, self.rng.uniform(0, 2 * np.pi)))
        self.ends.append(np.stack([points[:-1], points[1:]], axis=1))
        self.radius.extend([radius] * (len(points) - 1))

    def blob(
        self,
        kind: int,
        owner: int,
        centre: np.ndarray,
        length: float,
        radius: float,
        direction: np.ndarray | None = None,
    ) -> None:
        direction = self.rng.normal(size=3) if direction is None else direction
        half = 0.5 * length * direction / np.linalg.norm(direction)
        self.chain(kind, owner, np.stack([centre - half, centre + half]), radius)

    def finish(self) -> Organelles:
        count, kind, owner, phase = zip(*self.rows, strict=True)
        ends, radius = np.concatenate(self.ends), np.array(self.radius)
        return Organelles(
            ends.astype(np.float32),
            radius.astype(np.float32),
            field.pack(ends, np.stack([radius, radius], axis=1)),
            np.concatenate([[0], np.cumsum(count)]),
            np.array(kind, np.int8),
            np.array(owner, np.int32),
            np.array(phase, np.float32),
        )


def organelles(tissue_: tissue.Tissue, rng: np.random.Generator) -> Organelles:
    """Organelles of every cell of a Tissue."""
    out = _Collector(rng)
    kinds = tissue_.cells.kind.to_numpy()
    planned = tissue_.junctions
    synaptic = dict(zip(planned.pre_node, zip(planned.post_node, planned.label, strict=True), strict=True))
    for nodes in chains(tissue_):
        cell = int(tissue_.cell[nodes[-1]])
        points, radii = tissue_.position[nodes], tissue_.radius[nodes]
        if kinds[cell] == tissue.DENDRITE and len(nodes) == tissue.SPINE_NODES + 1:
            _fill_spine(out, cell, points, radii)
        elif kinds[cell] == tissue.DENDRITE:
            _fill_dendrite(out, cell, points, radii)
        else:
            _fill_axon(out, cell, points, radii, [synaptic.get(node) for node in nodes], tissue_)
    for cell in np.flatnonzero(kinds == tissue.SOMA).tolist():
        node = np.flatnonzero(tissue_.cell == cell)[0]
        _fill_soma(out, cell, tissue_.position[node], tissue_.radius[node], tissue_.size)
    return out.finish()


def _frame(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors across the course of a chain at each point, turning little from one to the next."""
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    fixed = np.eye(3)[np.argmin(np.abs(along.mean(axis=0)))]
    u = np.cross(along, fixed)
    u /= np.linalg.norm(u, axis=1, keepdims=True) + 1e-9
    return u, np.cross(along, u)


def _beside(rng: np.random.Generator, points: np.ndarray, radii: np.ndarray, reach: float) -> np.ndarray:
    """A course parallel to a chain, at a random place of its cross-section within `reach` of its radius."""
    u, v = _frame(points)
    angle, share = rng.uniform(0, 2 * np.pi), reach * np.sqrt(rng.random())
    return points + (share * radii)[:, None] * (np.cos(angle) * u + np.sin(angle) * v)


def _runs(
    rng: np.random.Generator, n: int, spacing: float, gap_nm: float, length_nm: tuple[float, float]
) -> Iterator[slice]:
    """Slices of a chain of `n` nodes, separated by exponential gaps of mean `gap_nm`."""
    at = rng.exponential(gap_nm) / spacing
    while at < n - 2:
        steps = max(rng.uniform(*length_nm) / spacing, 1)
        yield slice(int(at), min(int(at + steps) + 1, n))
        at += steps + rng.exponential(gap_nm) / spacing


def _fill_dendrite(out: _Collector, cell: int, points: np.ndarray, radii: np.ndarray) -> None:
    rng, n = out.rng, len(points)
    calibre = float(np.median(radii))
    for _ in range(max(int(calibre / 45), 3)):
        out.chain(FAINT_ROD, cell, _beside(rng, points, radii, 0.85), 11.0)
    wide = max(calibre / 300, 1) ** 1.5  # wide trunks hold several mitochondria side by side
    for _ in range(max(round(wide), 1)):
        for run in _runs(rng, n, 250, 1900, (700, 2600)):
            course = _beside(rng, points, radii, 0.55)[run]
            out.chain(MITOCHONDRION, cell, course, min(rng.uniform(90, 170), 0.45 * calibre))
    for _ in range(max(round(1.6 * wide), 1)):
        for run in _runs(rng, n, 250, 900, (100, 700)):
            course = _beside(rng, points, radii, 0.8)[run]
            out.chain(RETICULUM, cell, course + rng.normal(0, 25, course.shape), rng.uniform(20, 55))
        for run in _runs(rng, n, 250, 3000, (10, 20)):
            at = _beside(rng, points, radii, 0.7)[run.start]
            out.blob(RETICULUM, cell, at, rng.uniform(20, 160), rng.uniform(35, 90))
        for run in _runs(rng, n, 250, 5000, (10, 20)):
            at = _beside(rng, points, radii, 0.7)[run.start]
            out.blob(DENSE_BODY, cell, at, rng.uniform(20, 120), rng.uniform(30, 75))


def _fill_spine(out: _Collector, cell: int, points: np.ndarray, radii: np.ndarray) -> None:
    rng = out.rng
    if rng.random() < 0.25:  # endosomes and spine apparatus in a minority of spines (Harris & Weinberg 2012)
        offset = rng.normal(0, 0.25 * radii[-2], 3)
        out.blob(RETICULUM, cell, points[-2] + offset, rng.uniform(20, 110), rng.uniform(22, 40))


def _fill_axon(
    out: _Collector,
    cell: int,
    points: np.ndarray,
    radii: np.ndarray,
    synapses: list[tuple[int, int] | None],
    tissue_: tissue.Tissue,
) -> None:
    rng, n = out.rng, len(points)
    for _ in range(rng.integers(1, 3)):
        course = _beside(rng, points, np.minimum(radii, 140), 0.55)
        for run in _runs(rng, n, 180, 700, (800, 4000)):
            thin = radii[run].max() < 220
            out.chain(ROD if thin else FAINT_ROD, cell, course[run], rng.uniform(12, 20))
    for i, synapse in enumerate(synapses):  # postsynaptic node and class, where a node is a bouton
        if synapse is None:
            continue
        partner, label = synapse
        away = points[i] - tissue_.position[partner]
        away /= np.linalg.norm(away)
        if rng.random() < classes.BOUTON_MITOCHONDRION[label]:
            radius = min(rng.uniform(*classes.MITOCHONDRION_RADIUS[label]), 0.45 * radii[i])
            along = points[min(i + 1, n - 1)] - points[max(i - 1, 0)]
            at = points[i] + away * rng.uniform(0.3, 0.5) * radii[i] + rng.normal(0, 30, 3)
            out.blob(MITOCHONDRION, cell, at, rng.uniform(150, 500), radius, along + rng.normal(0, 80, 3))
        for _ in range(rng.poisson(0.7)):
            at = points[i] + rng.normal(0, 0.4 * radii[i], 3)
            out.blob(RETICULUM, cell, at, rng.uniform(0, 90), rng.uniform(22, 55))
        if rng.random() < 0.12:
            out.blob(DENSE_BODY, cell, points[i] + rng.normal(0, 0.35 * radii[i], 3), 10, rng.uniform(25, 45))
    if np.median(radii) > 95:
        for run in _runs(rng, n, 180, 2500, (300, 1200)):
            if radii[run].min() > 85:
                out.chain(MITOCHONDRION, cell, points[run], 0.62 * radii[run].min())


def _fill_soma(out: _Collector, cell: int, centre: np.ndarray, radius: float, size: np.ndarray) -> None:
    rng = out.rng
    for kind, per_um3, width, length in [
        (MITOCHONDRION, 0.9, (90, 190), (200, 1100)),
        (RETICULUM, 4.0, (16, 40), (150, 700)),
        (RETICULUM, 0.8, (40, 90), (10, 120)),
        (DENSE_BODY, 0.5, (50, 160), (10, 120)),
    ]:
        low, high = np.maximum(centre - radius, -200), np.minimum(centre + radius, size + 200)
        for _ in range(rng.poisson(per_um3 * np.prod(high - low) / 1e9)):
            at = rng.uniform(low, high)
            if np.linalg.norm(at - centre) < radius - 150:
                out.blob(kind, cell, at, rng.uniform(*length), rng.uniform(*width))
