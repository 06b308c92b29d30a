"""Which differences between configurations the seeds show, and which they leave open.

Every test of a report is the paired t-test over the seeds that both configurations have: a seed
fixes order of data, augmentation and initial weights of what they share. Holm's method corrects
for the number of comparisons.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from reports.configs import ROUNDED, ConfigRow, by_group, paired, scores
from reports.stats import (
    LEVEL,
    Spread,
    effect_size,
    holm,
    improvement,
    paired_p,
    seeds_needed,
)
from sweep.tasks.base import Metric


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Two configurations, compared in one metric."""

    config: ConfigRow
    other: ConfigRow
    metric: Metric
    difference: Spread
    """Test score of ``config`` minus that of ``other``, seed by seed."""
    p: float | None
    """Of the two-sided paired t-test; None where the differences show no spread."""
    p_holm: float | None
    """``p``, corrected for the family of comparisons that it belongs to."""
    family: int
    """Comparisons with a p-value in that family."""
    level: float
    """Of Holm's strictest step in it: a ``p`` below it is shown, whatever the others are."""

    @property
    def effect_size(self) -> float | None:
        """Cohen's d_z, with Hedges' correction; of the sign of ``difference``."""
        return effect_size(self.difference)

    @property
    def improvement(self) -> float | None:
        """Probability that a run of ``config`` is better than a run of ``other``."""
        own, others = (
            list(scores(config.trials, self.metric.name).values())
            for config in (self.config, self.other)
        )
        return improvement(own, others, self.metric.mode)

    @property
    def seeds_needed(self) -> int | None:
        """Where no difference is shown: see ``stats.seeds_needed``, at ``level``."""
        return None if self.is_shown else seeds_needed(self.difference, self.level)

    @property
    def is_shown(self) -> bool:
        """Whether the difference is beyond the noise of the seeds."""
        return self.p_holm is not None and self.p_holm < LEVEL

    @property
    def better(self) -> ConfigRow | None:
        """The configuration that is shown to be the better one, if any."""
        if not self.is_shown:
            return None
        above = (self.difference.mean > 0) == (self.metric.mode == "max")
        return self.config if above else self.other

    def opponent(self, config: ConfigRow) -> ConfigRow | None:
        """Return what a configuration is compared with; None if it is not."""
        if self.config is config:
            return self.other
        return self.config if self.other is config else None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a group's validation scores chose, and what its test scores say of the choice."""

    chosen: ConfigRow | None
    """Best mean validation score; of equals the first, and so the baseline. None where no run with
    a test score has a validation score."""
    best: ConfigRow | None
    """``chosen``, where every other configuration is shown to be worse."""
    tied: tuple[ConfigRow, ...]
    """Those that cannot be told from ``chosen``. One that is shown to be better is not among them,
    and then nothing is best."""
    contrasts: tuple[Contrast, ...]
    """Of ``chosen`` with each other configuration that shares a seed with it; where it is the
    baseline, or the other one is, as ``against_baseline`` has them."""


def against_baseline(configs: Sequence[ConfigRow], metric: Metric) -> tuple[Contrast, ...]:
    """Compare each configuration of a study with the baseline of its recipe.

    All comparisons are one family. A configuration that shares no seed with a baseline of its
    recipe is in none.
    """
    pairs = [(config, config.baseline) for config in configs if config.baseline is not None]
    return _contrasts(pairs, metric)


def standings(configs: Sequence[ConfigRow], metric: Metric) -> Mapping[str, Standing]:
    """Return how each group stands, by its title: validation chooses, test reports.

    What is compared with its baseline is so in the family of ``against_baseline``. The other
    comparisons of a group's choice are a family, whose corrected p-values are Holm's times half the
    number of configurations: the same trained models are scored on both splits, so a configuration
    whose seeds were lucky is chosen, and is lucky on the test split too. Each of k configurations
    could have been chosen, and each pair belongs to two of their families; with the factor, the
    probability of calling any true equality a difference is at most ``LEVEL`` in each group, by
    itself: a study of many groups has as many chances. Without it that is
    up to 0.13 for 13 equal configurations over 10 seeds.
    """
    known = against_baseline(configs, metric)
    return {
        group: _standing(members, metric, known) for group, members in by_group(configs).items()
    }


def _standing(members: Sequence[ConfigRow], metric: Metric, known: Sequence[Contrast]) -> Standing:
    measured = [config for config in members if metric.name in config.spreads]
    chosen = next(iter(by_validation(measured, metric)), None)
    if chosen is None:
        return Standing(chosen=None, best=None, tied=(), contrasts=())
    others = [config for config in measured if config is not chosen]
    new = [(chosen, o) for o in others if chosen.baseline is not o and o.baseline is not chosen]
    contrasts = (
        *(contrast for contrast in known if contrast.opponent(chosen) is not None),
        *_contrasts(new, metric, choices=len(measured) / 2),
    )
    told = [id(contrast.opponent(chosen)) for contrast in contrasts if contrast.is_shown]
    beaten = sum(contrast.better is chosen for contrast in contrasts)
    return Standing(
        chosen=chosen,
        best=chosen if others and beaten == len(others) else None,
        tied=tuple(other for other in others if id(other) not in told),
        contrasts=contrasts,
    )


def by_validation(configs: Iterable[ConfigRow], metric: Metric) -> list[ConfigRow]:
    """Return those with a validation score, the best mean first; equals keep their order.

    Means of equal values may round apart.
    """
    sign = -1 if metric.mode == "max" else 1
    validated = [config for config in configs if metric.name in config.validation]
    return sorted(
        validated, key=lambda config: sign * round(config.validation[metric.name].mean, ROUNDED)
    )


def _contrasts(
    pairs: Sequence[tuple[ConfigRow, ConfigRow]], metric: Metric, choices: float = 1
) -> tuple[Contrast, ...]:
    """Compare pairs as one family, of which there could have been so many choices."""
    found = [(c, other, paired(c.trials, other.trials, metric.name)) for c, other in pairs]
    compared = [(config, other, spread) for config, other, spread in found if spread is not None]
    ps = [paired_p(difference) for _, _, difference in compared]
    family = sum(p is not None for p in ps)
    return tuple(
        Contrast(
            config=config,
            other=other,
            metric=metric,
            difference=difference,
            p=p,
            p_holm=None if corrected is None else min(1.0, corrected * choices),
            family=family,
            level=LEVEL / max(family, 1) / choices,
        )
        for (config, other, difference), p, corrected in zip(compared, ps, holm(ps), strict=True)
    )
