from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.layers.cbam import CbamModule

from sweep.attention.cbam import CBAM, CBAMConfig

from .loops import (
    Array,
    array,
    batch_norm,
    conv2d,
    feature_map,
    linear,
    mean,
    randomised,
    sigmoid,
)


def mlp(module: CBAM, vector: Array) -> Array:
    first, last = module.mlp[0], module.mlp[2]
    biased = module.config.bias
    hidden = linear(vector, array(first.weight), array(first.bias) if biased else None)
    hidden = np.maximum(hidden, 0)
    return linear(hidden, array(last.weight), array(last.bias) if biased else None)


@pytest.mark.parametrize("preset", ["ela", "nam"])
@pytest.mark.parametrize("kernel_size", [3, 7])
def test_loop_from_the_equations(preset: str, kernel_size: int) -> None:
    config = CBAMConfig(reduction=4, kernel_size=kernel_size, **CBAMConfig.presets[preset])
    module = randomised(CBAM(12, config))
    x = feature_map(2, 12, 5, 4)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        average = np.array([mean(channel) for channel in image])
        highest = np.array([max(channel.ravel()) for channel in image])
        logits = mlp(module, average) + mlp(module, highest)  # Eq. 2
        image = np.stack([image[c] * sigmoid(logits[c]) for c in range(12)])  # Eq. 1
        pooled = np.zeros((2, 5, 4))
        for row, column in np.ndindex(5, 4):
            pooled[0, row, column] = sum(image[:, row, column]) / 12
            pooled[1, row, column] = max(image[:, row, column])
        spatial = conv2d(pooled, array(module.conv.weight), padding=kernel_size // 2)  # Eq. 3
        if config.spatial_norm:
            spatial = batch_norm(spatial, module.norm)
        for c, row, column in np.ndindex(image.shape):
            expected[b, c, row, column] = image[c, row, column] * sigmoid(spatial[0, row, column])
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-11)


@pytest.mark.parametrize("preset", ["ela", "nam"])
@pytest.mark.parametrize("part", ["no channel", "no spatial"])
def test_loop_from_the_equations_without_a_part(preset: str, part: str) -> None:
    config = CBAMConfig(**{**CBAMConfig.presets[preset], **CBAMConfig.parts[part]})
    module = randomised(CBAM(6, config))
    x = feature_map(2, 6, 5, 4)
    expected = np.zeros(x.shape)
    for b, image in enumerate(array(x)):
        if part == "no spatial":
            average = np.array([mean(channel) for channel in image])
            highest = np.array([max(channel.ravel()) for channel in image])
            logits = mlp(module, average) + mlp(module, highest)
            expected[b] = np.stack([image[c] * sigmoid(logits[c]) for c in range(6)])
            continue
        pooled = np.zeros((2, 5, 4))
        for row, column in np.ndindex(5, 4):
            pooled[0, row, column] = sum(image[:, row, column]) / 6
            pooled[1, row, column] = max(image[:, row, column])
        spatial = conv2d(pooled, array(module.conv.weight), padding=3)
        if preset == "nam":
            spatial = batch_norm(spatial, module.norm)
        for c, row, column in np.ndindex(image.shape):
            expected[b, c, row, column] = image[c, row, column] * sigmoid(spatial[0, row, column])
    np.testing.assert_allclose(array(module(x)), expected, rtol=1e-11)


@pytest.mark.parametrize("bias", [False, True])
def test_peer(bias: bool) -> None:
    # timm's spatial branch always has the batch norm; its MLP is two 1x1 convolutions.
    module = randomised(CBAM(32, CBAMConfig(bias=bias, spatial_norm=True)))
    peer = CbamModule(32, mlp_bias=bias).double().eval()
    with torch.no_grad():
        for ours, theirs in ((module.mlp[0], peer.channel.fc1), (module.mlp[2], peer.channel.fc2)):
            theirs.weight.copy_(ours.weight[:, :, None, None])
            if bias:
                theirs.bias.copy_(ours.bias)
        peer.spatial.conv.conv.load_state_dict(module.conv.state_dict())
        peer.spatial.conv.bn.load_state_dict(module.norm.state_dict())
    x = feature_map(2, 32, 9, 4)
    torch.testing.assert_close(module(x), peer(x), rtol=1e-12, atol=1e-14)
