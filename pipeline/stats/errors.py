"""Which synapses are called wrong: a logistic model of errors that knows that synapses of a neuron go together."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy.optimize import linprog
from scipy.stats import t as student
from statsmodels.genmod.cov_struct import Exchangeable

from pipeline.stats.metrics import PredictionsError

COLUMNS = ("pre_neuron_id", "error")


def odds_ratios(rows: pd.DataFrame, predictors: Sequence[str], confidence: float) -> pd.DataFrame:
    """Odds ratios of an error by a GEE, one row a predictor: `predictor, unit, odds_ratio, low, high, p`.

    `rows` holds one row a synapse: the columns of COLUMNS, `error` being 0 or 1 (or bool), and the `predictors`,
    numbers or booleans. A predictor of two values counts from the lower to the higher (`unit` is "1 against 0"), any
    other per standard deviation ("per 0.31"). The working correlation is exchangeable within presynaptic neurons
    (Liang & Zeger 1986); the covariance is the bias-reduced one of Mancl & DeRouen (2001) and the reference Student's t
    with neurons minus coefficients degrees of freedom, because with few neurons the usual ones are too narrow.

    Raises PredictionsError where columns are missing, constant, not numbers, not finite or combinations of others;
    where all or no synapses are errors; where predictors separate errors from the rest, so
    that no finite odds ratio exists; where there are too few neurons for the coefficients; where the fit fails.
    """
    predictors = list(predictors)
    if missing := [column for column in (*COLUMNS, *predictors) if column not in rows]:
        raise PredictionsError(f"the table of errors lacks the columns {missing}; it has {list(rows.columns)}")
    rows = rows.sort_values("pre_neuron_id", kind="stable")
    if not rows["error"].isin((0, 1)).all() or rows["error"].nunique() < 2:
        raise PredictionsError("`error` must hold 0 and 1, both of them")
    error = rows["error"].to_numpy(dtype=np.float64)
    columns, units = zip(*(_standardised(rows[name], name) for name in predictors), strict=True)
    design = np.column_stack([np.ones(len(rows)), *columns])
    degrees = rows["pre_neuron_id"].nunique() - design.shape[1]
    if degrees < 1:
        raise PredictionsError(f"{len(predictors)} predictors need more than {design.shape[1]} presynaptic neurons")
    _check_design(design, error, predictors)

    model = sm.GEE(error, design, rows["pre_neuron_id"], family=sm.families.Binomial(), cov_struct=Exchangeable())
    fit = model.fit(cov_type="bias_reduced")
    if not fit.converged or not np.isfinite(fit.bse).all():
        raise PredictionsError("the model of errors did not converge; take fewer predictors")
    effect, standard_error = fit.params[1:], fit.bse[1:]
    half = student.ppf((1 + confidence) / 2, degrees) * standard_error
    return pd.DataFrame(
        {
            "predictor": predictors,
            "unit": units,
            "odds_ratio": np.exp(effect),
            "low": np.exp(effect - half),
            "high": np.exp(effect + half),
            "p": 2 * student.sf(np.abs(effect) / standard_error, degrees),
        }
    )


def _standardised(column: pd.Series, name: str) -> tuple[np.ndarray, str]:
    """The predictor on the scale of its odds ratio, and that scale in words."""
    if not (pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)):
        raise PredictionsError(f"predictor {name} holds {column.dtype}, not numbers or booleans")
    values = column.to_numpy(dtype=np.float64, na_value=np.nan)
    if not np.isfinite(values).all():
        raise PredictionsError(f"predictor {name} is missing or infinite in {(~np.isfinite(values)).sum()} synapses")
    levels = np.unique(values)
    if levels.size == 1:
        raise PredictionsError(f"predictor {name} is {levels[0]:g} everywhere: it cannot explain anything")
    if levels.size == 2:
        return (values == levels[1]).astype(float), f"{levels[1]:g} against {levels[0]:g}"
    return (values - values.mean()) / values.std(), f"per {values.std():.2g}"


def _check_design(design: np.ndarray, error: np.ndarray, predictors: list[str]) -> None:
    """PredictionsError on collinear predictors, and on separation (linear programme of Konis 2007)."""
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise PredictionsError(f"some of the predictors {predictors} are combinations of others: leave one out")
    signed = np.where(error == 1, 1, -1)[:, None] * design
    alone = [[column] for column in range(1, design.shape[1])]
    for columns in [*alone, list(range(1, design.shape[1]))]:
        these = signed[:, [0, *columns]]
        separating = linprog(-these.sum(axis=0), A_ub=-these, b_ub=np.zeros(len(these)), bounds=(-1, 1))
        if -separating.fun > 1e-6:
            names = [predictors[column - 1] for column in columns]
            raise PredictionsError(f"predictors {names} separate errors from the rest: an odds ratio is infinite")
