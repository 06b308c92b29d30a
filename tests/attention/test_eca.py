from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers import EcaModule

from sweep.attention.base import Fit
from sweep.attention.eca import ECA, ECAConfig

from .loops import array, conv1d, feature_map, mean, randomised, sigmoid


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_loop_from_the_equations(kernel_size: int) -> None:
    module = randomised(ECA(7, ECAConfig(kernel_size=kernel_size)))
    x = feature_map(2, 7, 3, 5)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        y = np.array([[mean(channel) for channel in image]])  # the channels are the positions
        logits = conv1d(y, array(module.conv.weight), padding=kernel_size // 2)  # Eq. 9
        for c in range(7):
            expected[b, c] = image[c] * sigmoid(logits[0, c])
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_peer(kernel_size: int) -> None:
    module = randomised(ECA(24, ECAConfig(kernel_size=kernel_size)))
    peer = EcaModule(kernel_size=kernel_size).double()
    peer.conv.load_state_dict(module.conv.state_dict())
    x = feature_map(2, 24, 7, 5)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("channels", "kernel_size"),
    # (log2(C) + 1) / 2:  1.0      2.5      3.0      3.5      4.0       4.5       6.0
    [(2, 1), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7)],
)
def test_adaptive_kernel_size(channels: int, kernel_size: int) -> None:
    fitted = ECAConfig(kernel_size="adaptive").fit(channels, Fit())
    assert fitted.kernel_size == kernel_size
    assert ECA(channels, ECAConfig(kernel_size="adaptive")).conv.weight.shape == (1, 1, kernel_size)


def test_adaptive_kernel_size_agrees_with_the_peer() -> None:
    # timm never goes below 3, which its floor reaches under 8 channels.
    for channels in range(8, 2049, 8):
        fitted = ECAConfig(kernel_size="adaptive").fit(channels, Fit())
        assert fitted.kernel_size == EcaModule(channels).conv.kernel_size[0]
