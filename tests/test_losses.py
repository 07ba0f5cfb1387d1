import numpy as np
import torch
from scipy.special import expit, log_softmax

from neuronlab.losses import bce, cross_entropy, mae, mse

RNG = np.random.default_rng(0)
OUTPUT, BINARY = RNG.normal(size=(7, 1)) * 3, RNG.integers(0, 2, size=(7, 1)).astype(float)


def test_mse_and_mae_are_means_over_all_numbers() -> None:
    x, y = torch.tensor(OUTPUT), torch.tensor(BINARY)
    np.testing.assert_allclose(mse(x, y), ((OUTPUT - BINARY) ** 2).mean())
    np.testing.assert_allclose(mae(x, y), np.abs(OUTPUT - BINARY).mean())


def test_bce_is_the_log_likelihood_of_the_sigmoid() -> None:
    p = expit(OUTPUT)
    expected = -(BINARY * np.log(p) + (1 - BINARY) * np.log(1 - p)).mean()
    np.testing.assert_allclose(bce(torch.tensor(OUTPUT), torch.tensor(BINARY)), expected)


def test_bce_of_a_large_logit_is_the_logit() -> None:
    # the probability is 1 to the last digit: from it, the loss would be infinite
    np.testing.assert_allclose(bce(torch.tensor([[200.0]]), torch.tensor([[0.0]])), 200.0)


def test_cross_entropy_is_the_log_likelihood_of_the_softmax() -> None:
    logits, classes = RNG.normal(size=(7, 3)), RNG.integers(0, 3, size=7)
    expected = -log_softmax(logits, axis=1)[np.arange(7), classes].mean()
    np.testing.assert_allclose(cross_entropy(torch.tensor(logits), torch.tensor(classes)), expected)
