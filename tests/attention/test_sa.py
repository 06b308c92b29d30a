from __future__ import annotations

import numpy as np
import pytest
import torch

from sweep.attention.sa import SA, SAConfig

from .loops import array, feature_map, group_norm, mean, randomised, sigmoid


@pytest.mark.parametrize("part", ["", "no channel", "no spatial"])
@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_loop_from_the_equations(groups: int, part: str) -> None:
    channels = 12
    without = SAConfig.parts[part] if part else {}
    module = randomised(SA(channels, SAConfig(groups=groups, **without)))
    size = channels // groups
    half = size // 2
    x = feature_map(2, channels, 3, 5)
    learnt = {name: array(parameter).ravel() for name, parameter in module.named_parameters()}
    assert {parameter.shape for parameter in learnt.values()} == {(half,)}
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        attended = np.zeros(image.shape)
        for group in range(groups):
            for i in range(half):
                c = group * size + i
                attended[c] = image[c]
                if part != "no channel":  # Eqs. 1-2
                    w_1, b_1 = learnt["channel_weight"], learnt["channel_bias"]
                    attended[c] *= sigmoid(w_1[i] * mean(image[c]) + b_1[i])
            start = group * size + half
            attended[start : start + half] = image[start : start + half]
            if part == "no spatial":
                continue
            w_2, b_2 = learnt["spatial_weight"], learnt["spatial_bias"]
            scale, shift = learnt["norm.weight"], learnt["norm.bias"]
            normed = group_norm(image[start : start + half], half, scale, shift)
            for i, row, column in np.ndindex(normed.shape):  # Eq. 3
                gate = sigmoid(w_2[i] * normed[i, row, column] + b_2[i])
                attended[start + i, row, column] *= gate
        for i in range(channels // 2):  # channel shuffle
            expected[b, 2 * i] = attended[i]
            expected[b, 2 * i + 1] = attended[channels // 2 + i]
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-11)


def test_starts_as_a_shuffle_scaled_by_one_gate() -> None:
    # Weights 0 and biases 1: every gate is sigmoid(1) = 0.731058578630005.
    x = torch.arange(1.0, 9.0, dtype=torch.float64).reshape(1, 8, 1, 1)
    out = SA(8, SAConfig(groups=2)).double()(x)
    expected = [0.731058578630005 * value for value in (1, 5, 2, 6, 3, 7, 4, 8)]
    np.testing.assert_allclose(array(out).ravel(), expected, rtol=1e-14)
