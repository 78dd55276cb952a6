"""ROC AUC of connectivity alone, by group of features."""

import pandas as pd

from pipeline import glue

study = glue.study("tables/connectome.py")
values = study.values("connectome")

ROWS = {
    "multiplicity_logistic": ("Multiplicity", "logistic"),
    "post_logistic": ("Post neuron", "logistic"),
    "multiplicity_post_logistic": ("Multiplicity and post neuron", "logistic"),
    "geometry_logistic": ("Soma-to-soma geometry", "logistic"),
    "all_logistic": ("All", "logistic"),
    "all_boosting": ("All", "gradient boosting"),
}
table = pd.DataFrame(
    [
        {
            "Features": words,
            "Model": model,
            "ROC AUC, connections": values[f"{key}_connection"].text,
            "ROC AUC, neurons": values[f"{key}_neuron"].text,
        }
        for key, (words, model) in ROWS.items()
    ]
)

study.save_table(
    table,
    f"""Excitatory or inhibitory, from connectivity alone ({study.data_phrase}):
    {values["n_connections"].text} connections of {values["n_excitatory_neurons"].text} excitatory and
    {values["n_inhibitory_neurons"].text} inhibitory presynaptic neurons, in {values["n_folds"].text} folds by
    presynaptic neuron.
    ROC AUC, area under the receiver operating characteristic curve, of single connections and of neurons scored by the
    mean log odds of their connections; brackets: {study.interval_phrase}.
    Multiplicity: number of synapses of the pair.
    Post neuron: its class, its depth, and the inhibitory share of its inputs in other folds.
    Neither the proofreading of an axon nor its number of connections is a feature.""",
)
