from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from reports import figures
from reports.configs import config_rows
from reports.figures import Layout, accuracy_against_parameters, collisions, save
from reports.labels import overlapping, place_labels
from reports.rows import StudyRows, TrialRow

NAMES = [
    *("baseline", "ELA-k3-g-ng16", "ELA-k5-g8-ng16", "ELA-k7-g8-ng32", "ELA-k5-g-ng32"),
    *("ELA-k7-g-ng16", "EMA-G16", "EMA-G32", "CA-r16", "CA-r32", "SE-r16", "CBAM-r16"),
]


@pytest.fixture
def awkward(trial: Callable[..., TrialRow], study: Callable[..., StudyRows]) -> StudyRows:
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
def test_labels_touch_nothing(awkward: StudyRows, equal: bool) -> None:
    if equal:
        trials = [vars(t) | {"params_thop_like": 11_173_962} for t in awkward.trials]
        awkward = StudyRows(**vars(awkward) | {"trials": tuple(TrialRow(**t) for t in trials)})
    panels: list[figures.Panel] = []
    place = figures._place
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "_place", lambda panel: panels.append(panel) or place(panel))
        figure = accuracy_against_parameters(awkward, config_rows(awkward))
    figure.draw_without_rendering()
    assert {label.get_text() for label in panels[-1].labels} == set(NAMES)
    assert collisions(panels[-1]) == []
    boxes = [text.get_window_extent().extents for text in _texts(figure)]
    overlaps = np.triu(overlapping(np.array(boxes), np.array(boxes)), 1)
    assert not overlaps.any()


def test_where_there_is_no_room_names_are_left_to_the_table(awkward: StudyRows) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "LAYOUTS", (Layout(columns=2, height=1.2),))
        figure = accuracy_against_parameters(awkward, config_rows(awkward))
    assert not figure.axes[0].texts


def test_axes_have_units_and_backbones_panels(
    trial: Callable[..., TrialRow], study: Callable[..., StudyRows]
) -> None:
    trials = [trial(n, 0, 0.9) for n in ("baseline", "ELA")]
    trials += [trial("baseline", 0, 0.8, backbone="resnet50", params_true=25_000_000)]
    rows = study(trials)
    figure = accuracy_against_parameters(rows, config_rows(rows))
    assert [axes.get_title("left") for axes in figure.axes] == ["ResNet-18", "ResNet-50"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"Parameters (M)"}
    assert {axes.get_ylabel() for axes in figure.axes} == {"Test Top-1 (%)"}


def test_the_same_study_gives_the_same_files(awkward: StudyRows, tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        figure = accuracy_against_parameters(awkward, config_rows(awkward))
        paths = save(figure, tmp_path / name / "figure")
        contents.append({path.name: path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {"figure.png", "figure.svg", "figure.pdf"}


def test_nothing_to_draw_is_said(study: Callable[..., StudyRows]) -> None:
    figure = accuracy_against_parameters(study([]), ())
    assert figure.texts[0].get_text() == "No trial has a result yet."


def test_a_label_takes_the_nearest_free_place() -> None:
    frame = np.array([0.0, 0.0, 100.0, 100.0])
    point = np.array([[50.0, 50.0]])
    free = place_labels([(20.0, 8.0)], point, np.empty((0, 4)), frame, 1.0)
    right = np.array([[52.0, 0.0, 100.0, 100.0]])
    blocked = place_labels([(20.0, 8.0)], point, right, frame, 1.0)
    none = place_labels([(20.0, 8.0)], point, frame[None], frame, 1.0)
    assert free is not None
    assert blocked is not None
    assert free[0].box.tolist() == [54.0, 46.0, 74.0, 54.0]
    assert blocked[0].box.tolist() == [26.0, 46.0, 46.0, 54.0]
    assert none is None


def _texts(figure: figures.Figure) -> list[figures.Text]:
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
