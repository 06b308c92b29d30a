from __future__ import annotations

from sweep.attention.none import NoAttention, NoAttentionConfig

from .loops import feature_map


def test_returns_the_input_itself() -> None:
    x = feature_map(2, 3, 4, 5)
    assert NoAttention(3, NoAttentionConfig())(x) is x
