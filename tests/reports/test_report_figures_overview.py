"""Score over backbones by module: what is drawn, and labels that stay with their backbone."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest

from reports.configs import config_rows
from reports.figures import overview as drawing
from reports.figures.labelling import Panel, collisions
from reports.figures.overview import Facet, Mark, caption, facet_of, overview
from reports.paper.drawing import published
from reports.paper.figure_1 import points
from reports.rows import StudyRows, TrialRow

Make = Callable[..., TrialRow]
Study = Callable[..., StudyRows]


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Panel, bool]]:
    """The panels whose labels were placed, in the order of the attempts, and whether they were."""
    found: list[tuple[Panel, bool]] = []
    place = drawing.place

    def noted(panel: Panel) -> bool:
        found.append((panel, place(panel)))
        return found[-1][1]

    monkeypatch.setattr(drawing, "place", noted)
    return found


def test_every_published_point_is_drawn_and_has_a_label(placed: list[tuple[Panel, bool]]) -> None:
    figure = overview(published())
    assert figure is not None
    panels = [panel for panel, _ in placed[-6:]]  # four backbones, one, and one
    assert all(ok for _, ok in placed[-6:])
    assert [collisions(panel) for panel in panels] == [[]] * 6
    drawn = sorted(round(panel_y, 2) for panel in panels for _, panel_y, _ in panel.points)
    assert drawn == sorted(float(point.score) for point in points())
    assert sum(len(panel.labels) for panel in panels) == 44
    labels = [label.get_text() for label in panels[1].labels]
    assert labels == ["baseline", "CA", "ECA", "SE", "CBAM", "SA", "ELA-T", "ELA-B"]
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "Top-1 accuracy (%)",
        "AP (%)",
        "Mean IoU (%)",
    ]


def test_modules_differ_in_colour_and_marker(placed: list[tuple[Panel, bool]]) -> None:
    figure = overview(published())
    assert figure is not None
    (legend,) = figure.legends
    looks = [(mark.get_color(), mark.get_marker()) for mark in legend.get_lines()]
    assert len(looks) == 7
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in combinations(looks, 2))


def test_validation_chooses_the_configuration_and_test_is_shown(trial: Make, study: Study) -> None:
    def scored(label: str, seed: int, val: float, test: float) -> TrialRow:
        return trial(label, seed, metrics={"test_top1": test, "best_val_top1": val})

    rows = study(
        [
            scored("baseline", 0, 0.5, 0.5),
            *(scored("ELA-k5", seed, 0.8, 0.6 + seed / 10) for seed in range(2)),
            *(scored("ELA-k7", seed, 0.7, 0.9) for seed in range(2)),
        ]
    )
    facet = facet_of(rows, config_rows(rows), {"resnet18": "R18"})
    assert [(m.backbone, m.module, m.label) for m in facet.marks] == [
        ("R18", "none", "baseline"),
        ("R18", "ela", "ELA-k5"),
    ]
    assert facet.marks[1].score == pytest.approx(65)
    assert facet.marks[1].std == pytest.approx(100 * 0.1 / 2**0.5)
    assert facet.marks[0].std is None
    assert "± sample standard deviation" in caption([facet])


def test_many_backbones_are_drawn_in_rows(placed: list[tuple[Panel, bool]]) -> None:
    marks = [
        Mark(f"backbone{b}", m, f"{m.upper()}-k7-g8-ng16", 70 + b + i / 3, 0.4)
        for b in range(8)
        for i, m in enumerate(("none", "ela", "ema", "ca", "se", "cbam"))
    ]
    figure = overview([Facet("study", "Test Top-1 (%)", tuple(marks))])
    assert figure is not None
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["study (1 of 2)", "study (2 of 2)"]
    assert sum(len(panel.labels) for panel, _ in placed[-8:]) == 48
    assert all(collisions(panel) == [] for panel, _ in placed[-8:])


def test_without_a_score_there_is_none(study: Study) -> None:
    assert overview([]) is None
    assert overview([facet_of(study([]), ())]) is None
