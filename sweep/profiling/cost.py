"""What a model costs without running it: three parameter counts, and multiply-accumulates.

One multiply-accumulate (MAC) is what the papers print as a FLOP: their "GFLOPs" are giga-MACs.
"""

from __future__ import annotations

import warnings
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
    was_training = model.training
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model.eval()(torch.empty(1, 3, image_size, image_size, device=device))
    model.train(was_training)
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
    was_training = model.training
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it traces with torch.jit, which is deprecated
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(
            model.eval(), torch.zeros(1, 3, image_size, image_size, device=device)
        )
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        macs, unsupported = int(analysis.total()), tuple(sorted(analysis.unsupported_ops()))
    model.train(was_training)
    return FvcoreCount(macs, unsupported)


def _own_parameters(modules: list[nn.Module]) -> int:
    own: dict[int, Tensor] = {id(p): p for m in modules for p in m.parameters(recurse=False)}
    return sum(p.numel() for p in own.values())
