"""Ablation sweeps of attention modules.

``build_attention`` and ``build_model`` are the parts for notebooks and for one's own training code;
they are imported when first used, so that ``import sweep`` stays cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.models.build import build_attention, build_model

__all__ = ["build_attention", "build_model"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from sweep.models import build

        return getattr(build, name)
    raise AttributeError(f"module 'sweep' has no attribute {name!r}")
