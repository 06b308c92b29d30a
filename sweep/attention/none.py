"""No attention: the baseline of every table, so that a grid can hold it beside the modules.

Not a paper's module. ELA (arXiv:2403.01123) and EMA (arXiv:2305.13563) call the row by the
backbone's name or "Baseline".

    x    (B, C, H, W)
    out  (B, C, H, W)   x

Deviations: none.
"""

from __future__ import annotations

from torch import Tensor

from sweep.attention.base import AttentionConfig, AttentionModule
from sweep.registry import ATTENTION


class NoAttentionConfig(AttentionConfig):
    """The baseline has no hyperparameters."""


@ATTENTION.register("none")
class NoAttention(AttentionModule):
    """Identity; (B, C, H, W) to the same tensor."""

    Config = NoAttentionConfig

    def forward(self, x: Tensor) -> Tensor:
        return x
