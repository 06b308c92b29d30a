"""The points of ELA's Figure 1, taken from Tables 5, 7 and 8: score over backbone, by module.

The figure itself prints no numbers; its caption names the panels and the modules.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from reports.paper.published import TABLES, Row, printed_number

PANELS = {"ela-5": "top-1 accuracy", "ela-7": "AP", "ela-8": "mean IoU"}
"""Tables, and what the y-axis of their panel says, from left to right."""
ABBREVIATED = {
    "mobilenet_v2": "Mbv2",
    "resnet18": "R18",
    "resnet50": "R50",
    "resnet101": "R101",
    "yolox_nano": "YX-N",
    "deeplabv3_resnet50": "DLv3",
}


@dataclass(frozen=True)
class Point:
    """One mark of the figure."""

    panel: str
    backbone: str
    """As the figure abbreviates it."""
    module: str
    """As it is registered; "none" for the backbone alone."""
    row: str
    """Label in the table."""
    table: str
    score: Decimal
    """In per cent, as printed."""


def points() -> list[Point]:
    """Return every point, panel by panel, in the order of the tables."""
    return [_point(table, row) for table in PANELS for row in TABLES[table].rows]


def _point(table: str, row: Row) -> Point:
    assert row.architecture is not None
    columns = TABLES[table].columns
    place = next(i for i, column in enumerate(columns) if column.kind == "metric")
    return Point(
        panel=PANELS[table],
        backbone=ABBREVIATED[row.architecture.backbone],
        module=row.attention["name"],
        row=row.label,
        table=table,
        score=printed_number(row.cells[place]),
    )
