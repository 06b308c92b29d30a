"""Score against cost: the front, what is drawn, and labels that touch nothing."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from reports.configs import config_rows
from reports.figures import accuracy
from reports.figures.accuracy import (
    LATENCY,
    MACS,
    PARAMETERS,
    Layout,
    caption,
    pareto_front,
    score_against,
)
from reports.figures.labelling import Panel, collisions
from reports.figures.labels import overlapping
from reports.figures.style import TEXT_HEIGHT, Figure
from reports.rows import StudyRows, TrialRow

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]
NAMES = [
    *("baseline", "ELA-k3-g-ng16", "ELA-k5-g8-ng16", "ELA-k7-g8-ng32", "ELA-k5-g-ng32"),
    *("ELA-k7-g-ng16", "EMA-G16", "EMA-G32", "CA-r16", "CA-r32", "SE-r16", "CBAM-r16"),
]


@pytest.fixture
def awkward(trial: Make, study: Study) -> StudyRows:
    """Twelve modules within a thousand parameters and half a point."""
    draw = random.Random(0)
    trials = []
    for index, name in enumerate(NAMES):
        params, mean = 11_173_962 + 80 * index, 0.96 + 0.005 * draw.random()
        trials += [
            trial(name, seed, draw.gauss(mean, 0.004), params_thop_like=params) for seed in range(3)
        ]
    return study(trials)


@pytest.mark.parametrize("equal", [False, True], ids=["nearly equal", "equal"])
def test_labels_touch_nothing(
    awkward: StudyRows, equal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if equal:
        trials = tuple(replace(t, params_thop_like=11_173_962) for t in awkward.trials)
        awkward = replace(awkward, trials=trials)
    placed: list[Panel] = []
    place = accuracy.place
    monkeypatch.setattr(accuracy, "place", lambda panel: placed.append(panel) or place(panel))
    (figure,) = score_against(awkward, config_rows(awkward), PARAMETERS)
    assert {label.get_text() for label in placed[-1].labels} == set(NAMES)
    assert collisions(placed[-1]) == []
    figure.draw_without_rendering()  # which sets the texts of ticks
    boxes = [text.get_window_extent().extents for text in _texts(figure)]
    assert not np.triu(overlapping(np.array(boxes), np.array(boxes)), 1).any()


def test_where_there_is_no_room_names_are_left_to_the_table(
    awkward: StudyRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "LAYOUTS", (Layout(columns=2, height=1.2),))
    (figure,) = score_against(awkward, config_rows(awkward), PARAMETERS)
    assert not figure.axes[0].texts
    (legend,) = figure.legends
    assert {"ELA", "EMA", "CA", "SE", "CBAM"} <= {text.get_text() for text in legend.get_texts()}


def test_axes_have_units_and_backbones_panels(trial: Make, study: Study) -> None:
    trials = [trial(n, 0, 0.9) for n in ("baseline", "ELA")]
    trials += [trial("baseline", 0, 0.8, backbone="resnet50", params_true=25_000_000)]
    rows = study(trials)
    (figure,) = score_against(rows, config_rows(rows), PARAMETERS)
    assert [axes.get_title("left") for axes in figure.axes] == ["ResNet-18", "ResNet-50"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Parameters (M)"}
    assert {axes.get_ylabel() for axes in figure.axes} == {"Test Top-1 (%)"}


def test_what_is_drawn_are_the_seeds_their_mean_and_the_front(trial: Make, study: Study) -> None:
    trials = [trial("baseline", s, v, macs=2_000_000) for s, v in enumerate((0.5, 0.75))]
    trials += [trial("ELA", s, v, macs=3_000_000) for s, v in enumerate((0.625, 0.875))]
    rows = study(trials)
    (figure,) = score_against(rows, config_rows(rows), MACS)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "MACs (M)"
    drawn = [(line.get_xdata(), line.get_ydata()) for line in axes.lines]
    points = [[tuple(map(float, x)), tuple(map(float, y))] for x, y in drawn]
    assert [(2.0, 2.0), (50.0, 75.0)] in points
    assert [(3.0, 3.0), (62.5, 87.5)] in points
    assert [(2.0,), (62.5,)] in points
    edge = float(axes.get_xlim()[1])
    assert [(2.0, 3.0, edge), (62.5, 75.0, 75.0)] in points


def test_a_cost_that_was_not_measured_has_no_figure(awkward: StudyRows, study: Study) -> None:
    assert score_against(awkward, config_rows(awkward), LATENCY) == ()
    assert score_against(study([]), (), PARAMETERS) == ()


def test_a_measured_latency_is_an_axis(trial: Make, study: Study) -> None:
    rows = study([trial("baseline", 0, 0.5), trial("ELA", 0, 0.75)])
    costs = [SimpleNamespace(latency_ms=2.5), None]
    configs = [replace(c, cost=k) for c, k in zip(config_rows(rows), costs, strict=True)]
    (figure,) = score_against(rows, configs, LATENCY)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "Latency (ms)"
    marks = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(float(m.get_xdata()[0]), float(m.get_ydata()[0])) for m in marks] == [(2.5, 50.0)]


def test_what_fits_no_page_is_several_figures(trial: Make, study: Study) -> None:
    backbones = [f"backbone{i}" for i in range(13)]
    trials = [trial(n, 0, 0.9, backbone=b) for b in backbones for n in ("baseline", "ELA")]
    rows = study(trials)
    found = score_against(rows, config_rows(rows), PARAMETERS)
    titles = [axes.get_title("left") for figure in found for axes in figure.axes]
    assert [title for title in titles if title] == backbones
    assert all(figure.get_figheight() < TEXT_HEIGHT + 0.5 for figure in found)


def test_where_points_have_no_label_the_legend_has_the_modules(trial: Make, study: Study) -> None:
    trials = [trial(f"ELA-k{i}", 0, 0.9 + i / 1000, hyperparameters={"k": i}) for i in range(45)]
    rows = study([trial("baseline", 0, 0.9), *trials])
    (figure,) = score_against(rows, config_rows(rows), PARAMETERS)
    (legend,) = figure.legends
    assert "ELA" in [text.get_text() for text in legend.get_texts()]


def test_where_not_all_labels_have_room_the_best_have_theirs(trial: Make, study: Study) -> None:
    """Thirty-eight configurations, of 2000 parameters' difference: room for a few labels."""
    draw = random.Random(0)
    trials = [
        trial(name, seed, draw.gauss(0.95, 0.003), params_thop_like=params)
        for name in ["baseline", *(f"ELA-k{k:02}-g16-ng16" for k in range(37))]
        for params in [11_200_000 + draw.randrange(2000)]
        for seed in range(3)
    ]
    rows = study(trials)
    (figure,) = score_against(rows, config_rows(rows), PARAMETERS)
    named = {text.get_text() for text in figure.axes[0].texts}
    best = max(config_rows(rows), key=lambda config: config.spreads["top1"].mean)
    assert {"baseline", best.name} <= named
    assert len(named) < 38
    (legend,) = figure.legends
    assert "ELA" in [text.get_text() for text in legend.get_texts()]


def test_a_score_in_per_cent_has_no_tick_beyond_100(trial: Make, study: Study) -> None:
    rows = study(trial(name, s, 0.99 + 0.01 * s) for name in ("baseline", "ELA") for s in range(2))
    (figure,) = score_against(rows, config_rows(rows), PARAMETERS)
    (axes,) = figure.axes
    assert axes.get_ylim()[1] > 100  # where labels have room
    assert max(axes.get_yticks()) <= 100
    assert axes.spines["left"].get_bounds()[1] == 100


def test_equal_scores_have_an_axis_that_can_be_read(trial: Make, study: Study) -> None:
    """The mean of two equal scores differs from them, by the rounding of a sum."""
    rows = study(trial(name, s, 37 / 360) for name in ("baseline", "ELA", "CA") for s in range(3))
    (figure,) = score_against(rows, config_rows(rows), PARAMETERS)
    (axes,) = figure.axes
    low, high = axes.get_ylim()
    assert low < 100 * 37 / 360 - 0.9 < 100 * 37 / 360 + 0.9 < high
    figure.canvas.draw()
    assert max(len(label.get_text()) for label in axes.get_yticklabels()) <= 5


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize("seed", range(40))
def test_front_is_what_no_other_point_beats(seed: int, mode: str) -> None:
    """Against the definition, pair by pair; costs and scores of few values, so that some tie."""
    draw = np.random.default_rng(seed)
    points = draw.integers(0, 6, (int(draw.integers(1, 25)), 2)).astype(float)
    sign = 1 if mode == "max" else -1

    def beats(a: np.ndarray, b: np.ndarray) -> bool:
        no_worse = a[0] <= b[0] and sign * a[1] >= sign * b[1]
        return no_worse and not (a == b).all()

    expected = {i for i, p in enumerate(points) if not any(beats(q, p) for q in points)}
    found = pareto_front([tuple(point) for point in points], mode)
    assert set(found) == expected
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


def test_the_caption_says_which_cost(awkward: StudyRows) -> None:
    configs = config_rows(awkward)
    assert "parameters (thop's convention)" in caption(awkward, configs, PARAMETERS)
    assert "MACs of one image" in caption(awkward, configs, MACS)


def test_the_caption_names_what_is_not_drawn(trial: Make, study: Study) -> None:
    trials = [trial("baseline", 0), trial("SE", 0, status="failed", metrics={})]
    rows = study([*trials, trial("CA", 0, macs=None, macs_fvcore=None)])
    configs = config_rows(rows)
    assert caption(rows, configs, PARAMETERS).endswith(
        "Not drawn, without a score or parameters: 1 of ResNet-18 (SE)."
    )
    assert "2 of ResNet-18 (SE, CA)." in caption(rows, configs, MACS)
    assert "Not drawn" not in caption(rows, configs[:1], MACS)


def _texts(figure: Figure) -> list:
    axes = figure.axes[0]
    ticks = [
        label
        for axis in (axes.xaxis, axes.yaxis)
        for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
        if min(axis.get_view_interval()) <= place <= max(axis.get_view_interval())
    ]
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    titles = [axes.xaxis.label, axes.yaxis.label, axes._left_title]
    return [t for t in [*axes.texts, *ticks, *legends, *titles] if t.get_text()]
