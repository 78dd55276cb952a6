"""Temperature scaling (Guo et al. 2017): pure numpy and scipy, so that any later stage may use it on predictions."""

import numpy as np
from scipy.optimize import minimize_scalar

BOUNDS = (0.05, 20.0)  # of the temperature; beyond them the classes are separable, or the logits carry no information


def temperature(logit: np.ndarray, label: np.ndarray) -> float:
    """The T > 0 for which `sigmoid(logit / T)` has the lowest negative log-likelihood, within `BOUNDS`.

    `logit` `[N]` is the log odds of excitatory, `label` `[N]` 1 (excitatory) or 0 (inhibitory), with at least one of
    each class, else ValueError. Logits that separate the classes at zero get the lower bound, since the likelihood
    grows as T falls; uninformative logits get the upper one. T changes neither the ranking nor the side of 0.5 that a
    prediction is on.
    """
    logit, label = np.asarray(logit, dtype=np.float64), np.asarray(label)
    if (
        logit.shape != label.shape
        or logit.ndim != 1
        or not np.isin(label, (0, 1)).all()
        or not np.isfinite(logit).all()
    ):
        raise ValueError("a temperature needs labels 0 or 1 and as many finite logits")
    if len(np.unique(label)) < 2:
        raise ValueError("a temperature needs examples of both classes")
    margin = np.where(label == 1, logit, -logit)

    def negative_log_likelihood(log_t: float) -> float:
        return float(np.logaddexp(0, -margin * np.exp(-log_t)).mean())

    # convex in 1 / T, so there is a single minimum, which may be at a bound
    search = minimize_scalar(negative_log_likelihood, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(search.x))
