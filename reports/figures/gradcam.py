"""Grad-CAM of baseline and modules side by side on the same images, as Figure 3 of the ELA paper.

A row is a model, a column an image. Each map is on its own scale, since the size of a logit's
gradient says nothing across models: colours compare places within a map, not maps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from reports.figures.style import COLUMN, TEXT_WIDTH, new_figure, styled
from sweep.tracking.gradcam import Comparison, GradCam, Layer, ModelMaps

COLOURS = "viridis"
"""Perceptually uniform, and read alike by colour-blind readers and in grey."""
OPACITY = 0.9
"""Of a map over its image where it is largest; it fades with the map, so that the image is seen
where the map has nothing."""
WHITE = 320
"""Value of a pixel that would be printed white; 255 is a light grey, on which yellow is seen."""
SMALL = 7.0
"""Typographic points of all text but the title."""
LETTER = 0.62 * SMALL / 72
"""Inches of a letter of the names of classes."""
LARGEST = 1.0
"""Inches of the side of a cell, at most."""


@dataclass(frozen=True)
class _Grid:
    """Where the cells of a figure lie, in inches from its upper left corner."""

    widest: float
    columns: int
    rows: int
    under: float
    """Height of the text under a cell."""
    names: float = 0.88
    """Width of the names of the models."""
    bar: float = 0.56
    """Width of the colour bar and its text."""
    top: float = 0.38
    """Height of title and class names."""
    gap: float = 0.05
    """Between two columns."""

    @property
    def side(self) -> float:
        return min(LARGEST, (self.widest - self.names - self.bar) / self.columns - self.gap)

    @property
    def width(self) -> float:
        return self.names + self.columns * (self.side + self.gap) + self.bar

    @property
    def letters(self) -> int:
        """Of a class's name that have room."""
        return int((self.side + self.gap) / LETTER)

    @property
    def height(self) -> float:
        return self.top + self.rows * (self.side + self.under)

    def axes(self, figure: Figure, row: int, column: int) -> Axes:
        """Add the axes of one cell."""
        left = self.names + column * (self.side + self.gap)
        lower = self.height - self.top - row * (self.side + self.under) - self.side
        axes = self._add(figure, left, lower, self.side, self.side)
        axes.set_axis_off()
        return axes

    def bar_axes(self, figure: Figure) -> Axes:
        """Add the axes of the colour bar, beside all rows but that of the images."""
        height = (self.rows - 1) * (self.side + self.under) - self.under
        return self._add(figure, self.width - self.bar + 0.05, self.under, 0.07, height)

    def _add(self, figure: Figure, left: float, lower: float, width: float, high: float) -> Axes:
        share = (left / self.width, lower / self.height, width / self.width, high / self.height)
        return figure.add_axes(share)


def figure_of(found: GradCam, comparison: Comparison) -> Figure:
    """Return the figure of one backbone.

    Under a map stands whether the model is right, with which probability, and what it takes for the
    class where it is wrong.
    """
    grid = _grid(found, comparison)
    with styled():
        figure = new_figure(grid.width, grid.height)
        figure.set_layout_engine("none")
        figure.text(
            0.005, 1 - 0.03 / grid.height, comparison.group, va="top", weight="bold", size=8.5
        )
        for column, image in enumerate(found.images):
            axes = grid.axes(figure, 0, column)
            axes.imshow(image)
            name = _cut(found.classes[found.labels[column]], grid.letters)
            axes.set_title(name, size=SMALL, weight="normal", pad=3)
            if column == 0:
                _name_row(axes, "image and class")
        for row, model in enumerate(comparison.models, start=1):
            _draw_row(figure, grid, row, found, model)
        _draw_bar(figure, grid)
    return figure


def caption(found: GradCam, comparison: Comparison) -> str:
    """Return what the figure shows, and by which rules its models and images were chosen."""
    epochs = ", ".join(f"{model.name} {model.epoch}" for model in comparison.models)
    empty = any(not model.maps.any(axis=(1, 2)).all() for model in comparison.models)
    sentences = [
        f"Grad-CAM of {comparison.group} for the true class: where an image speaks for it, "
        "relative to the largest value of each map, and fading to the image where nothing does; "
        "colours compare places within a map, not maps.",
        _layer_text(comparison.layer, comparison.last),
        f"Seed {comparison.seed}, the lowest whose weights all models have kept; weights of the "
        f"best epoch on validation ({epochs}).",
        f"Images: the first of each of the first {len(found.images)} classes in the test split; "
        "nothing was chosen by what the maps show.",
        "Under each map: ✓ or ✗ for a right or wrong prediction, its probability, and its class "
        "where it is wrong.",
        *(["An image without colour: nothing in it speaks for its class."] if empty else []),
        *(f"Left out: {name}." for name in found.left_out),
    ]
    return " ".join(sentences)


def _grid(found: GradCam, comparison: Comparison) -> _Grid:
    """Return a grid of one column of a paper, if names and images have room in it, or of both."""
    predicted = [model.predictions for model in comparison.models]
    wrong = any((classes != found.labels).any() for classes in predicted)
    shown = {found.classes[label] for classes in (found.labels, *predicted) for label in classes}
    count, rows = len(found.images), 1 + len(comparison.models)
    grid = _Grid(COLUMN, count, rows, under=0.32 if wrong else 0.2)
    roomy = count <= 5 and max(map(len, shown)) <= grid.letters
    return grid if roomy else replace(grid, widest=TEXT_WIDTH)


def _layer_text(layer: Layer, last: Layer) -> str:
    text = f"Explained is the output of {layer.name}, {_places(layer)}"
    if layer == last:
        return f"{text}, the end of the last stage as in the ELA paper."
    return (
        f"{text}: at this image size {last.name}, the end of the last stage, which would be as in "
        f"the ELA paper, has only {_places(last)}."
    )


def _places(layer: Layer) -> str:
    count = layer.height * layer.width
    return f"{layer.height}×{layer.width} {'place' if count == 1 else 'places'}"


def _draw_row(figure: Figure, grid: _Grid, row: int, found: GradCam, model: ModelMaps) -> None:
    for column, image in enumerate(found.images):
        axes = grid.axes(figure, row, column)
        axes.imshow(image.mean(axis=2), cmap="gray", vmin=0, vmax=WHITE)  # colours are the map's
        places = model.maps[column].astype(float)
        axes.imshow(
            places,
            cmap=COLOURS,
            vmin=0,
            vmax=1,
            alpha=OPACITY * places,
            interpolation="bilinear",
        )
        _write_prediction(axes, found, model, column, grid.letters)
        if column == 0:
            _name_row(axes, model.name)


def _write_prediction(axes: Axes, found: GradCam, model: ModelMaps, column: int, room: int) -> None:
    predicted, probability = model.predictions[column], model.probabilities[column]
    text = f"✓ {probability:.2f}"
    if predicted != found.labels[column]:
        text = f"✗ {probability:.2f}\n{_cut(found.classes[predicted], room)}"
    _write(axes, text, (0.5, 0.0), (0, -2), ha="center", va="top")


def _name_row(axes: Axes, name: str) -> None:
    _write(axes, fill(name, 14), (0.0, 0.5), (-4, 0), ha="right", va="center")


def _write(
    axes: Axes, text: str, at: tuple[float, float], points: tuple[float, float], **places: Any
) -> None:
    """Write beside axes: ``at`` a share of their sides, and so many points off it."""
    axes.annotate(
        text, at, points, xycoords="axes fraction", textcoords="offset points", size=SMALL, **places
    )


def _cut(name: str, letters: int) -> str:
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def _draw_bar(figure: Figure, grid: _Grid) -> None:
    axes = grid.bar_axes(figure)
    bar = figure.colorbar(ScalarMappable(cmap=COLOURS), cax=axes, ticks=[0, 1])
    bar.ax.grid(visible=False)
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("speaks for the class", size=SMALL, labelpad=2)
    bar.outline.set_visible(False)
