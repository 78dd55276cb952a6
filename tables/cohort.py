"""Neurons and synapses of each class in each set of the split."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/cohort.py")
values = study.values("cohort")
splits = study.rows("cohort", "splits")
glue.require(values["n_shared_presynaptic"].value == 0, "no presynaptic neuron is in two sets")

table = pd.DataFrame({"Set": splits["set"].unique()})
for name in glue.CLASSES.values():
    of_class = splits[splits["class"] == name].set_index("set").loc[table["Set"]]
    for column in ("neurons", "synapses"):
        table[f"{name.capitalize()} {column}"] = [glue.count(n).text for n in of_class[column]]
    table[f"Median per {name} neuron"] = [
        "none" if pd.isna(n) else glue.number(n, 0).text for n in of_class["median_per_neuron"]
    ]

study.save_table(
    table,
    f"""Cohort ({study.data_phrase}): presynaptic neurons of each class and their synapses, {values["n_synapses"].text}
    synapses of {values["n_neurons"].text} neurons in total.
    Medians are numbers of synapses per neuron.
    A neuron is in one set only; thresholds and the best model are chosen on validation.""",
)
