"""What a model costs without running it: three parameter counts, and multiply-accumulates.

One multiply-accumulate (MAC) is what the papers print as a FLOP: their "GFLOPs" are giga-MACs.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class ParameterCounts:
    """Number of parameters under the three conventions of the papers.

    ``true`` is every parameter. ``thop_like`` leaves out the affine parameters of GroupNorm, which
    thop does not know: so counts the ELA paper. ``no_norm`` leaves out those of every norm, the
    backbone's too: so count the CA and EMA rows of the EMA paper.
    """

    true: int
    thop_like: int
    no_norm: int


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Count the parameters of a model, each shared one once; works on meta tensors."""
    true = sum(p.numel() for p in model.parameters())
    modules = list(model.modules())
    norms = _own_parameters([m for m in modules if isinstance(m, NORMS)])
    group_norms = _own_parameters([m for m in modules if isinstance(m, nn.GroupNorm)])
    return ParameterCounts(true=true, thop_like=true - group_norms, no_norm=true - norms)


def count_macs(model: nn.Module, image_size: int) -> int:
    """Count multiply-accumulates of one image (3, image_size, image_size).

    Convolutions and matrix products only, by torch's own counter (it counts two operations per
    MAC); nothing is computed if the model is on the meta device.
    """
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), counter:
        model(torch.empty(1, 3, image_size, image_size, device=device))
    return counter.get_total_flops() // 2


@dataclass(frozen=True)
class FvcoreCount:
    """MACs as fvcore counts them, and the operators that it has no rule for."""

    macs: int
    unsupported: tuple[str, ...]


def count_macs_fvcore(model: nn.Module, image_size: int) -> FvcoreCount:
    """Count multiply-accumulates of one image with fvcore, for comparison with other papers.

    fvcore traces the model, so it needs real tensors, and it also counts norms and pooling layers.
    """
    device = next(model.parameters()).device
    with evaluating(model), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces with torch.jit, which is deprecated
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(
            model, torch.zeros(1, 3, image_size, image_size, device=device)
        )
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        macs, unsupported = int(analysis.total()), tuple(sorted(analysis.unsupported_ops()))
    return FvcoreCount(macs, unsupported)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode, and each of its modules back in its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _own_parameters(modules: list[nn.Module]) -> int:
    own: dict[int, Tensor] = {id(p): p for m in modules for p in m.parameters(recurse=False)}
    return sum(p.numel() for p in own.values())
