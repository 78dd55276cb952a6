"""Share of each model's evidence near the synapse and by structure, beside what even spread would give."""

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
chosen = study.frame("evidence", "chosen")
found = study.frame("evidence", "result").set_index(["kind", "role", "method", "part", "measure"])
near = f"Within {values['reach_nm'].text} nm"


def cells(kind, role, method):
    """The near share with its interval, and the part of each structure, in percent."""
    row = found.loc[(kind, role, method, "near", "share")]
    share = glue.estimate(*(100 * row[["value", "low", "high"]]), 0).text
    split = {part: glue.percent(found.loc[(kind, role, method, part, "share"), "value"], 1) for part in PARTS}
    glue.require(abs(sum(part.value for part in split.values()) - 1) < 1e-6, "the parts of the evidence add up to one")
    return {near: share} | {PARTS[part]: value.text for part, value in split.items()}


rows = []
for kind, models in chosen.groupby("kind", sort=False):
    for model in models.itertuples():
        for method, name in METHODS.items():
            rows.append({"Model": model.label, "Input": kind, "Method": name} | cells(kind, model.role, method))
    rows.append({"Model": "Even spread", "Input": kind, "Method": "none"} | cells(kind, "even", "even"))

study.save_table(
    pd.DataFrame(rows),
    f"""Where the positive evidence for the true class lies ({study.data_phrase}), in percent.
    Mean shares over {values["n_synapses"].text} test synapses of {values["n_neurons"].text} presynaptic neurons: within
    {values["reach_nm"].text} nm of the synapse's true cleft, and in each structure of the whole input; the four
    structures add up to 100.
    Densities are the pre- and postsynaptic ones. "Untrained" models are the controls; even spread is the share of the
    input's volume.
    Input: 2D, one section; 2.5D, several neighbouring sections as channels; 3D, a cube.
    Occlusion hides boxes of {values["box_nm"].text} nm; Grad-CAM, gradient-weighted class activation map.
    {values["n_without_evidence"].text} of the maps have no positive evidence and are left out of their mean.
    Brackets: {study.interval_phrase}.""",
)
