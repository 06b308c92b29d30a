"""Layers as loops over NumPy arrays of one sample, for the tests of this folder only.

They follow the definitions and use no operation of torch. Shapes have no batch axis: a feature map
is (C, H, W), a strip (C, L). ``randomised`` is the exception: it prepares the module under test.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

Array = npt.NDArray[np.float64]
Module = TypeVar("Module", bound=nn.Module)


def randomised(module: Module, seed: int = 0) -> Module:
    """Return the module in float64 and eval mode, with random parameters and running statistics."""
    generator = torch.Generator().manual_seed(seed)
    module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(generator=generator)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(generator=generator)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2.0, generator=generator)
    return module


def feature_map(*shape: int, seed: int = 1) -> Tensor:
    """Return normally distributed float64 numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def array(tensor: Any) -> Array:
    """Return a parameter, buffer or output as an array."""
    assert isinstance(tensor, Tensor)
    return tensor.detach().numpy()


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in values)
    return [math.exp(value) / total for value in values]


def linear(vector: Array, weight: Array, bias: Array | None = None) -> Array:
    out = np.zeros(weight.shape[0])
    for o in range(weight.shape[0]):
        out[o] = 0.0 if bias is None else bias[o]
        for i in range(weight.shape[1]):
            out[o] += weight[o, i] * vector[i]
    return out


def conv1d(
    strip: Array, weight: Array, bias: Array | None = None, *, padding: int = 0, groups: int = 1
) -> Array:
    """Same-length grouped correlation of (C, L) with (O, C / groups, K)."""
    out_channels, group_width, kernel_size = weight.shape
    length = strip.shape[1]
    out = np.zeros((out_channels, length))
    for o in range(out_channels):
        first = o // (out_channels // groups) * group_width
        for position in range(length):
            total = 0.0 if bias is None else bias[o]
            for i in range(group_width):
                for k in range(kernel_size):
                    source = position + k - padding
                    if 0 <= source < length:
                        total += weight[o, i, k] * strip[first + i, source]
            out[o, position] = total
    return out


def conv2d(image: Array, weight: Array, bias: Array | None = None, *, padding: int = 0) -> Array:
    """Same-size correlation of (C, H, W) with (O, C, K, K)."""
    out_channels, in_channels, kernel_size, _ = weight.shape
    _, height, width = image.shape
    out = np.zeros((out_channels, height, width))
    for o, row, column in np.ndindex(out.shape):
        total = 0.0 if bias is None else bias[o]
        for i, k, m in np.ndindex(in_channels, kernel_size, kernel_size):
            y, x = row + k - padding, column + m - padding
            if 0 <= y < height and 0 <= x < width:
                total += weight[o, i, k, m] * image[i, y, x]
        out[o, row, column] = total
    return out


def group_norm(values: Array, num_groups: int, weight: Array, bias: Array) -> Array:
    """Normalise (C, ...) over each group of channels and all positions; eps is 1e-5."""
    channels = values.shape[0]
    size = channels // num_groups
    out = np.zeros_like(values)
    for group in range(num_groups):
        members = [group * size + i for i in range(size)]
        numbers = [number for c in members for number in values[c].ravel()]
        mean = sum(numbers) / len(numbers)
        variance = sum((number - mean) ** 2 for number in numbers) / len(numbers)
        for c in members:
            out[c] = (values[c] - mean) / math.sqrt(variance + 1e-5) * weight[c] + bias[c]
    return out


def batch_norm(values: Array, norm: nn.Module) -> Array:
    """Normalise (C, ...) by the running statistics of a batch norm; eps is 1e-5."""
    mean, variance = array(norm.running_mean), array(norm.running_var)
    weight, bias = array(norm.weight), array(norm.bias)
    out = np.zeros_like(values)
    for c in range(values.shape[0]):
        out[c] = (values[c] - mean[c]) / math.sqrt(variance[c] + 1e-5) * weight[c] + bias[c]
    return out


def mean(values: Array) -> float:
    return sum(values.ravel()) / values.size


def strips(image: Array) -> tuple[Array, Array]:
    """Return the means over the columns, (C, H), and over the rows, (C, W)."""
    channels, height, width = image.shape
    over_w, over_h = np.zeros((channels, height)), np.zeros((channels, width))
    for c in range(channels):
        for row in range(height):
            over_w[c, row] = sum(image[c, row, column] for column in range(width)) / width
        for column in range(width):
            over_h[c, column] = sum(image[c, row, column] for row in range(height)) / height
    return over_w, over_h
