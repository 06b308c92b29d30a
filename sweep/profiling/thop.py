"""Multiply-accumulates as thop counts them, the counter behind the papers' "GFLOPs".

thop (L. Zhu, pytorch-OpCounter) adds up a formula per type of layer:

    convolution, linear   elements out, times the inputs that each is a sum of: the products
    batch norm            4 for every element (2 without affine parameters); 2 in early versions
    nearest upsampling    1 for every element out; nothing in early versions
    adaptive pooling      k + 1 for every average of k elements
    group norm            nothing: it has no formula for it, nor for sums, products and matrices

It sees layers only. Where a module calls ``mean``, its authors' code may have a pooling layer,
which thop counts: hence ``means``. And a counter that takes "one image" for a batch of one counts
what a module folds into the batch once: hence ``products_per_item``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sweep.profiling.cost import evaluating

SPATIAL = {2, 3, -1, -2}
"""Dimensions H and W of (B, C, H, W)."""


@dataclass
class ThopCount:
    """Multiply-accumulates of one image, by what does them."""

    products: int = 0
    products_per_item: int = 0
    """The same, each layer counted for one item of the batch that it sees."""
    norms: int = 0
    upsampling: int = 0
    pooling: int = 0
    matrices: int = 0
    """Products of matrices, which thop does not see."""
    means: int = 0
    """Averages over H or W that no pooling layer takes, counted as if one did."""

    @property
    def macs(self) -> int:
        """What thop says."""
        return self.products + self.norms + self.upsampling + self.pooling

    @property
    def early(self) -> int:
        """What thop said until version 0.0.31 (2019)."""
        return self.products + self.norms // 2 + self.pooling


def count_macs_thop(model: nn.Module, image_size: int) -> ThopCount:
    """Count multiply-accumulates of one image (3, image_size, image_size) by thop's formulas."""
    device = next(model.parameters()).device
    with evaluating(model), torch.no_grad(), counting(model) as count:
        model(torch.empty(1, 3, image_size, image_size, device=device))
    return count


@contextmanager
def counting(model: nn.Module) -> Iterator[ThopCount]:
    """Count what runs of a model while the context is open; works on meta tensors."""
    count = ThopCount()
    handles = [
        module.register_forward_hook(_adder(count, kind))
        for module in model.modules()
        for kind in _ADD
        if isinstance(module, kind)
    ]
    try:
        with _Functions(count):
            yield count
    finally:
        for handle in handles:
            handle.remove()


def _add_convolution(count: ThopCount, layer: Any, _: Tensor, output: Tensor) -> None:
    inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
    _add_products(count, output, inputs)


def _add_linear(count: ThopCount, layer: Any, _: Tensor, output: Tensor) -> None:
    _add_products(count, output, layer.in_features)


def _add_products(count: ThopCount, output: Tensor, inputs: int) -> None:
    products = output.numel() * inputs
    count.products += products
    count.products_per_item += products // output.shape[0]


def _add_norm(count: ThopCount, layer: Any, features: Tensor, _: Tensor) -> None:
    count.norms += features.numel() * (4 if layer.affine else 2)


def _add_upsampling(count: ThopCount, _layer: Any, _: Tensor, output: Tensor) -> None:
    count.upsampling += output.numel()


_Add = Callable[[ThopCount, Any, Tensor, Tensor], None]
_ADD: Mapping[type[nn.Module], _Add] = {
    nn.modules.conv._ConvNd: _add_convolution,
    nn.Linear: _add_linear,
    nn.modules.batchnorm._BatchNorm: _add_norm,
    nn.Upsample: _add_upsampling,
}


def _adder(count: ThopCount, kind: type[nn.Module]) -> Any:
    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        _ADD[kind](count, layer, inputs[0], output)

    return hook


class _Functions(TorchFunctionMode):
    """Counts average pooling, as a layer or a function, means over H or W, and matrix products."""

    def __init__(self, count: ThopCount) -> None:
        super().__init__()
        self.count = count

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.adaptive_avg_pool2d:
            self.count.pooling += _averaging(args[0], output)
        elif func in (Tensor.mean, torch.mean) and _spatial(kwargs.get("dim", args[1:2])):
            self.count.means += _averaging(args[0], output)
        elif func in (Tensor.matmul, torch.matmul):
            self.count.matrices += output.numel() * args[0].shape[-1]
        return output


def _averaging(features: Tensor, output: Tensor) -> int:
    return output.numel() * (features.numel() // output.numel() + 1)


def _spatial(dim: Any) -> bool:
    """Return whether a mean is over H or W or both; ``dim`` may be one, or several in brackets."""
    while isinstance(dim, tuple | list) and len(dim) == 1:
        dim = dim[0]
    dims = set(dim) if isinstance(dim, tuple | list) else {dim}
    return bool(dims) and dims <= SPATIAL
