"""Temperature scaling (Guo et al. 2017): pure numpy and scipy, so that any later stage may use it on predictions."""

import numpy as np
from scipy.optimize import minimize_scalar

BOUNDS = (0.05, 20.0)  # of the temperature; beyond them the classes are separable, or the logits say nothing


def temperature(logit, label):
    """The T > 0 for which `sigmoid(logit / T)` has the lowest negative log-likelihood, a float within `BOUNDS`.

    `logit` is the log odds of excitatory, `label` 1 (excitatory) or 0 (inhibitory), one a validation synapse, at least
    one of each class, else ValueError. Logits that separate the classes at zero would be best multiplied without end:
    they get the lower bound, and logits that are no better than none the upper one, to five digits. T changes neither
    the ranking nor the side of 0.5 that a prediction is on.
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

    def negative_log_likelihood(log_t):
        return np.logaddexp(0, -margin * np.exp(-log_t)).mean()

    # convex in 1 / T, so there is a single minimum, which may be at a bound
    search = minimize_scalar(negative_log_likelihood, bounds=np.log(BOUNDS), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(search.x))
