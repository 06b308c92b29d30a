from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.layers.coord_attn import EfficientLocalAttn
from torch import nn

from sweep.attention.ela import ELA, ELAConfig

from .loops import (
    array,
    batch_norm,
    conv1d,
    feature_map,
    group_norm,
    randomised,
    sigmoid,
    strips,
)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("kernel_size", "groups"), [(5, "in_channels"), (7, "in_channels/8")])
def test_loop_from_the_equations(kernel_size: int, groups: str, shared: bool) -> None:
    channels, num_groups = 16, 4
    config = ELAConfig(kernel_size=kernel_size, groups=groups, num_groups=num_groups, shared=shared)
    module = randomised(ELA(channels, config))
    assert len(module.encoders) == (1 if shared else 2)
    x = feature_map(2, channels, 3, 5)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        attention = []
        encoders = [module.encoders[0], module.encoders[-1]]
        for strip, (conv, norm) in zip(strips(image), encoders, strict=True):  # Eqs. 1-2
            encoded = conv1d(
                strip,
                array(conv.weight),
                padding=kernel_size // 2,
                groups=channels if groups == "in_channels" else channels // 8,
            )
            encoded = group_norm(encoded, num_groups, array(norm.weight), array(norm.bias))
            attention.append(np.vectorize(sigmoid)(encoded))  # Eqs. 7-8
        y_h, y_w = attention
        for c, row, column in np.ndindex(image.shape):  # Eq. 9
            expected[b, c, row, column] = image[c, row, column] * y_h[c, row] * y_w[c, column]
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("part", ELAConfig.parts)
@pytest.mark.parametrize("shared", [True, False])
def test_loop_from_the_equations_without_a_part(part: str, shared: bool) -> None:
    channels = 6
    one_direction = part in ("height only", "width only")
    norm_groups = {} if part in ("no GN", "BN for GN") else {"num_groups": 2}
    fields = {"kernel_size": 3, "groups": "in_channels/2", "num_groups": 2, "shared": shared}
    config = ELAConfig(**{**fields, **ELAConfig.parts[part], **norm_groups})
    module = randomised(ELA(channels, config))
    assert len(module.encoders) == (1 if shared or one_direction else 2)
    x = feature_map(2, channels, 3, 5)
    expected = np.array(array(x))
    for b, image in enumerate(array(x)):
        for axis, strip in enumerate(strips(image)):
            if part == ("width only", "height only")[axis]:
                continue
            conv, norm = module.encoders[0 if axis == 0 else -1]
            encoded = strip
            if part != "no conv":
                encoded = conv1d(encoded, array(conv.weight), padding=1, groups=3)
            if part == "BN for GN":
                encoded = batch_norm(encoded, norm)
            elif part != "no GN":
                encoded = group_norm(encoded, 2, array(norm.weight), array(norm.bias))
            for c, row, column in np.ndindex(image.shape):
                gate = sigmoid(encoded[c, row if axis == 0 else column])
                expected[b, c, row, column] *= gate
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-10)


def test_by_hand_without_norm_and_convolution() -> None:
    # Nothing is left to learn: the gates are the sigmoids of the strips' means.
    #
    #   0     ln 9        mean over W: ln 3, ln 3, sigmoid 3/4; mean over H: 0, ln 9,
    #   0     ln 9        sigmoid 1/2, 9/10
    config = ELAConfig(norm="none", conv=False)
    module = ELA(1, config)
    assert list(module.parameters()) == []
    nine = math.log(9)
    x = torch.tensor([[0.0, nine], [0.0, nine]], dtype=torch.float64)
    expected = [[0, nine * 3 / 4 * 9 / 10]] * 2
    np.testing.assert_allclose(array(module(x[None, None]))[0, 0], expected, rtol=1e-14)


def test_in_training_a_batch_norm_is_over_the_batch_and_a_strip() -> None:
    # One channel, the convolution the identity: the strips along H are (1 3) and (5 7), over both
    # images mean 4 and variance 5; a group norm would take each on its own.
    fields = {"kernel_size": 1, "groups": 1, "norm": "bn", "directions": "height"}
    module = ELA(1, ELAConfig(**fields)).double().train()
    conv, norm = module.encoders[0]
    norm.eps = 1.0  # above 0, as a batch norm must have it in training
    with torch.no_grad():
        conv.weight.fill_(1)
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64).reshape(2, 1, 2, 1)
    gates = [sigmoid((value - 4) / math.sqrt(5 + 1)) for value in (1, 3, 5, 7)]
    expected = [value * gate for value, gate in zip((1, 3, 5, 7), gates, strict=True)]
    np.testing.assert_allclose(array(module(x)).ravel(), expected, rtol=1e-14)


def test_peer() -> None:
    # timm's ELA has one norm group, separate weights and an activation before the gate; the first
    # two are settings of ours, the third is switched off there.
    config = ELAConfig(kernel_size=7, groups="in_channels", num_groups=1, shared=False)
    module = randomised(ELA(16, config))
    peer = EfficientLocalAttn(16, kernel_size=7, act_layer=nn.Identity).double()
    with torch.no_grad():
        for (conv, norm), axis in zip(module.encoders, "hw", strict=True):
            theirs = getattr(peer, f"conv_{axis}").weight
            theirs.copy_(conv.weight.reshape(theirs.shape))
            getattr(peer, f"norm_{axis}").load_state_dict(norm.state_dict())
    x = feature_map(2, 16, 9, 4)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-10, atol=1e-12)


def test_by_hand() -> None:
    # Two equal channels, each with its own kernel and norm group; eps is 0 and the scale is ln 3.
    #
    #   x            mean over W    mean over H
    #   -3 -1 -1 -3      -2         -1  1  1 -1
    #    1  3  3  1       2
    #
    # Channel 0 has kernel (0 1 0): normalised, the strips are (-1 1) and (-1 1 1 -1), and
    # sigmoid(-+ ln 3) is 1/4 or 3/4. Channel 1 has kernel (0 -1 0), which swaps 1/4 and 3/4.
    module = ELA(2, ELAConfig(kernel_size=3, groups=2, num_groups=2)).double()
    conv, norm = module.encoders[0]
    norm.eps = 0.0
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[0.0, 1.0, 0.0]], [[0.0, -1.0, 0.0]]]))
        norm.weight.fill_(math.log(3))
    x = torch.tensor([[-3.0, -1.0, -1.0, -3.0], [1.0, 3.0, 3.0, 1.0]], dtype=torch.float64)
    out = array(module(torch.stack([x, x]).unsqueeze(0)))[0]
    sixteenths = np.array(
        [
            # -3 * 1 * 1, -1 * 1 * 3, ...            1 * 3 * 1, 3 * 3 * 3, ...
            [[-3, -3, -3, -3], [3, 27, 27, 3]],
            # -3 * 3 * 3, -1 * 3 * 1, ...            1 * 1 * 3, 3 * 1 * 1, ...
            [[-27, -3, -3, -27], [3, 3, 3, 3]],
        ]
    )
    np.testing.assert_allclose(out, sixteenths / 16, rtol=1e-14)


def test_a_kernel_reaches_along_the_strip_in_both_directions() -> None:
    # A kernel with one tap, k // 2 before the centre, delays the strip and pads it with 0.
    module = ELA(1, ELAConfig(kernel_size=3, groups=1, num_groups=1)).double()
    conv, norm = module.encoders[0]
    norm.eps = 0.0
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[1.0, 0.0, 0.0]]]))
    x = torch.tensor([[1.0, 3.0], [5.0, 7.0]], dtype=torch.float64)
    # The strips (2 6) and (3 5) become (0 2) and (0 3), normalised (-1 1): 1/(1+e) and e/(1+e).
    low, high = 1 / (1 + math.e), math.e / (1 + math.e)
    expected = [[low * low, 3 * low * high], [5 * high * low, 7 * high * high]]
    np.testing.assert_allclose(array(module(x[None, None]))[0, 0], expected, rtol=1e-14)
