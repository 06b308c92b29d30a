"""Effects of hyperparameters as sentences, apart from the statistics, which know no rendering."""

from __future__ import annotations

from reports.effects import Effects, MainEffect
from reports.printed import amount, number, p_words
from reports.stats import LEVEL
from sweep.tasks.base import Metric


def sentences(found: Effects, metric: Metric) -> tuple[str, ...]:
    """Return the effects in words; ± is half of the 95 % interval.

    An interaction has words if it is beyond chance, since main effects then are not all there is.
    Of what the design cannot tell, the notes of the tables say why.
    """
    untold = len([effect for effect in found.main if effect.difference is None])
    return (
        *(words for effect in found.main if (words := _words(effect, metric))),
        *([f"{_count(untold)} cannot be told: the table of effects says why."] if untold else []),
        *(
            f"{test.title}: the effect of one depends on the other ({p_words(test.p_holm)} "
            "after Holm): read the grid of both, not the effect of one."
            for test in found.interactions
            if test.p_holm is not None and test.p_holm < LEVEL
        ),
    )


def _words(effect: MainEffect, metric: Metric) -> str:
    """Return an effect as a sentence; empty for one that cannot be told."""
    if effect.difference is None or effect.margin is None or effect.p_holm is None:
        return ""
    difference = f"{number(effect.difference, metric, '+')} ± {amount(effect.margin, metric)}"
    return f"{effect.title}: {difference} (95 %; {p_words(effect.p_holm)} after Holm)."


def _count(effects: int) -> str:
    return f"{effects} effect" + "s" * (effects > 1)
