"""What distinguishes excitatory (1) from inhibitory (0) synapses, and how much neurons of a class differ.

Sources as in `tissue`; "chosen" marks the rest.
"""

import numpy as np

#: Share of junctions on spines. E: 85 of 96 in AC3 (Kasthuri et al. 2015). I: 0 of 10 there, but a few per cent of
#: cortical inhibitory synapses share a spine (Villa et al. 2016).
ON_SPINE = {1: 0.885, 0: 0.03}

#: Means, and standard deviations between neurons, synapses of a neuron and (vesicles only) single vesicles.
#: E: round vesicles of 35-50 nm; I: smaller, flattened by aldehyde (Colonnier 1968; Peters et al. 1991; Harris &
#: Weinberg 2012). The spreads are chosen, so that classes overlap and a neuron's synapses resemble each other.
VESICLE_DIAMETER = {1: (40.0, 1.4, 1.2, 2.5), 0: (36.0, 1.7, 1.4, 3.5)}
VESICLE_FLATNESS = {1: (1.10, 0.05, 0.05, 0.07), 0: (1.40, 0.12, 0.10, 0.25)}  # long over short axis
#: Log-normal: median and spreads. Asymmetric density 25-45 nm, symmetric one thin (Colonnier 1968; Harris & Weinberg).
PSD_THICKNESS = {1: (25.0, 0.15, 0.20), 0: (10.0, 0.20, 0.25)}
#: Greys by which a density is darker than the cytoplasm, log-normal. At 8 x 8 x 40 nm it is a faint thickening of the
#: membrane: from the profile across the junctions of kasthuri_ac3, nearly all of which are excitatory, and with which
#: those of minnie65 agree (`extract.junction`). Symmetric densities stain less; by how much is chosen.
PSD_DARKNESS = {1: (49.0, 0.15, 0.20), 0: (28.0, 0.20, 0.25)}
#: Vesicles per um3 of bouton, log-normal (chosen to look as dense as AC3's boutons).
VESICLES_PER_UM3 = {1: (6200.0, 0.25, 0.22), 0: (5700.0, 0.25, 0.22)}
VESICLE_WALL = (100.0, 0.12, 0.08)  # greys by which its wall is darker than the cytoplasm, likewise, for both classes
BOUTON_RADIUS = {1: (252.0, 0.12, 0.16), 0: (258.0, 0.12, 0.16)}  # boutons of 0.4-1.0 um (Peters et al. 1991)
#: Share of boutons with a mitochondrion: about half of excitatory ones (Shepherd & Harris 1998); in inhibitory axons
#: they are more and larger, as fast-spiking cells need (Gulyas et al. 2006; by how much is chosen).
BOUTON_MITOCHONDRION = {1: 0.45, 0: 0.65}
MITOCHONDRION_RADIUS = {1: (75.0, 130.0), 0: (90.0, 150.0)}  # nm
#: Of a junction's radius: symmetric ones have some 20 per cent less area (Santuy et al. 2018).
RADIUS_SHARE = {1: 1.0, 0: 0.9}
HEAD_RADIUS = (200.0, 0.22)  # spine heads of 0.3-0.6 um
NECK_RADIUS = (50.0, 75.0)  # spine necks of 0.1-0.15 um


def lognormal(rng: np.random.Generator, median: float, sigma: float) -> float:
    return median * np.exp(rng.normal(0, sigma))


def neuron_effects(rng: np.random.Generator, label: int) -> dict[str, float]:
    """The means of one neuron, around which its synapses vary."""
    return {
        "bouton": lognormal(rng, *BOUTON_RADIUS[label][:2]),
        "density": lognormal(rng, *VESICLES_PER_UM3[label][:2]),
        "psd": lognormal(rng, *PSD_THICKNESS[label][:2]),
        "darkness": lognormal(rng, *PSD_DARKNESS[label][:2]),
        "wall": lognormal(rng, *VESICLE_WALL[:2]),
        "diameter": rng.normal(*VESICLE_DIAMETER[label][:2]),
        "flatness": rng.normal(*VESICLE_FLATNESS[label][:2]),
    }


def junction(rng: np.random.Generator, label: int, effects: dict[str, float], width: float) -> dict[str, float]:
    """What a synapse of a neuron with these `effects` looks like; `width` (nm) is that of its smaller partner."""
    diameter = effects["diameter"] + rng.normal(0, VESICLE_DIAMETER[label][2])
    flatness = max(effects["flatness"] + rng.normal(0, VESICLE_FLATNESS[label][2]), 1.0)
    # active zones of 0.2-0.5 um (Harris & Weinberg 2012), never wider than the smaller partner's face
    return {
        "radius": float(RADIUS_SHARE[label] * np.clip(width * rng.uniform(0.85, 1.25), 130, 300)),
        "psd_thickness_nm": float(np.clip(lognormal(rng, effects["psd"], PSD_THICKNESS[label][2]), 6, 60)),
        "psd_darkness": float(np.clip(lognormal(rng, effects["darkness"], PSD_DARKNESS[label][2]), 8, 110)),
        "vesicle_wall": float(np.clip(lognormal(rng, effects["wall"], VESICLE_WALL[2]), 50, 180)),
        "vesicle_diameter_nm": float(np.clip(diameter, 26, 52)),
        "vesicle_flatness": float(flatness),
        "vesicles_per_um3": float(lognormal(rng, effects["density"], VESICLES_PER_UM3[label][2])),
    }
