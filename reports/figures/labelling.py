"""Labels of the points of a panel: what they must not touch, and how they get to their places."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text

from reports.figures.labels import Array, overlapping, place_labels
from reports.figures.style import LEADER


@dataclass
class Panel:
    """The labels of one panel, and what they must not touch."""

    axes: Axes
    sides: tuple[float, float] | None = None
    """Data coordinates x that labels stay between; None for the whole width."""
    labels: list[Text] = field(default_factory=list)
    """At their points until they are placed."""
    points: list[tuple[float, float, float]] = field(default_factory=list)
    """x, y in data coordinates, radius in typographic points; all along what is drawn."""
    lines: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Ends (x0, y0, x1, y1) of level and upright lines, in data coordinates."""

    def label(self, x: float, y: float, words: str) -> None:
        """Give a point a label."""
        text = self.axes.text(x, y, words, fontsize=7, zorder=4)
        text.set_in_layout(False)  # it may yet lie beyond the axes, which need not make room
        self.labels.append(text)

    def bar(self, x: float, y: float, half: float, *, cap: float = 2.0) -> None:
        """Keep labels off an error bar, from y - half to y + half."""
        for step in range(-10, 11):
            self.points.append((x, y + half * step / 10, cap if abs(step) == 10 else 0.5))

    def freeze(self) -> None:
        """Fix the limits of the axes: lines and leaders must not move what they lead to."""
        self.axes.autoscale_view()
        self.axes.autoscale(False)

    def forget_labels(self) -> None:
        """Remove the labels, where there is no room for them; a table has the names."""
        while self.labels:
            self.labels.pop().remove()


def place(panel: Panel) -> bool:
    """Move the labels of a panel beside their points; return whether there was room for all."""
    if not panel.labels:
        return True
    unit = panel.axes.figure.dpi / 72
    extents = [label.get_window_extent() for label in panel.labels]
    anchors = panel.axes.transData.transform([label.get_position() for label in panel.labels])
    sizes = [(extent.width, extent.height) for extent in extents]
    placed = place_labels(sizes, anchors, _obstacles(panel), _frame(panel, 3 * unit), unit)
    if placed is None:
        return False
    to_data = panel.axes.transData.inverted()
    for label, extent, spot in zip(panel.labels, extents, placed, strict=True):
        x, y = label.get_transform().transform(label.get_position())
        corner = spot.box[:2] + np.array([x - extent.x0, y - extent.y0])
        label.set_position(tuple(to_data.transform(corner)))
        if spot.leader is not None:
            ends = to_data.transform(spot.leader)
            panel.axes.plot(*ends.T, color=LEADER, linewidth=0.5, zorder=1.5)
    return True


def collisions(panel: Panel) -> list[tuple[str, str]]:
    """Return what touches a label: (label, what it touches), from what the renderer measures."""
    boxes = np.array([label.get_window_extent().extents for label in panel.labels])
    names = [label.get_text() for label in panel.labels]
    touching = np.argwhere(np.triu(overlapping(boxes, boxes), 1))
    found = [(names[i], names[j]) for i, j in touching]
    drawn = np.unique(np.argwhere(overlapping(boxes, _obstacles(panel)))[:, 0])
    return found + [(names[i], "what is drawn") for i in drawn]


def _frame(panel: Panel, padding: float) -> Array:
    """Return the box, in pixels, that labels stay in."""
    frame = np.array(panel.axes.get_window_extent().extents)
    if panel.sides is not None:
        frame[[0, 2]] = panel.axes.transData.transform([(x, 0) for x in panel.sides])[:, 0]
    padded: Array = frame + padding * np.array([1, 1, -1, -1])
    return padded


def _obstacles(panel: Panel) -> Array:
    """Return the boxes, in pixels, of what is drawn in a panel."""
    x, y, radius = np.array(panel.points).T
    centres = panel.axes.transData.transform(np.stack([x, y], axis=1))
    reach = (radius * panel.axes.figure.dpi / 72)[:, None]
    boxes = np.concatenate([centres - reach, centres + reach], axis=1)
    if not panel.lines:
        return boxes
    ends = panel.axes.transData.transform(np.reshape(panel.lines, (-1, 2))).reshape(-1, 2, 2)
    strips = np.concatenate([ends.min(axis=1) - 1, ends.max(axis=1) + 1], axis=1)
    return np.vstack([boxes, strips])
