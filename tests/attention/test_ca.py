from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from timm.layers.coord_attn import CoordAttn

from sweep.attention.ca import CA, CAConfig

from .loops import array, batch_norm, conv1d, feature_map, group_norm, randomised, sigmoid, strips


@pytest.mark.parametrize("part", ["", "no BN", "no reduction"])
@pytest.mark.parametrize("preset", ["official", "ela_paper", "ela_paper_gn"])
def test_loop_from_the_equations(preset: str, part: str) -> None:
    channels = 12
    without = CAConfig.parts[part] if part else {}
    config = CAConfig(**{"reduction": 4, **CAConfig.presets[preset], **without})
    if config.norm == "gn":
        config = config.model_copy(update={"num_groups": 2})
    module = randomised(CA(channels, config))
    conv, norm, _ = module.shared
    width = 3 if preset == "ela_paper" else 8
    assert conv.out_channels == (channels if part == "no reduction" else width)

    def pointwise(values: np.ndarray, layer: torch.nn.Conv1d) -> np.ndarray:
        return conv1d(values, array(layer.weight), array(layer.bias) if config.bias else None)

    x = feature_map(2, channels, 3, 5)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        f = pointwise(np.concatenate(strips(image), axis=1), conv)  # Eqs. 4-6
        if config.norm == "bn":
            f = batch_norm(f, norm)
        elif config.norm == "gn":
            f = group_norm(f, 2, array(norm.weight), array(norm.bias))
        f = f * np.clip(f + 3, 0, 6) / 6  # h-swish
        g_h, g_w = pointwise(f[:, :3], module.conv_h), pointwise(f[:, 3:], module.conv_w)
        for c, row, column in np.ndindex(image.shape):  # Eqs. 7-9
            gates = sigmoid(g_h[c, row]) * sigmoid(g_w[c, column])
            expected[b, c, row, column] = image[c, row, column] * gates
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_peer(bias: bool) -> None:
    # timm scales the reduction by 2/3 and rounds it, so the width is set; its layers are 2D.
    module = randomised(CA(64, CAConfig(bias=bias)))
    peer = CoordAttn(64, rd_channels=8, bias=bias).double().eval()
    pairs = [
        (module.shared[0], peer.conv1),
        (module.conv_h, peer.conv_h),
        (module.conv_w, peer.conv_w),
    ]
    with torch.no_grad():
        for ours, theirs in pairs:
            theirs.weight.copy_(ours.weight.unsqueeze(3))
            if bias:
                theirs.bias.copy_(ours.bias)
        peer.bn1.load_state_dict(module.shared[1].state_dict())
    x = feature_map(2, 64, 9, 4)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-12, atol=1e-14)


def test_peer_in_training() -> None:
    # The statistics are over the batch and the H + W positions of both strips together.
    module = randomised(CA(64, CAConfig())).train()
    peer = CoordAttn(64, rd_channels=8, bias=True).double().train()
    with torch.no_grad():
        for ours, theirs in zip(module.parameters(), peer.parameters(), strict=True):
            theirs.copy_(ours.reshape(theirs.shape))
        peer.bn1.load_state_dict(module.shared[1].state_dict())
    x = feature_map(3, 64, 9, 4)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(module.shared[1].running_var, peer.bn1.running_var)


def test_by_hand() -> None:
    # Two channels, an inner width of 1, no biases, a norm that does nothing (mean 0, variance 1).
    #
    #   channel 0      mean over W    mean over H
    #    5  1  3            3         3 -3  0
    #    1 -7 -3           -3
    #
    # The shared convolution takes channel 0 only; h-swish(3) = 3, h-swish(-3) = h-swish(0) = 0.
    # Over H, sigmoid(3 * ln(3)/3) = 3/4 and sigmoid(0) = 1/2; over W, sigmoid(3 * ln(9)/3) = 9/10.
    # The convolutions that come back to channel 1 are 0: all its gates are 1/2.
    module = CA(2, CAConfig(reduction=2, min_channels=1, bias=False)).double().eval()
    module.shared[1].eps = 0.0
    with torch.no_grad():
        module.shared[0].weight.copy_(torch.tensor([[[1.0], [0.0]]]))
        module.conv_h.weight.zero_()[0] = math.log(3) / 3
        module.conv_w.weight.zero_()[0] = math.log(9) / 3
    x = torch.tensor(
        [[[5.0, 1.0, 3.0], [1.0, -7.0, -3.0]], [[4.0, 8.0, 0.0], [12.0, -4.0, 16.0]]],
        dtype=torch.float64,
    )
    expected = [
        [
            [5 * 3 / 4 * 9 / 10, 1 * 3 / 4 * 1 / 2, 3 * 3 / 4 * 1 / 2],
            [1 * 1 / 2 * 9 / 10, -7 * 1 / 2 * 1 / 2, -3 * 1 / 2 * 1 / 2],
        ],
        [[1, 2, 0], [3, -1, 4]],
    ]
    np.testing.assert_allclose(array(module(x.unsqueeze(0)))[0], expected, rtol=1e-14)
