"""Models of a presynaptic neuron's class from a table of features: a logistic baseline and a boosted reference."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import statsmodels.api as sm
from numpy.typing import ArrayLike
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.tools.sm_exceptions import ModelWarning
from threadpoolctl import threadpool_limits

from pipeline.connectivity import ConnectivityError


def logistic() -> Pipeline:
    """Logistic regression of standardised features; a small ridge penalty (C = 1) keeps separable data finite."""
    return make_pipeline(_complete(), StandardScaler(), LogisticRegression(max_iter=1000))


def boosting(n_trees: int = 100) -> Pipeline:
    """Gradient-boosted trees: what thresholds and interactions add to the baseline.

    Their number is fixed: early stopping would hold out rows of neurons that are also trained on.
    """
    trees = HistGradientBoostingClassifier(max_iter=n_trees, early_stopping=False, random_state=0)
    return make_pipeline(_complete(), trees)


def out_of_fold(
    label: ArrayLike, fold: ArrayLike, tables: dict[int, pd.DataFrame], model: Callable[[], Pipeline]
) -> np.ndarray:
    """`p_excitatory` [N] of each row from `model()` fitted on the rows of the other folds.

    `tables[k]` are the features of all rows for the model that is scored on fold k: `features.table(..., hidden=k)`.
    """
    label, fold = np.asarray(label), np.asarray(fold)
    probability = np.empty(len(label))
    for number in np.unique(fold):
        held_out, features = fold == number, tables[number].to_numpy()
        with threadpool_limits(1):  # on so little data, threads that wait for each other cost more than they save
            fitted = model().fit(features[~held_out], label[~held_out])
            probability[held_out] = fitted.predict_proba(features[held_out])[:, 1]
    return probability


def coefficients(features: pd.DataFrame, label: ArrayLike, neuron: ArrayLike, confidence: float) -> pd.DataFrame:
    """Logistic regression without penalty: DataFrame `feature, coefficient, low, high, p_value`.

    Coefficients are log odds of excitatory per standard deviation of the feature. Intervals are Wald intervals from
    standard errors clustered by presynaptic neuron (`neuron` [N]). Features that are constant are left out;
    `<feature>_missing` marks imputed values. Raises ConnectivityError where no column is left, where the columns are
    linearly dependent, and where they separate the classes, so that no finite coefficients exist.
    """
    imputer = _complete().set_output(transform="pandas")
    design = imputer.fit_transform(features).rename(
        columns=lambda name: f"{name.removeprefix('missingindicator_')}_missing" if name not in features else name
    )
    design = design.astype(float).loc[:, design.nunique() > 1]
    if design.empty:
        raise ConnectivityError(f"all features are constant: {list(features.columns)}")
    design = design.iloc[:, np.sort(np.unique(design.to_numpy(), axis=1, return_index=True)[1])]  # one of equal columns
    design = sm.add_constant((design - design.mean()) / design.std(ddof=0), prepend=False)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ConnectivityError(f"no coefficients: the columns {list(design.columns)} are linearly dependent")
    groups = pd.factorize(np.asarray(neuron))[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ModelWarning)
        try:
            fitted = sm.Logit(np.asarray(label), design).fit(
                disp=False, cov_type="cluster", cov_kwds={"groups": groups}
            )
        except (ModelWarning, np.linalg.LinAlgError):
            columns = list(design.columns[:-1])
            raise ConnectivityError(f"no finite coefficients: the columns {columns} separate the classes") from None
    interval = fitted.conf_int(1 - confidence).rename(columns={0: "low", 1: "high"})
    found = pd.DataFrame({"coefficient": fitted.params, **interval, "p_value": fitted.pvalues})
    return found.drop(index="const").rename_axis("feature").reset_index()


def _complete() -> SimpleImputer:
    """Unknown values become the mean of the known ones, with a column that says so."""
    return SimpleImputer(add_indicator=True, keep_empty_features=True)
