"""Temperature scaling against a known temperature, a brute-force grid, and what it must not change."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss

from pipeline.learn.calibrate import BOUNDS, temperature


def drawn(n, true, seed):
    """Logits and labels of a model that is overconfident by the factor `true`."""
    rng = np.random.default_rng(seed)
    honest = rng.normal(0.5, 1.5, n)
    return true * honest, (rng.random(n) < expit(honest)).astype(int)


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_recovers_the_temperature_that_data_were_drawn_with(true):
    assert temperature(*drawn(40_000, true, 0)) == pytest.approx(true, rel=0.04)


@pytest.mark.parametrize("seed", range(5))
def test_no_temperature_of_a_grid_does_better(seed):
    logit, label = drawn(60, 2.5, seed)
    grid = np.geomspace(*BOUNDS, 401)
    scores = [log_loss(label, expit(logit / t)) for t in grid]
    found = temperature(logit, label)
    assert found == pytest.approx(grid[np.argmin(scores)], rel=0.01)
    assert log_loss(label, expit(logit / found)) <= min(scores) + 1e-9


def test_scaling_the_logits_scales_the_temperature():
    logit, label = drawn(500, 1.0, 1)
    assert temperature(3 * logit, label) == pytest.approx(3 * temperature(logit, label), rel=1e-4)


def test_separable_and_useless_logits_get_the_bounds():
    label = np.array([0, 0, 1, 1])
    assert temperature([-2.0, -1.0, 1.0, 2.0], label) == pytest.approx(BOUNDS[0])
    assert temperature([2.0, 1.0, -1.0, -2.0], label) == pytest.approx(BOUNDS[1])


@pytest.mark.parametrize(
    ("logit", "label", "text"),
    [
        ([0.1, 0.2], [0, 2], "labels 0 or 1"),
        ([0.1, np.inf], [0, 1], "finite"),
        ([0.1, 0.2, 0.3], [0, 1], "as many"),
        ([[0.1, 0.2]], [[0, 1]], "as many"),
        ([0.1, 0.2], [1, 1], "both classes"),
    ],
)
def test_input_without_a_temperature_is_refused(logit, label, text):
    with pytest.raises(ValueError, match=text):
        temperature(logit, label)
