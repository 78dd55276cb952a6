"""The threshold against a brute-force sweep over every distinct decision."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from pipeline.learn.threshold import best_threshold


@pytest.mark.parametrize("seed", range(10))
def test_no_threshold_does_better(seed):
    rng = np.random.default_rng(seed)
    label = np.append(rng.integers(0, 2, 40), [0, 1])
    p = np.round(np.clip(rng.normal(0.3 + 0.3 * label, 0.25), 0, 1), 2)  # rounded: many ties
    tau = best_threshold(label, p)
    sweep = [balanced_accuracy_score(label, p >= t) for t in np.arange(-1, 204) / 200]  # finer than p is rounded
    assert balanced_accuracy_score(label, p >= tau) == pytest.approx(max(sweep))


def test_ties_go_to_the_candidate_nearest_one_half():
    assert best_threshold([0, 0, 1, 1], [0.1, 0.3, 0.5, 0.9]) == pytest.approx(0.4)  # the only perfect one
    # 0.2 | 0.3 and 0.7 | 0.8 are equally good; both middles are 0.25 away from one half, and the lower wins
    assert best_threshold([0, 1, 0, 1], [0.2, 0.3, 0.7, 0.8]) == pytest.approx(0.25)


def test_neighbouring_floats_are_still_told_apart():
    low = 0.7
    high = np.nextafter(low, 1)
    tau = best_threshold([0, 1], [low, high])
    assert not low >= tau
    assert high >= tau


@pytest.mark.parametrize(
    ("label", "p", "text"),
    [([1, 1], [0.1, 0.2], "both classes"), ([0, 1], [0.1, np.nan], "finite"), ([0, 2], [0.1, 0.2], "labels 0 or 1")],
)
def test_input_without_a_threshold_is_refused(label, p, text):
    with pytest.raises(ValueError, match=text):
        best_threshold(label, p)
