"""The untrained control: an encoder with random weights under a logistic regression.

A random convolutional network already measures texture; what a trained network knows beyond that is its score minus
this one's (a random ResNet-18 reached AUC .858 on MICrONS synapses in SynapseCLR).
"""

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from pipeline.models.registry import Classifier

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C; the best on validation is used, to be fair to the control


def fit(network: Classifier, features: np.ndarray, synapses: pd.DataFrame) -> dict[str, float]:
    """Set the head of `network` to a logistic regression on its standardised features, in place; returns its strength.

    `features` `[N, F]` belong to the rows of `synapses`. The regression sees the `train` rows only; `val` chooses its
    strength by ROC AUC.
    """
    label = synapses["label"].to_numpy()
    train, val = ((synapses["split"] == split).to_numpy() for split in ("train", "val"))
    scaler = StandardScaler().fit(features[train])
    scaled = scaler.transform(features)
    candidates = [
        LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(scaled[train], label[train])
        for strength in STRENGTHS
    ]
    chosen = max(candidates, key=lambda each: roc_auc_score(label[val], each.decision_function(scaled[val])))
    weight = chosen.coef_[0] / scaler.scale_
    bias = chosen.intercept_[0] - weight @ scaler.mean_
    with torch.no_grad():  # half to each class: the difference of the two logits is the regression's
        network.head.weight.copy_(torch.tensor(np.stack([-weight, weight]) / 2))
        network.head.bias.copy_(torch.tensor([-bias, bias]) / 2)
    return {"regression_c": chosen.C}
