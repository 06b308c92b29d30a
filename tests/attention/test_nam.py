from __future__ import annotations

import math

import numpy as np

from sweep.attention.nam import NAM, NAMConfig

from .loops import array, batch_norm, feature_map, randomised, sigmoid


def test_loop_from_the_equations_in_eval() -> None:
    module = randomised(NAM(6, NAMConfig()))
    gamma = array(module.norm.weight)
    assert gamma.min() < 0  # so that the absolute value matters
    x = feature_map(2, 6, 3, 5)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        normed = batch_norm(image, module.norm)  # Eq. 1
        for c, row, column in np.ndindex(image.shape):
            weight = abs(gamma[c]) / sum(abs(other) for other in gamma)
            gate = sigmoid(weight * normed[c, row, column])  # Eq. 2
            expected[b, c, row, column] = image[c, row, column] * gate
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-12)


def test_batch_statistics_in_training_by_hand() -> None:
    # Each channel holds -1 and 1, or 1 and 5: normalised, both are -1 and 1. Both weights are 1/2.
    module = NAM(2, NAMConfig()).double().train()
    module.norm.eps = 1e-30  # torch refuses 0 here
    x = feature_map(2, 2, 1, 1)
    x[:, :, 0, 0] = x.new_tensor([[-1, 1], [1, 5]])
    low, high = 1 / (1 + math.sqrt(math.e)), 1 / (1 + 1 / math.sqrt(math.e))
    np.testing.assert_allclose(
        array(module(x))[:, :, 0, 0], [[-low, low], [high, 5 * high]], rtol=1e-14
    )


def test_no_gradient_through_the_channel_weights() -> None:
    # d out / d gamma_c only through BN: the normalised value times weight, gate slope and x.
    module = randomised(NAM(3, NAMConfig()))
    x = feature_map(1, 3, 2, 2)
    module(x).sum().backward()
    gamma, norm, image = array(module.norm.weight), module.norm, array(x)[0]
    normed = batch_norm(image, norm)
    for c in range(3):
        weight = abs(gamma[c]) / sum(abs(other) for other in gamma)
        expected = 0.0
        for row, column in np.ndindex(2, 2):
            gate = sigmoid(weight * normed[c, row, column])
            standard = (normed[c, row, column] - array(norm.bias)[c]) / gamma[c]
            expected += image[c, row, column] * gate * (1 - gate) * weight * standard
        np.testing.assert_allclose(array(norm.weight.grad)[c], expected, rtol=1e-10)
