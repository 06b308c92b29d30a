"""Learning curves: what is averaged, what is drawn, what is left out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from reports.configs import config_rows
from reports.figures.curves import caption, chosen, curves, mean_curve
from reports.rows import StudyRows, TrialRow
from sweep.tracking.reading import Curve

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


def _history(*values: float) -> Curve:
    return tuple(enumerate(values, start=1))


def test_mean_and_band_of_three_seeds(trial: Make, study: Study) -> None:
    rows = study([trial("ELA", seed) for seed in range(3)])
    (config,) = config_rows(rows)
    seeds = [(0.5, 0.7), (0.6, 0.8), (0.7, 0.6)]
    histories = {t.run_id: _history(*v) for t, v in zip(rows.trials, seeds, strict=True)}
    curve = mean_curve(config, rows.compared, histories)
    assert curve is not None
    assert (curve.seeds, curve.epochs.tolist()) == (3, [1, 2])
    for i, values in enumerate(zip(*seeds, strict=True)):
        mean, std = 100 * statistics.mean(values), 100 * statistics.stdev(values)
        assert curve.mean[i] == pytest.approx(mean)
        assert (curve.low[i], curve.high[i]) == pytest.approx((mean - std, mean + std))


def test_the_band_of_two_seeds_is_their_range(trial: Make, study: Study) -> None:
    rows = study([trial("ELA", seed) for seed in range(2)])
    (config,) = config_rows(rows)
    histories = {"run-ELA-0": _history(0.2, 0.5), "run-ELA-1": _history(0.4, 0.3)}
    curve = mean_curve(config, rows.compared, histories)
    assert curve is not None
    assert curve.low == pytest.approx([20, 30])
    assert curve.high == pytest.approx([40, 50])


def test_a_mean_is_over_the_same_seeds_at_every_epoch(trial: Make, study: Study) -> None:
    """One seed ended early, one has a NaN, one failed, one has no curve."""
    trials = [trial("ELA", seed) for seed in range(5)]
    trials[3] = replace(trials[3], status="failed")
    rows = study(trials)
    (config,) = config_rows(rows)
    histories = {
        "run-ELA-0": _history(0.1, 0.2, 0.3, 0.4),
        "run-ELA-1": _history(0.3, 0.4, 0.5),
        "run-ELA-2": _history(0.2, math.nan, 0.1, 0.9),
        "run-ELA-3": _history(0.9, 0.9, 0.9, 0.9),
    }
    curve = mean_curve(config, rows.compared, histories)
    assert curve is not None
    assert (curve.seeds, curve.epochs.tolist()) == (3, [1, 3])
    assert curve.mean == pytest.approx([20, 30])


def test_without_a_shared_epoch_there_is_no_curve(trial: Make, study: Study) -> None:
    rows = study([trial("ELA", seed) for seed in range(2)])
    (config,) = config_rows(rows)
    histories = {"run-ELA-0": _history(0.1), "run-ELA-1": _history(math.nan)}
    assert mean_curve(config, rows.compared, histories) is None
    assert curves(rows, [config], histories) == ()
    assert curves(rows, [config], {}) == ()


@pytest.fixture
def ten(trial: Make, study: Study) -> StudyRows:
    """A baseline that is worst, and nine configurations: the later, the better by validation."""
    metrics = [{"test_top1": 0.9, "best_val_top1": 0.5 + i / 100} for i in range(10)]
    modules = [trial(f"ELA-k{i}", 0, metrics=metrics[i]) for i in range(1, 10)]
    return study([trial("baseline", 0, metrics=metrics[0]), *modules])


def test_the_baseline_and_six_are_drawn_that_validation_chose(ten: StudyRows) -> None:
    configs = config_rows(ten)
    drawn = [config.name for config in chosen(configs, ten.compared)]
    assert drawn == ["baseline", *(f"ELA-k{i}" for i in range(4, 10))]
    words = caption(ten, configs, {t.run_id: _history(0.5) for t in ten.trials})
    assert words.endswith("Left out, by validation: 3 of ResNet-18 (ELA-k1, ELA-k2, ELA-k3).")


def test_the_caption_names_what_has_no_line_or_fewer_seeds(trial: Make, study: Study) -> None:
    rows = study(trial(name, seed) for name in ("baseline", "CA", "SE") for seed in range(3))
    histories = {t.run_id: _history(0.5, 0.6) for t in rows.trials}
    histories["run-CA-1"] = _history(math.nan, math.nan)
    del histories["run-SE-0"]
    words = caption(rows, config_rows(rows), histories)
    assert "No line, without such an epoch: 1 of ResNet-18 (CA)." in words
    assert "Of fewer seeds, as not every run has a curve: 1 of ResNet-18 (SE)." in words


def test_lines_are_the_means_and_labels_do_not_overlap(ten: StudyRows) -> None:
    configs = config_rows(ten)
    histories = {t.run_id: _history(0.2, 0.8, 0.9, 0.9) for t in ten.trials}
    (figure,) = curves(ten, configs, histories)
    (axes,) = figure.axes
    means = [line for line in axes.lines if len(line.get_xdata()) == 4]
    assert len(means) == 7
    assert len({str(line._unscaled_dash_pattern) for line in means}) == 6  # one for each of ELA's
    for line in means:
        assert line.get_ydata() == pytest.approx([20, 80, 90, 90])
    assert axes.get_ylim()[0] > 80  # the first half lies outside
    spans = sorted((box.y0, box.y1) for t in axes.texts for box in [t.get_window_extent()])
    assert len(spans) == 7
    assert all(below[1] <= above[0] + 1 for below, above in pairwise(spans))


@pytest.mark.parametrize("length", [1, 2])
def test_short_trainings_are_drawn(trial: Make, study: Study, length: int) -> None:
    rows = study([trial("ELA", 0)])
    (figure,) = curves(rows, config_rows(rows), {"run-ELA-0": _history(*[0.5] * length)})
    assert np.isfinite(figure.axes[0].get_ylim()).all()
