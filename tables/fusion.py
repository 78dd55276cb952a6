"""Gain from each further step of knowledge about the wiring over the image alone."""

import pandas as pd

from pipeline import glue

STEPS = {
    "alone": "Image alone",
    "synapse": "+ synapse",
    "post": "+ post neuron",
    "axon": "+ whole axon",
}
MODELS = {"logistic": "No image, logistic", "boosting": "No image, boosting"}
KNOWN = {"all": "all", "no_spine": "without spines"}

study = glue.study("tables/fusion.py")
values = study.values("fusion")
shaft = "all_shaft_alone_roc_auc" in values


def gain(name):
    """`0.04 [0.02, 0.07], p = 0.002`, or a dash for scores that are not compared."""
    return f"{values[name].text}, {values[f'{name}_p'].text}" if name in values else "–"


rows = []
for known, words in KNOWN.items():
    if f"{known}_all_alone_roc_auc" not in values:
        continue
    for step, title in {**STEPS, **MODELS}.items():
        if step == "alone" and known != "all":
            continue  # the image alone has no features
        prefix = f"{step}_{known}" if step in MODELS else known
        suffix = "" if step in MODELS else f"_{step}"
        cells = {"Score": title, "Features": "none" if step == "alone" else words}
        cells["AUC"] = values[f"{prefix}_all{suffix}_roc_auc"].text
        cells["Gain in AUC"] = gain(f"gain_{known}_all_{step}_roc_auc")
        balanced = values.get(f"{prefix}_all{suffix}_balanced_accuracy")
        cells["Balanced accuracy"] = balanced.text if balanced else "–"
        if shaft:
            cells["AUC, shafts"] = values[f"{prefix}_shaft{suffix}_roc_auc"].text
        rows.append(cells)

spine = "Without spines: no features of spines. "
of_shaft = (
    f"""Shafts: synapses off spines ({values["n_shaft_excitatory"].text} excitatory,
{values["n_shaft_inhibitory"].text} inhibitory). """
    if shaft
    else ""
)
study.save_table(
    pd.DataFrame(rows),
    f"""{values["image_model"].text} stacked with features of connectivity ({study.data_phrase}), by what must be
    known; below, these features without the image.
    Gain: difference from the image alone; p: permutation test by neurons, adjusted by Holm's method.
    {spine if "no_spine_all_alone_roc_auc" in values else ""}{of_shaft}Brackets: {study.interval_phrase}.""",
)
