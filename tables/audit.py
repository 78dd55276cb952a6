"""Leakage audit: what the sets of the split have in common."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/audit.py")
values = study.values("cohort")
audit = study.rows("cohort", "audit")
glue.require((audit["shared_presynaptic"] == 0).all(), "no presynaptic neuron is in two sets")

titles = {
    "shared_presynaptic": "Shared presynaptic neurons",
    "shared_postsynaptic": "Shared postsynaptic neurons",
    "overlapping_cubes": "Pairs of overlapping cubes",
    "synapses_in_overlap": "Synapses in such pairs",
}
table = pd.DataFrame({"Sets": audit["sets"]})
for column, title in titles.items():
    table[title] = [glue.count(n).text for n in audit[column]]

study.save_table(
    table,
    f"""Audit of leakage between the sets ({study.data_phrase}; {values["n_synapses"].text} synapses of
    {values["n_neurons"].text} presynaptic neurons).
    Sets may not share a presynaptic neuron, which carries the label; they may share postsynaptic neurons and tissue.
    Last column: synapses of both sets whose cube, the box that a 3D model sees, overlaps one of the other set.""",
)
