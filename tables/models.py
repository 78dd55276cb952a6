"""Models and their training: input, size, loss, epochs and validation AUC of each family."""

import pandas as pd

from pipeline import glue, labels

LOSSES = {"cross_entropy": "cross-entropy", "balanced_bce": "balanced BCE", "focal": "focal"}

study = glue.study("tables/models.py")
families = study.rows("study", "families").set_index("family")
cohort = study.values("cohort")


def training(model):
    """Loss and mixing of a trained model, or the fitted head of a control."""
    if not model.trained:
        return "logistic head"
    mixing = {"MixUp": model.augmentation.mixup_alpha, "CutMix": model.augmentation.cutmix_alpha}
    return ", ".join([LOSSES[model.recipe.loss], *(name for name, alpha in mixing.items() if alpha)])


def epochs(model, low, high):
    """`16 of 24`, or `14 to 18 of 24` for several seeds: the epoch whose weights were kept, of the maximum number."""
    if pd.isna(low):
        return f"at most {model.epochs}"
    kept = glue.count(low).text if low == high else f"{glue.count(low).text} to {glue.count(high).text}"
    return f"{kept} of {model.epochs}"


rows = []
for family, row in families.iterrows():
    model = labels.families(study.config)[family][0]
    dimensionality, sections = labels.input_of(model, study.config)
    rows.append(
        {
            "Model": row["label"],
            "Input": f"{dimensionality}, {sections} section{'s' * (sections > 1)}",
            "Parameters": glue.count(row["parameters"]).text,
            "Loss, mixing": training(model),
            "Epochs": epochs(model, row["best_epoch_low"], row["best_epoch_high"]) if model.trained else "none",
            "Seconds per epoch": glue.number(row["seconds_per_epoch"], 1).text if model.trained else "none",
            "Validation AUC": glue.number(row["validation_auc"]).text,
        }
    )
devices = " and ".join(sorted({device for row in families["device"] for device in row.split(" and ")}))

several = "Several seeds: range of epochs, means of the rest. "
unlisted = "Not listed: models trained on part of the neurons, or given a mask too."
elsewhere = any(model.reads_mask or model.train_share < 1 for model in study.config.models)
crossed = f"Cross-validated: maximum of epochs and mean AUC of {study.config.cohort.n_folds} networks."
study.save_table(
    pd.DataFrame(rows),
    f"""Models ({study.data_phrase}).
    BCE, binary cross-entropy.
    Epochs: kept, of the maximum; seconds in this build ({devices}).
    AUC: on {cohort["n_val_synapses"].text} validation synapses.
    {several if (families["n_networks"] > 1).any() else ""}{crossed if families["folds"].any() else ""}
    {unlisted if elsewhere else ""}""",
)
