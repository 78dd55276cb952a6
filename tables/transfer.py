"""Networks trained on this edition's data, applied to real synapses, and baselines without a network."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/transfer.py", on_data=True)
values = study.values("transfer")
families = study.rows("transfer", "families")
baselines = study.rows("transfer", "baselines")
COLUMNS = {"all": "All", "shaft": "Shaft", "all_matched": "All, matched", "shaft_matched": "Shaft, matched"}

rows = []
for family in families.itertuples():
    label = f"**{family.label}**" if family.best else family.label
    cells = {title: values[f"{family.family}_{suffix}"].text for suffix, title in COLUMNS.items()}
    validation = glue.number(family.validation_auc).text
    rows.append({"Score": label, "Input": family.dimensionality, "Validation": validation} | cells)
for baseline, label in baselines.groupby("baseline", sort=False)["label"].first().items():
    known = {title: values.get(f"{baseline}_{suffix}") for suffix, title in COLUMNS.items()}
    cells = {title: value.text if value else "–" for title, value in known.items()}
    rows.append({"Score": f"Baseline: {label[0].lower()}{label[1:]}", "Input": "–", "Validation": "–"} | cells)


def sample(subset):
    """`66 excitatory synapses of 41 axons and 5 inhibitory ones of 3`"""
    n = {name: values[f"n_{subset}_{name}"].text for name in glue.CLASSES.values()}
    axons = {name: values[f"n_{subset}_{name}_axons"].text for name in glue.CLASSES.values()}
    return (
        f"{n['excitatory']} excitatory synapses of {axons['excitatory']} axons and {n['inhibitory']} inhibitory ones "
        f"of {axons['inhibitory']}"
    )


unknown = int(values["n_synapses"].value) - int(values["n_grey_post_all"].value)
study.save_table(
    pd.DataFrame(rows),
    f"""Networks trained on {study.data_phrase} alone, applied unchanged to real electron microscopy (the folder
    {values["volume"].text}): area under the receiver operating characteristic curve, with excitatory as the positive
    class.
    All, {sample("all")}; shaft, those on dendritic shafts: {sample("shaft")}.
    Brackets: {study.interval_phrase}; here the neurons are axons.
    With so few axons of a class differences of a tenth mean little, and their intervals are too narrow.
    Input: 2D, one section; 2.5D, several sections as channels; 3D, a cube.
    Validation, the area under the same curve on held-out neurons of the training data; bold, for each input, the
    trained network with the highest one: nothing was chosen on the real synapses.
    Untrained networks have random weights under a logistic head fitted to the training data.
    Matched, the real grey levels were mapped to those of the training images by one monotone curve for the whole
    volume.
    Baselines need no network: low mean grey level of the postsynaptic cell within 100 nm of the synapse (unknown for
    {unknown} of them, where that cell is further away), weak texture of the presynaptic cell within 300 nm (mean
    squared deviation from the mean over 40 nm; radius, scale and direction were set with these synapses in view, which
    favours it), and lying on a spine.""",
)
