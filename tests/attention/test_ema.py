from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sweep.attention.ema import EMA, EMAConfig

from .loops import (
    array,
    conv1d,
    conv2d,
    feature_map,
    group_norm,
    mean,
    randomised,
    sigmoid,
    softmax,
    strips,
)


@pytest.mark.parametrize("cross_spatial", [True, False])
@pytest.mark.parametrize("factor", [1, 2, 6])
def test_loop_from_the_equations(factor: int, cross_spatial: bool) -> None:
    channels, height, width = 6, 3, 5
    c = channels // factor
    module = randomised(EMA(channels, EMAConfig(factor=factor, cross_spatial=cross_spatial)))
    x = feature_map(2, channels, height, width)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        for start in range(0, channels, c):
            group = image[start : start + c]
            z = np.concatenate(strips(group), axis=1)  # Eqs. 1-2
            a = conv1d(z, array(module.conv1x1.weight), array(module.conv1x1.bias))
            gated = np.zeros(group.shape)
            for i, row, column in np.ndindex(group.shape):
                gates = sigmoid(a[i, row]) * sigmoid(a[i, height + column])
                gated[i, row, column] = group[i, row, column] * gates
            x_1 = group_norm(gated, c, array(module.norm.weight), array(module.norm.bias))
            x_3 = conv2d(group, array(module.conv3x3.weight), array(module.conv3x3.bias), padding=1)
            weights_1 = softmax([mean(channel) for channel in x_1])  # Eq. 3
            weights_3 = softmax([mean(channel) for channel in x_3])
            for i, row, column in np.ndindex(group.shape):
                if cross_spatial:
                    logit = sum(
                        weights_1[j] * x_3[j, row, column] + weights_3[j] * x_1[j, row, column]
                        for j in range(c)
                    )
                else:
                    logit = x_1[i, row, column] + x_3[i, row, column]
                expected[b, start + i, row, column] = group[i, row, column] * sigmoid(logit)
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("cross_spatial", [True, False])
def test_loop_from_the_equations_without_the_3x3_branch(cross_spatial: bool) -> None:
    channels, height, width, c = 6, 3, 5, 3
    config = EMAConfig(factor=2, cross_spatial=cross_spatial, conv3x3=False)
    module = randomised(EMA(channels, config))
    assert module.conv3x3 is None
    x = feature_map(2, channels, height, width)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        for start in range(0, channels, c):
            group = image[start : start + c]
            z = np.concatenate(strips(group), axis=1)
            a = conv1d(z, array(module.conv1x1.weight), array(module.conv1x1.bias))
            gated = np.zeros(group.shape)
            for i, row, column in np.ndindex(group.shape):
                gates = sigmoid(a[i, row]) * sigmoid(a[i, height + column])
                gated[i, row, column] = group[i, row, column] * gates
            x_1 = group_norm(gated, c, array(module.norm.weight), array(module.norm.bias))
            weights = softmax([mean(channel) for channel in x_1])
            for i, row, column in np.ndindex(group.shape):
                m_1 = sum(weights[j] * x_1[j, row, column] for j in range(c))
                logit = m_1 if cross_spatial else x_1[i, row, column]
                expected[b, start + i, row, column] = group[i, row, column] * sigmoid(logit)
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-10)


def by_hand(*, cross_spatial: bool, conv3x3: bool = True) -> np.ndarray:
    """Return the output for two channels in one group, all weights readable.

        u            v
         1 -1  1      1  1  1
        -1  1 -1     -1 -1 -1

    conv1x1 is 0: all gates are 1/2, and the 1x1 branch normalises u/4 and v/4 back to u and v. The
    biases of the norm are 0 and ln 3: x_1 = (u, v + ln 3), its means (0, ln 3), their softmax
    (1/4, 3/4). conv3x3 has only its centre taps, 1: x_3 = (u, v), its means (0, 0), (1/2, 1/2).
    """
    config = EMAConfig(factor=1, cross_spatial=cross_spatial, conv3x3=conv3x3)
    module = EMA(2, config).double()
    module.norm.eps = 0.0
    with torch.no_grad():
        for parameter in module.conv1x1.parameters():
            parameter.zero_()
        if module.conv3x3 is not None:
            module.conv3x3.weight.zero_()
            module.conv3x3.bias.zero_()
            module.conv3x3.weight[0, 0, 1, 1] = 1
            module.conv3x3.weight[1, 1, 1, 1] = 1
        module.norm.bias[1] = math.log(3)
    x = torch.tensor(
        [[[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]], [[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]],
        dtype=torch.float64,
    )
    return array(module(x.unsqueeze(0)))[0]


def test_by_hand() -> None:
    # m_1 + m_3 = (u/4 + 3v/4) + (u/2 + (v + ln 3)/2) = 3u/4 + 5v/4 + ln(3)/2, for both channels:
    # 2, 1/2, -1/2 or -2 plus ln(3)/2 = 0.549306144334055.
    def gate(value: float) -> float:
        return 1 / (1 + math.exp(-value) / math.sqrt(3))

    first_row = [gate(2), gate(0.5), gate(2)]
    second_row = [gate(-2), gate(-0.5), gate(-2)]
    expected = [
        [
            [first_row[0], -first_row[1], first_row[2]],
            [-second_row[0], second_row[1], -second_row[2]],
        ],
        [first_row, [-value for value in second_row]],
    ]
    np.testing.assert_allclose(by_hand(cross_spatial=True), expected, rtol=1e-14)


def test_by_hand_without_cross_spatial_learning() -> None:
    # x_1 + x_3 = (2u, 2v + ln 3), each channel on its own.
    high, low = sigmoid(2), sigmoid(-2)
    tilted_high, tilted_low = sigmoid(2 + math.log(3)), sigmoid(-2 + math.log(3))
    expected = [
        [[high, -low, high], [-low, high, -low]],
        [[tilted_high] * 3, [-tilted_low] * 3],
    ]
    np.testing.assert_allclose(by_hand(cross_spatial=False), expected, rtol=1e-14)


def test_by_hand_without_the_3x3_branch() -> None:
    # m_1 = u/4 + 3(v + ln 3)/4, for both channels: 1, 1/2, -1/2 or -1 plus 3 ln(3)/4.
    def gate(value: float) -> float:
        return 1 / (1 + math.exp(-value) / 3**0.75)

    first_row = [gate(1), gate(0.5), gate(1)]
    second_row = [gate(-1), gate(-0.5), gate(-1)]
    expected = [
        [
            [first_row[0], -first_row[1], first_row[2]],
            [-second_row[0], second_row[1], -second_row[2]],
        ],
        [first_row, [-value for value in second_row]],
    ]
    out = by_hand(cross_spatial=True, conv3x3=False)
    np.testing.assert_allclose(out, expected, rtol=1e-14)


def test_by_hand_with_nothing_but_the_1x1_branch() -> None:
    # x_1 = (u, v + ln 3), each channel on its own.
    high, low = sigmoid(1), sigmoid(-1)
    tilted_high, tilted_low = sigmoid(1 + math.log(3)), sigmoid(-1 + math.log(3))
    expected = [
        [[high, -low, high], [-low, high, -low]],
        [[tilted_high] * 3, [-tilted_low] * 3],
    ]
    out = by_hand(cross_spatial=False, conv3x3=False)
    np.testing.assert_allclose(out, expected, rtol=1e-14)
