"""Every seed is drawn, whatever the number of configurations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from reports.configs import config_rows
from reports.figures.seeds import ROWS, caption, seeds
from reports.figures.style import INK, TEXT_HEIGHT, Figure
from reports.rows import StudyRows, TrialRow
from tests.reports.conftest import METRICS

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


def _dots(figure: Figure) -> list[float]:
    return [
        float(x)
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "." and line.get_color() == INK
        for x in line.get_xdata()
    ]


@pytest.mark.parametrize("count", [1, 5, 60, 150])
def test_every_seed_of_every_configuration_is_drawn(trial: Make, study: Study, count: int) -> None:
    draw = np.random.default_rng(count)
    scores = draw.uniform(0.4, 0.6, (count, 3))
    names = ["baseline", *(f"ELA-k{i}" for i in range(1, count))]
    rows = study(trial(n, s, scores[i, s]) for i, n in enumerate(names) for s in range(3))
    found = seeds(rows, config_rows(rows))
    drawn = sorted(x for figure in found for x in _dots(figure))
    assert drawn == pytest.approx(sorted(100 * scores.ravel()))
    ticks = [t.get_text() for f in found for a in f.axes for t in a.get_yticklabels()]
    assert ticks == names
    assert max(len(axes.get_yticks()) for f in found for axes in f.axes) <= ROWS
    assert all(figure.get_figheight() <= TEXT_HEIGHT for figure in found)


def test_the_bar_is_students_interval(trial: Make, study: Study) -> None:
    values = [0.50, 0.52, 0.57]
    rows = study(trial("ELA", s, v) for s, v in enumerate(values))
    (figure,) = seeds(rows, config_rows(rows))
    ((bar,),) = ([c for c in figure.axes[0].collections if hasattr(c, "get_segments")],)
    half = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / np.sqrt(3)
    ends = np.mean(values) + half * np.array([-1, 1])
    assert bar.get_segments()[0][:, 0] == pytest.approx(100 * ends)
    assert "95 % interval" in caption(rows)


def test_equal_seeds_lie_one_under_the_other(trial: Make, study: Study) -> None:
    rows = study(trial("ELA", s, 0.5) for s in range(3))
    (figure,) = seeds(rows, config_rows(rows))
    (dots,) = [line for line in figure.axes[0].lines if line.get_color() == INK]
    assert len(set(dots.get_ydata())) == 3


def test_a_configuration_without_a_result_has_its_row(trial: Make, study: Study) -> None:
    rows = study([trial("baseline", 0), trial("ELA", 0, status="failed", metrics={})])
    (figure,) = seeds(rows, config_rows(rows))
    assert [text.get_text() for text in figure.axes[0].texts] == ["no result"]
    empty = study([trial("ELA", 0, status="failed", metrics={})])
    assert seeds(empty, config_rows(empty)) == ()


def test_the_axis_ends_where_the_metric_does(trial: Make, study: Study) -> None:
    """Of two seeds, t's interval is 12.7 standard errors to either side: here beyond 100 %."""
    rows = study(trial("ELA", s, v) for s, v in enumerate([0.98, 1.0]))
    (figure,) = seeds(rows, config_rows(rows))
    assert figure.axes[0].get_xlim()[1] == 100
    assert not any(line.get_clip_on() for line in figure.axes[0].lines if line.get_marker() == ".")
    assert "t's interval does not know of these bounds" in caption(rows)
    losses = study(rows.trials, metrics=METRICS[2:])
    assert "bounds" not in caption(losses)
    assert seeds(losses, config_rows(losses))[0].axes[0].get_xlim()[0] < 0
