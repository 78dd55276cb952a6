"""The plan of a piece of cortex: neurons, their processes in the volume, and who synapses on whom.

Dendrites, axons, unlabelled neurites, a soma and myelinated axons are random walks through the box. An axon gets a
bouton wherever it passes a partner that still has room: a spine grown towards it, or a shaft. `packing.relax` then
makes the processes share the space. Positions are nm, XYZ, from the lower corner of the volume; lengths are nm.

Sources: Harris & Weinberg 2012 (Cold Spring Harb Perspect Biol 4:a005587, ultrastructure of synapses); Gray 1959 and
Colonnier 1968 (asymmetric and symmetric junctions); Peters, Palay & Webster 1991 (calibres, organelles); Kasthuri et
al. 2015 (densities, share of spines); Villa et al. 2016 (inhibitory synapses on spines). "Chosen" marks the rest.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.spatial import KDTree

from pipeline import config
from pipeline.errors import PipelineError
from pipeline.simulate import classes, packing

MARGIN_NM = 700.0  # processes are modelled this far beyond the volume, so that its faces look like its inside
EDGE_NM = np.array([260.0, 260.0, 220.0])  # no junction is planned nearer than this to a face
STEP_NM = 180.0  # spacing of nodes along axons
PARTNER_NM = 2500.0  # a bouton's partner is nearer: twice its head's radius, the bouton's and a neck of 1300 at most
MAX_PER_UM3 = 2.4  # junctions the box can hold; neocortex has about 1.1 per um3 (Kasthuri et al. 2015)

DENDRITES_PER_UM3 = 0.042  # chosen: with 0.6 um calibre about a third of the space (Kasthuri et al. 2015)
FILLERS_PER_UM3 = 0.50  # thin neurites that belong to no known neuron (chosen)
APICALS_PER_UM3 = 1 / 380  # wide apical dendrites (chosen)
MYELINS_PER_UM3 = 1 / 420  # chosen
SMOOTH_SHARE = 0.25  # of dendrites, from inhibitory neurons, which have few or no spines

SPINE_NODES = 6  # four of the neck, two of the head

AXON, DENDRITE, FILLER, MYELIN, SOMA, GLIA = range(6)

#: A dendritic node, and the centre (nm) and radius of the spine head to grow from it, if any.
Target = tuple[int, tuple[np.ndarray, float] | None]


class SimulationError(PipelineError):
    """Settings that no tissue can satisfy; the text says which to change."""


@dataclasses.dataclass
class Tissue:
    """Cells, chains of capsules and junctions.

    `cells`: kind, neuron_id (0 = none known), root_id; glia is the last. `neurons`: one row a known neuron.
    `junctions`: one row a synapse. `position` and `radius` `[N]` are nodes, `cell` their owners, `edges` `[E, 2]` the
    capsules.
    """

    size: np.ndarray
    cells: pd.DataFrame
    neurons: pd.DataFrame
    junctions: pd.DataFrame
    position: np.ndarray
    radius: np.ndarray
    cell: np.ndarray
    edges: np.ndarray


def plan(settings: config.Simulated, rng: np.random.Generator) -> Tissue:
    """A relaxed Tissue for `config.Simulated` settings; SimulationError when they cannot be satisfied."""
    size = np.asarray(settings.size_um) * 1000
    usable = np.prod(np.maximum(size - 2 * EDGE_NM, 0)) / 1e9
    n_presynaptic = settings.n_excitatory + settings.n_inhibitory
    wanted = n_presynaptic * settings.synapses_per_neuron
    if usable * MAX_PER_UM3 < wanted:
        raise SimulationError(
            f"source: {n_presynaptic} neurons with {settings.synapses_per_neuron} synapses each do not fit: the part "
            f"of size_um {settings.size_um} away from its faces, {usable:.1f} um3, holds at most "
            f"{int(usable * MAX_PER_UM3)} synapses; enlarge size_um, or lower synapses_per_neuron, n_excitatory "
            "or n_inhibitory"
        )
    builder = _Builder(size, rng)
    builder.add_soma()
    builder.add_dendrites()
    builder.add_passersby()
    for label in [1] * settings.n_excitatory + [0] * settings.n_inhibitory:
        builder.add_presynaptic(label, settings.synapses_per_neuron)
    return builder.finish()


class _Builder:
    def __init__(self, size: np.ndarray, rng: np.random.Generator) -> None:
        self.size, self.rng = size, rng
        self.volume = np.prod(size + 2 * MARGIN_NM) / 1e9
        self.low, self.high = np.full(3, -MARGIN_NM), size + MARGIN_NM
        self.position: list[np.ndarray] = []
        self.radius: list[float] = []
        self.cell: list[int] = []
        self.edges: list[tuple[int, int]] = []
        self.cells: list[dict[str, Any]] = []
        self.neurons: list[dict[str, Any]] = []
        self.junctions: list[dict[str, Any]] = []
        self.targets: list[tuple[int, bool]] = []  # dendrite nodes that may receive, and whether on a spine
        self.ids: set[int] = set()
        self.boutons = np.zeros((0, 4))  # centre and radius of every bouton and head so far

    # -- bookkeeping ---------------------------------------------------------------------------------------------
    def root_id(self) -> int:
        """An 18-digit id like those of MICrONS, above 2**53, where a float would lose digits."""
        while (value := 864691130000000000 + int(self.rng.integers(1, 6_999_999_999))) in self.ids:
            pass
        self.ids.add(value)
        return value

    def add_neuron(self, label: int, presynaptic: bool, soma: np.ndarray | None = None) -> int:
        identity = self.root_id()
        if soma is None:  # most somata of the processes in a small box lie outside it, within a few 100 um
            direction = self.rng.normal(size=3)
            soma = self.size / 2 + direction / np.linalg.norm(direction) * self.rng.uniform(20e3, 150e3)
        self.neurons.append(
            {
                "neuron_id": identity,
                "nucleus_id": 200_001 + 7 * len(self.neurons),
                "label": label,
                "presynaptic": presynaptic,
                **{f"soma_{axis}_nm": float(value) for axis, value in zip("xyz", soma, strict=True)},
            }
        )
        return identity

    def add_cell(self, kind: int, neuron_id: int = 0) -> int:
        self.cells.append({"kind": kind, "neuron_id": neuron_id, "root_id": neuron_id or self.root_id()})
        return len(self.cells) - 1

    def add_chain(
        self,
        cell: int,
        positions: Sequence[np.ndarray] | np.ndarray,
        radii: Sequence[float] | np.ndarray,
        base: int | None = None,
    ) -> list[int]:
        """Append nodes joined in a row (to node `base` first, if given); returns their indices."""
        first = len(self.position)
        self.position.extend(positions)
        self.radius.extend(radii)
        self.cell.extend([cell] * len(radii))
        nodes = list(range(first, first + len(radii)))
        row = nodes if base is None else [base, *nodes]
        self.edges.extend(zip(row[:-1], row[1:], strict=True))
        return nodes

    def walk(self, through: np.ndarray, direction: np.ndarray, step: float, persistence: float) -> np.ndarray:
        """A smooth random walk both ways from a point until it leaves the modelled box, `[N, 3]`."""
        halves = []
        for sign in (1, -1):
            heading, at = sign * direction / np.linalg.norm(direction), through.copy()
            points: list[np.ndarray] = []
            while len(points) < 400:
                heading = heading + self.rng.normal(0, np.sqrt(step / persistence), 3)
                heading /= np.linalg.norm(heading)
                at = at + step * heading
                points.append(at)
                if np.any(at < self.low) or np.any(at > self.high):
                    break
            halves.append(points)
        return np.array(halves[1][::-1] + [through] + halves[0])

    def anywhere(self) -> np.ndarray:
        return self.rng.uniform(self.low, self.high)

    def undulation(self, n: int, amount: float) -> np.ndarray:
        """Slowly varying factors around 1, `[n]`."""
        values = np.convolve(self.rng.normal(size=n + 8), np.ones(9) / 9, "valid")
        return np.exp(amount * values * np.sqrt(9))

    # -- processes -----------------------------------------------------------------------------------------------
    def add_soma(self) -> None:
        """A pyramidal soma of 10 um whose rim reaches into wide volumes through a vertical edge."""
        if min(self.size[:2]) < 8000:
            return
        radius = 5000.0
        corner = np.where(self.rng.random(2) < 0.5, 0, self.size[:2])
        outward = np.where(corner == 0, -1, 1)
        centre = np.array([*(corner + outward * (radius - 1900) / np.sqrt(2)), self.rng.uniform(0, self.size[2])])
        cell = self.add_cell(SOMA, self.add_neuron(1, False, centre))
        node = self.add_chain(cell, [centre, centre + (0, 600, 0)], [radius, radius])[0]
        self.targets.append((node, False))

    def add_dendrites(self) -> None:
        n = max(round(DENDRITES_PER_UM3 * self.volume), 3)
        n_smooth = max(round(SMOOTH_SHARE * n), 1)
        n_apical = round(APICALS_PER_UM3 * self.volume)
        for index in range(n + n_apical):
            spiny = index >= n_smooth
            apical = index >= n
            cell = self.add_cell(DENDRITE, self.add_neuron(int(spiny), False))
            direction = self.rng.normal(size=3) * (0.3, 1, 0.3) if apical else self.rng.normal(size=3)
            # calibre 0.4-1.0 um, apical trunks 1.2-2 um (Peters et al. 1991)
            mean = self.rng.uniform(600, 950) if apical else np.clip(classes.lognormal(self.rng, 265, 0.28), 170, 480)
            path = self.walk(self.anywhere(), direction, 250.0, 60e3 if apical else 25e3)
            radii = mean * self.undulation(len(path), 0.10)
            nodes = self.add_chain(cell, path, radii)
            self.targets.extend((node, spiny) for node in nodes)

    def add_passersby(self) -> None:
        """Thin neurites of unknown neurons, and myelinated axons."""
        for _ in range(round(MYELINS_PER_UM3 * self.volume)):
            path = self.walk(self.anywhere(), self.rng.normal(size=3), 250.0, 200e3)
            radii = self.rng.uniform(260, 420) * self.undulation(len(path), 0.05)
            self.add_chain(self.add_cell(MYELIN), path, radii)
        for _ in range(round(FILLERS_PER_UM3 * self.volume)):
            path = self.walk(self.anywhere(), self.rng.normal(size=3), STEP_NM, 8e3)
            radii = np.clip(self.rng.uniform(50, 115) * self.undulation(len(path), 0.22), 40, 300)
            self.add_chain(self.add_cell(FILLER), path, radii)

    def add_presynaptic(self, label: int, n_synapses: int) -> None:
        """A neuron with branches of its axon in the volume, as many as its synapses need."""
        rng = self.rng
        neuron = self.add_neuron(label, True)
        cell = self.add_cell(AXON, neuron)
        effects = classes.neuron_effects(rng, label)
        # a neuron's synapses in the box vary around the mean, but stay worth having
        wanted = int(np.clip(round(classes.lognormal(rng, n_synapses, 0.2)), 0.8 * n_synapses, 1.6 * n_synapses))
        found = 0
        for _ in range(60):
            if found >= wanted:
                return
            path = self.walk(rng.uniform(EDGE_NM, self.size - EDGE_NM), rng.normal(size=3), STEP_NM, 12e3)
            found += self._add_branch(label, cell, effects, path, wanted - found)
        raise SimulationError(
            f"source: after 60 branches a neuron has room for {found} of {wanted} synapses; enlarge size_um, or lower "
            "synapses_per_neuron, n_excitatory or n_inhibitory"
        )

    def _add_branch(self, label: int, cell: int, effects: dict[str, float], path: np.ndarray, at_most: int) -> int:
        """Put boutons on one branch where partners are in reach; returns how many synapses it makes."""
        rng = self.rng
        radii = rng.uniform(50, 95) * self.undulation(len(path), 0.12)  # axons of 0.1-0.2 um between boutons
        sites: list[tuple[int, float, Target]] = []
        at = int(rng.integers(3, 10))
        # kept until a partner of that kind is in reach: shafts are rarer there than places for spines
        on_spine = bool(rng.random() < classes.ON_SPINE[label])
        while at < len(path) - 3 and len(sites) < at_most:
            drawn = classes.lognormal(rng, effects["bouton"], classes.BOUTON_RADIUS[label][2])
            bouton = float(np.clip(drawn, 180, 450))
            partner = self._find_partner(path[at], bouton, on_spine)
            if partner is None:
                at += 1
                continue
            sites.append((at, bouton, partner))
            on_spine = bool(rng.random() < classes.ON_SPINE[label])
            at += int(rng.integers(10, 20))  # boutons every 2-3.5 um: denser than most axons, to have enough (chosen)
        if not sites:
            return 0
        for at, bouton, _ in sites:
            along = (np.arange(len(path)) - at) * STEP_NM / (bouton * rng.uniform(1.1, 1.6))
            radii = np.maximum(radii, bouton * np.sqrt(np.clip(1 - along**2, 0, 1)))
        nodes = self.add_chain(cell, path, radii)
        for at, bouton, partner in sites:
            self._connect(label, cell, effects, nodes[at], bouton, partner)
        return len(sites)

    def _find_partner(self, centre: np.ndarray, bouton: float, on_spine: bool) -> Target | None:
        """A partner for a bouton at `centre`."""
        if np.any(np.minimum(centre, self.size - centre) < EDGE_NM + 100) or self._crowded(centre, bouton):
            return None
        listed, tree = self._receivers[on_spine]
        around = tree.query_ball_point(centre, PARTNER_NM + listed[2].max(), return_sorted=True)
        targets, position, radius = (values[np.array(around, int)] for values in listed)
        offset = position - centre
        length = np.linalg.norm(offset, axis=1)
        gap = length - radius
        if not on_spine:
            near = np.flatnonzero(gap < bouton + 500)
            if not len(near):
                return None
            # as likely per length of thin as of thick dendrites, and rather where the bouton need not be moved far
            weight = np.exp(-np.abs(gap[near] - bouton) / 120) / radius[near]
            return int(self.rng.choice(targets[near], p=weight / weight.sum())), None
        head = float(np.clip(classes.lognormal(self.rng, *classes.HEAD_RADIUS), 140, 330))
        near = np.flatnonzero((gap > bouton + 2 * head + 80) & (gap < bouton + 2 * head + 1300))
        for best in sorted(self.rng.choice(near, min(4, len(near)), replace=False), key=lambda i: gap[i]):
            tip = centre + offset[best] / length[best] * packing.contact_distance(bouton, head)
            if not self._crowded(tip, head) and np.all(tip > EDGE_NM) and np.all(tip < self.size - EDGE_NM):
                return int(targets[best]), (tip, head)
        return None

    @functools.cached_property
    def _receivers(self) -> dict[bool, tuple[tuple[np.ndarray, np.ndarray, np.ndarray], KDTree]]:
        """Nodes that may receive on a spine (True) or a shaft (False), their positions and radii; and a search tree."""
        chosen = {}
        for on_spine in (False, True):
            nodes = np.array([node for node, spiny in self.targets if spiny or not on_spine])
            listed = nodes, np.array(self.position)[nodes], np.array(self.radius)[nodes]
            chosen[on_spine] = listed, KDTree(listed[1])
        return chosen

    def _crowded(self, centre: np.ndarray, radius: float) -> bool:
        """Whether a ball would crowd the boutons and heads there are (overlaps of a quarter can still relax)."""
        gaps = np.linalg.norm(self.boutons[:, :3] - centre, axis=1) - self.boutons[:, 3] - radius
        return bool(np.any(gaps < -0.25 * radius))

    def _connect(
        self, label: int, cell: int, effects: dict[str, float], pre_node: int, bouton: float, partner: Target
    ) -> None:
        rng = self.rng
        node, spine = partner
        post_cell, post_node = self.cell[node], node
        self.boutons = np.vstack([self.boutons, [*self.position[pre_node], bouton]])
        width = 260.0  # of a shaft
        if spine:
            tip, head = spine
            width = head
            self.boutons = np.vstack([self.boutons, [*tip, head]])
            base = np.array(self.position[node])
            course = tip - base
            sideways = rng.normal(size=3) * 0.12 * np.linalg.norm(course)
            start = self.radius[node] / np.linalg.norm(course)
            neck = rng.uniform(*classes.NECK_RADIUS)
            steps = np.linspace(start, 1 - 0.9 * head / np.linalg.norm(course), 4)
            points = [base + t * course + np.sin(np.pi * t) * sideways for t in steps]
            lobe = rng.normal(size=3)
            lobe = tip + lobe / np.linalg.norm(lobe) * 0.45 * head  # heads are not spheres
            chain = self.add_chain(
                post_cell, [*points, tip, lobe], [neck * 1.3, neck, neck, neck * 1.3, head, 0.85 * head], base=node
            )
            post_node = chain[4]
        self.junctions.append(
            {
                "pre": cell,
                "post": post_cell,
                "pre_node": pre_node,
                "post_node": post_node,
                "label": label,
                "on_spine": spine is not None,
                **classes.junction(rng, label, effects, min(bouton, width)),
            }
        )

    def finish(self) -> Tissue:
        nodes = packing.Nodes(
            np.array(self.position),
            np.array(self.radius, float),
            np.array(self.cell, np.int64),
            np.array(self.edges, np.int64),
            np.array([(j["pre_node"], j["post_node"]) for j in self.junctions], np.int64).reshape(-1, 2),
        )
        self.add_cell(GLIA)  # last: `field.GLIA`, -1, is its index
        position = packing.relax(nodes, self.low, self.high)
        cells, neurons, junctions = (pd.DataFrame(rows) for rows in (self.cells, self.neurons, self.junctions))
        return Tissue(self.size, cells, neurons, junctions, position, nodes.radius, nodes.cell, nodes.edges)
