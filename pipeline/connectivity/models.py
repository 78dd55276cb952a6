"""Models of a presynaptic neuron's class from a table of features: a logistic baseline and a boosted reference."""

import warnings

import numpy as np
import pandas as pd
import statsmodels.api as sm
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.tools.sm_exceptions import ModelWarning
from threadpoolctl import threadpool_limits


class ModelError(ValueError):
    """Features or labels that no model can be fitted to; the text says which."""


def logistic():
    """Logistic regression of standardised features; the small ridge penalty (C = 1) only tames separable data."""
    return make_pipeline(_complete(), StandardScaler(), LogisticRegression(max_iter=1000))


def boosting(n_trees=100):
    """Gradient-boosted trees: what thresholds and interactions add to the baseline.

    Their number is fixed, since the library's early stopping would share the neurons out between trees and stopping.
    """
    trees = HistGradientBoostingClassifier(max_iter=n_trees, early_stopping=False, random_state=0)
    return make_pipeline(_complete(), trees)


def out_of_fold(label, fold, tables, model):
    """`p_excitatory` [N] of each row from `model()` fitted on the rows of the other folds.

    `tables[k]` are the features of all rows for the model that is scored on fold k: `features.table(..., hidden=k)`.
    """
    label, fold = np.asarray(label), np.asarray(fold)
    probability = np.empty(len(label))
    for number, features in tables.items():
        held_out = fold == number
        if len(np.unique(label[~held_out])) < 2:
            raise ModelError(f"without fold {number} there is one class only; a model needs both")
        with threadpool_limits(1):  # on so little data, threads that wait for each other cost more than they save
            fitted = model().fit(features.to_numpy()[~held_out], label[~held_out])
            probability[held_out] = fitted.predict_proba(features.to_numpy()[held_out])[:, 1]
    if left := set(fold.tolist()) - set(tables):
        raise ModelError(f"no features for the models of folds {sorted(left)}")
    return probability


def coefficients(features, label, neuron, confidence):
    """Logistic regression without penalty: DataFrame `feature, coefficient, low, high, p_value`.

    Coefficients are log odds of excitatory per standard deviation of the feature. Intervals are Wald intervals from
    standard errors clustered by presynaptic neuron (`neuron` [N]). Features that are constant are left out;
    `<feature>_missing` marks imputed values. Raises ModelError where no column is left, where the columns are linearly
    dependent, and where they separate the classes, so that no finite coefficients exist.
    """
    imputer = _complete().set_output(transform="pandas")
    design = imputer.fit_transform(features).rename(
        columns=lambda name: f"{name.removeprefix('missingindicator_')}_missing" if name not in features else name
    )
    design = design.astype(float).loc[:, design.nunique() > 1]
    if design.empty:
        raise ModelError(f"all features are constant: {list(features.columns)}")
    design = design.iloc[:, np.sort(np.unique(design.to_numpy(), axis=1, return_index=True)[1])]  # one of equal columns
    design = sm.add_constant((design - design.mean()) / design.std(ddof=0), prepend=False)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ModelError(f"coefficients are not defined: the columns {list(design.columns)} are linearly dependent")
    groups = pd.factorize(np.asarray(neuron))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        try:
            fitted = sm.Logit(np.asarray(label), design).fit(
                disp=False, cov_type="cluster", cov_kwds={"groups": groups}
            )
        except (ModelWarning, np.linalg.LinAlgError):
            columns = list(design.columns[:-1])
            raise ModelError(f"coefficients are not finite: the columns {columns} separate the classes") from None
    interval = fitted.conf_int(1 - confidence).rename(columns={0: "low", 1: "high"})
    found = pd.DataFrame({"coefficient": fitted.params, **interval, "p_value": fitted.pvalues})
    return found.drop(index="const").rename_axis("feature").reset_index()


def _complete():
    """Unknown values become the mean of the known ones, with a column that says so."""
    return SimpleImputer(add_indicator=True, keep_empty_features=True)
