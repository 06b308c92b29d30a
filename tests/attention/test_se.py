from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import SEModule

from sweep.attention.se import SE, SEConfig

from .loops import array, feature_map, linear, mean, randomised, sigmoid


@pytest.mark.parametrize("bias", [False, True])
def test_loop_from_the_equations(bias: bool) -> None:
    module = randomised(SE(12, SEConfig(reduction=4, bias=bias)))
    x = feature_map(2, 12, 3, 5)
    first, last = module.excite[0], module.excite[2]
    assert first.weight.shape == (3, 12)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        z = np.array([mean(image[c]) for c in range(12)])  # Eq. 2
        hidden = linear(z, array(first.weight), array(first.bias) if bias else None)
        hidden = np.maximum(hidden, 0)
        logits = linear(hidden, array(last.weight), array(last.bias) if bias else None)  # Eq. 3
        for c in range(12):
            expected[b, c] = image[c] * sigmoid(logits[c])  # Eq. 4
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_peer(bias: bool) -> None:
    # timm writes the two layers as 1x1 convolutions and rounds the inner width: it is set here.
    module = randomised(SE(48, SEConfig(reduction=16, bias=bias)))
    peer = SEModule(48, rd_channels=3, bias=bias).double()
    with torch.no_grad():
        for ours, theirs in ((module.excite[0], peer.fc1), (module.excite[2], peer.fc2)):
            theirs.weight.copy_(ours.weight[:, :, None, None])
            if bias:
                theirs.bias.copy_(ours.bias)
    x = feature_map(2, 48, 7, 5)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-12, atol=1e-14)


def test_inner_width_is_at_least_one() -> None:
    assert SE(8, SEConfig(reduction=16)).excite[0].out_features == 1
