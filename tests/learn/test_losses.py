"""Losses against torch's own, and against their formulas."""

import math

import pytest
import torch
from torch.nn import functional

from pipeline.learn.losses import loss
from pipeline.recipes import ClassifierRecipe as Recipe

RANDOM = torch.Generator().manual_seed(0)
LOGITS = 3 * torch.randn(64, 2, generator=RANDOM)
SOFT = torch.rand(64, generator=RANDOM)
HARD = SOFT.round()
DIFFERENCE = LOGITS[:, 1] - LOGITS[:, 0]


def of(name, logits=LOGITS, target=SOFT, share=0.5, **changes):
    return float(loss(logits, target, Recipe(**{"loss": name, "label_smoothing": 0.0} | changes), share))


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_cross_entropy_is_torchs_with_two_classes(smoothing):
    probabilities = torch.stack([1 - SOFT, SOFT], dim=1)
    expected = functional.cross_entropy(LOGITS, probabilities, label_smoothing=smoothing)
    assert of("cross_entropy", label_smoothing=smoothing) == pytest.approx(float(expected), rel=1e-5)
    expected = functional.cross_entropy(LOGITS, HARD.long(), label_smoothing=smoothing)
    assert of("cross_entropy", target=HARD, label_smoothing=smoothing) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("target", [HARD, SOFT])
def test_focal_without_focus_is_binary_cross_entropy(target):
    expected = functional.binary_cross_entropy_with_logits(DIFFERENCE, target)
    found = of("focal", target=target, focal_gamma=0, focal_alpha=None)
    assert found == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(("label", "alpha"), [(1.0, 0.25), (0.0, 0.75)])
def test_focal_is_its_formula(label, alpha):
    logits = torch.tensor([[0.3, 1.1]])
    p = 1 / (1 + math.exp(-0.8))  # of excitatory
    p_true = p if label else 1 - p
    expected = -alpha * (1 - p_true) ** 2 * math.log(p_true)  # Lin et al. 2017, equation 5
    assert of("focal", logits, torch.tensor([label])) == pytest.approx(expected, rel=1e-5)


def test_balanced_is_unweighted_for_equal_classes_and_weighted_by_inverse_frequency_else():
    assert of("balanced_bce") == pytest.approx(of("cross_entropy"), rel=1e-6)
    share = 0.8  # weights 0.5 / 0.8 and 0.5 / 0.2
    expected = 2.5 * functional.binary_cross_entropy_with_logits(DIFFERENCE, HARD, pos_weight=torch.tensor(0.625 / 2.5))
    assert of("balanced_bce", target=HARD, share=share) == pytest.approx(float(expected), rel=1e-5)


def test_balanced_gives_both_classes_the_same_total_weight():
    labels = torch.tensor([1.0] * 9 + [0.0])
    zero = torch.zeros(10, 2, requires_grad=True)
    loss(zero, labels, Recipe(loss="balanced_bce"), 0.9).backward()
    pull = zero.grad[:, 1]
    assert float(pull[:9].sum()) == pytest.approx(-float(pull[9]), rel=1e-5)


def test_balanced_weighs_a_mixed_example_by_its_parts_and_smoothing_by_none():
    logits, target = torch.tensor([[0.0, 1.0]]), torch.tensor([0.25])
    weight = 0.25 * 0.5 / 0.8 + 0.75 * 0.5 / 0.2
    p = 1 / (1 + math.exp(-1))
    smooth = 0.9 * 0.25 + 0.05
    expected = -weight * (smooth * math.log(p) + (1 - smooth) * math.log(1 - p))
    assert of("balanced_bce", logits, target, 0.8, label_smoothing=0.1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_bce"])
def test_the_best_prediction_of_a_soft_label_is_the_smoothed_label(name):
    p = torch.linspace(0.001, 0.999, 999)
    logits = torch.stack([torch.zeros(999), torch.logit(p)], dim=1)
    values = [of(name, logits[i : i + 1], torch.tensor([0.7]), 0.8, label_smoothing=0.1) for i in range(999)]
    assert float(p[torch.tensor(values).argmin()]) == pytest.approx(0.9 * 0.7 + 0.05, abs=0.002)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_single_class_cannot_be_balanced(share):
    with pytest.raises(ValueError, match="needs both classes"):
        of("balanced_bce", share=share)
