"""Slopes: which configurations a line joins, and what the mean is over."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable

import pytest

from reports.configs import config_rows
from reports.figures.slopes import COLUMNS, ROWS, find_slopes, level_label, slopes
from reports.figures.style import TEXT_HEIGHT
from reports.rows import StudyRows, TrialRow

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


def _ela(trial: Make, k: int, groups: str, seed: int, top1: float) -> TrialRow:
    hyperparameters = {"kernel_size": k, "groups": groups, "shared": True}
    return trial(f"ELA-k{k}-{groups}", seed, top1, hyperparameters=hyperparameters)


def test_lines_join_what_shares_all_else(trial: Make, study: Study) -> None:
    """A full grid of 2 x 2 over two seeds, worked by hand."""
    scores = {
        (7, "in_channels"): (0.50, 0.52),
        (5, "in_channels"): (0.40, 0.44),
        (7, "in_channels/8"): (0.60, 0.60),
        (5, "in_channels/8"): (0.30, 0.34),
    }
    trials = [_ela(trial, *key, s, v) for key, vs in scores.items() for s, v in enumerate(vs)]
    rows = study([trial("baseline", 0), *trials])
    kernel, groups = find_slopes(config_rows(rows), rows.compared)
    assert (kernel.factor, kernel.levels) == ("kernel_size", ("5", "7"))
    assert (groups.factor, groups.levels) == ("groups", ("C", "C/8"))
    assert [pytest.approx(line) for line in kernel.lines] == [(42, 51), (32, 60)]
    assert [pytest.approx(line) for line in groups.lines] == [(51, 60), (42, 32)]
    five, seven = kernel.mean
    assert (five.mean, five.std, five.n) == pytest.approx((37, statistics.stdev([35, 39]), 2))
    assert (seven.mean, seven.std) == pytest.approx((55.5, statistics.stdev([55, 56])))


def test_the_mean_is_over_lines_and_seeds_that_have_every_level(trial: Make, study: Study) -> None:
    trials = [_ela(trial, k, "C", s, k / 10 + s / 100) for k in (3, 5, 7) for s in range(2)]
    trials += [_ela(trial, k, "C/8", 0, 0.9) for k in (3, 5)]  # never with 7
    trials += [_ela(trial, 7, "C", 2, 0.1)]  # a seed that 3 and 5 have not
    rows = study(trials)
    kernel = next(
        s for s in find_slopes(config_rows(rows), rows.compared) if s.factor == "kernel_size"
    )
    assert [level.n for level in kernel.mean] == [2, 2, 2]
    assert [level.mean for level in kernel.mean] == pytest.approx([30.5, 50.5, 70.5])
    assert kernel.lines[1][:2] == pytest.approx((90, 90))
    assert math.isnan(kernel.lines[1][2])


def test_what_is_never_alone_changed_has_no_slope(trial: Make, study: Study) -> None:
    """Presets differ in several hyperparameters: none of them can be given the difference."""
    rows = study([_ela(trial, 5, "C", 0, 0.5), _ela(trial, 7, "C/8", 0, 0.6)])
    assert find_slopes(config_rows(rows), rows.compared) == []
    assert slopes(rows, config_rows(rows)) == ()
    assert slopes(study([]), ()) == ()


@pytest.mark.parametrize(
    ("value", "label"),
    [("in_channels", "C"), ("in_channels/8", "C/8"), (16, "16"), (True, "true"), (None, "none")],
)
def test_levels_are_short(value: object, label: str) -> None:
    assert level_label(value) == label


def test_panels_of_a_backbone_share_their_scale_and_pages_fit(trial: Make, study: Study) -> None:
    fields = [f"factor{i}" for i in range(COLUMNS * ROWS + 1)]
    trials = []
    for field, value in itertools.product(fields, (1, 2)):
        others = dict.fromkeys(fields, 1) | {field: value}
        label = f"ELA-{field if value == 2 else 'reference'}"
        if value == 2 or field == fields[0]:
            top1 = 0.5 + 0.01 * len(trials)
            trials.append(trial(label, 0, top1, hyperparameters=others))
    rows = study(trials)
    found = slopes(rows, config_rows(rows))
    assert [len(figure.axes) for figure in found] == [12, 12]  # 21 panels, 10 and 11
    for figure in found:
        drawn = [axes for axes in figure.axes if axes.axison]
        assert len({axes.get_ylim() for axes in drawn}) == 1
        assert figure.get_figheight() < TEXT_HEIGHT
