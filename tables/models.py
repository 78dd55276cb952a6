"""The models: what was trained, for how long, and what was chosen on validation."""

import pandas as pd

from pipeline import glue

INPUTS = {"resnet18": "2D patch", "unet3d": "3D cube"}

study = glue.study("tables/models.py")
runs = study.frame("performance", "runs").set_index("model")
validation = study.values("cohort")

rows = []
for model in study.config.models:
    run = runs.loc[model.name]
    rows.append(
        {
            "Model": run["label"],
            "Input": INPUTS[model.network],
            "Parameters": glue.count(run["parameters"]).text,
            "Epochs": f"{glue.count(run['best_epoch']).text} of {model.epochs}" if model.trained else "none",
            "Seconds per epoch": glue.number(run["seconds_per_epoch"], 1).text if model.trained else "none",
            "Threshold τ": glue.number(run["tau"]).text,
            "Validation AUC": glue.number(run["validation_auc"]).text,
        }
    )
devices = " and ".join(sorted(runs["device"].unique()))

study.save_table(
    pd.DataFrame(rows),
    f"""Models ({study.data_phrase}).
    "Untrained" models are the controls: random weights under a fitted logistic head.
    Epochs: the one whose weights were kept, of the most allowed; seconds were measured on this build ({devices}).
    The threshold τ maximises balanced accuracy on the {validation["n_val_synapses"].text} validation synapses of
    {validation["n_val_neurons"].text} presynaptic neurons; AUC is the area under the receiver operating characteristic
    curve on the same synapses, by which the best model was chosen.""",
)
