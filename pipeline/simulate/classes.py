"""What distinguishes excitatory (1) from inhibitory (0) synapses, and how much neurons of a class differ.

Sources as in `tissue`; "chosen" marks the rest.
"""

#: Share of junctions on spines. E: 85 of 96 in AC3 (Kasthuri et al. 2015). I: 0 of 10 there, but a few per cent of
#: cortical inhibitory synapses share a spine (Villa et al. 2016).
ON_SPINE = {1: 0.885, 0: 0.03}

#: Means, and standard deviations between neurons, synapses of a neuron and (vesicles only) single vesicles.
#: E: round vesicles of 35-50 nm; I: smaller, flattened by aldehyde (Colonnier 1968; Peters et al. 1991; Harris &
#: Weinberg 2012). The spreads are chosen, so that classes overlap and a neuron's synapses resemble each other.
VESICLE_DIAMETER = {1: (40.0, 1.4, 1.2, 2.5), 0: (36.0, 1.7, 1.4, 3.5)}
VESICLE_FLATNESS = {1: (1.10, 0.05, 0.05, 0.07), 0: (1.40, 0.12, 0.10, 0.25)}  # long over short axis
#: Log-normal: median and spreads. Asymmetric density 25-45 nm, symmetric one thin (Colonnier 1968; Harris & Weinberg).
PSD_THICKNESS = {1: (37.0, 0.15, 0.25), 0: (13.5, 0.20, 0.32)}
#: Vesicles per um3 of bouton, log-normal (chosen to look as dense as AC3's boutons).
VESICLES_PER_UM3 = {1: (3800.0, 0.22, 0.20), 0: (3500.0, 0.25, 0.20)}
BOUTON_RADIUS = {1: (275.0, 0.10, 0.16), 0: (280.0, 0.10, 0.16)}  # boutons of 0.4-1.0 um (Peters et al. 1991)
HEAD_RADIUS = (200.0, 0.22)  # spine heads of 0.3-0.6 um
NECK_RADIUS = (50.0, 75.0)  # spine necks of 0.1-0.15 um
