"""Figure 1: every point is a cell of a table, and the panels are those of the caption."""

from __future__ import annotations

from decimal import Decimal
from itertools import groupby

import pytest
from paper_sources import PAPERS, needs_papers

from reports.paper.figure_1 import ABBREVIATED, PANELS, points
from reports.paper.published import TABLES

SCORES = {"ela-5": "Top-1(%)", "ela-7": "mAP", "ela-8": "Mean IoU"}
"""Heading of the column that a panel shows."""


def caption() -> str:
    text = (PAPERS / "ela.txt").read_text(encoding="utf-8")
    return next(line for line in text.splitlines() if line.startswith("Figure 1:"))


@pytest.mark.parametrize("name", SCORES)
def test_points_are_the_cells_of_a_table(name: str) -> None:
    table = TABLES[name]
    place = [column.heading for column in table.columns].index(SCORES[name])
    assert [(p.row, str(p.score), p.module) for p in points() if p.table == name] == [
        (row.cells[0], row.cells[place], row.attention["name"]) for row in table.rows
    ]


def test_panels_stand_from_left_to_right() -> None:
    panels = [panel for panel, _ in groupby(point.panel for point in points())]
    assert panels == ["top-1 accuracy", "AP", "mean IoU"]
    assert len(points()) == 30 + 7 + 7


def test_some_points_as_printed() -> None:
    found = {(p.backbone, p.row): p.score for p in points()}
    assert found["R50", "+ELA-S(Ours)"] == Decimal("76.59")
    assert found["Mbv2", "+CA(r=24)"] == Decimal("71.56")
    assert found["YX-N", "+ELA-S(Ours)"] == Decimal("74.36")
    assert found["DLv3", "DeepLabV3"] == Decimal("70.47")


@pytest.mark.parametrize("panel", PANELS.values())
def test_a_panel_has_the_modules_of_the_caption_and_the_backbone_alone(panel: str) -> None:
    modules = {point.module for point in points() if point.panel == panel}
    assert modules == {"none", "sa", "eca", "se", "ca", "cbam", "ela"}


@needs_papers
def test_panels_modules_and_abbreviations_are_in_the_caption() -> None:
    said = "top-1 accuracy, AP and mean IoU"
    assert said in caption()
    assert list(PANELS.values()) == said.replace(" and ", ", ").split(", ")
    explained = {"mobilenet_v2": "MobileNetV2", "yolox_nano": "YOLOX-Nano"}
    for backbone, title in explained.items():
        assert title in caption()
        assert f'"{ABBREVIATED[backbone]}"' in caption()
    assert f'"{ABBREVIATED["deeplabv3_resnet50"]}"' in caption()
