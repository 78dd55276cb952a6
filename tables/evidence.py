"""Share of each model's evidence near the synapse and by structure, compared with evenly spread evidence."""

import pandas as pd

from pipeline import glue

METHODS = {"occlusion": "occlusion", "grad_cam": "Grad-CAM"}
PARTS = {
    "synapse": "Cleft, densities",
    "vesicles": "Vesicles",
    "mitochondria": "Mitochondria",
    "elsewhere": "Elsewhere",
}

study = glue.study("tables/evidence.py")
values = study.values("evidence")
chosen = study.rows("evidence", "chosen")
found = study.rows("evidence", "result").set_index(["dimensionality", "role", "method", "part", "measure"])
near = f"Within {values['reach_nm'].text} nm"


def cells(*network):
    """Share near the synapse with its interval, and share in each structure, in percent, of one network and method."""
    share = glue.estimate_of(100 * found.loc[(*network, "near", "share"), glue.ESTIMATE], 0).text
    split = {part: glue.percent(found.loc[(*network, part, "share"), "value"], 1) for part in PARTS}
    glue.require(abs(sum(part.value for part in split.values()) - 1) < 1e-6, "the parts of the evidence add up to one")
    return {near: share} | {PARTS[part]: value.text for part, value in split.items()}


rows = []
for seen, models in chosen.groupby("dimensionality", sort=False):
    for model in models.itertuples():
        for method, name in METHODS.items():
            rows.append({"Model": model.label, "Input": seen, "Method": name} | cells(seen, model.role, method))
    rows.append({"Model": "Even spread", "Input": seen, "Method": "none"} | cells(seen, "even", "even"))

study.save_table(
    pd.DataFrame(rows),
    f"""Location of the positive evidence for the true class ({study.data_phrase}), in percent: means over
    {values["n_synapses"].text} test synapses of {values["n_neurons"].text} presynaptic neurons, within
    {values["reach_nm"].text} nm of the true cleft and in each structure of the input.
    Even spread: share of the input's volume.
    {values["n_without_evidence"].text} maps without positive evidence are left out.
    Brackets: {study.interval_phrase}.""",
)
