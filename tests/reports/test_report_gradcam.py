"""The figure and the caption of Grad-CAM, from maps made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from reports.figures.gradcam import caption, figure_of
from reports.figures.style import COLUMN, TEXT_WIDTH, save
from sweep.tracking.gradcam import Comparison, GradCam, Layer, ModelMaps

LAST = Layer("layer4.1", 4, 4)


def made(classes: tuple[str, ...] = ("0", "1", "2"), layer: Layer = LAST) -> GradCam:
    """Two models, an image of each class; the second is wrong on the last, blind on the second."""
    count = len(classes)
    maps = np.zeros((count, 8, 8), np.float16)
    maps[:, 2, 3] = 1.0
    blind = maps.copy()
    blind[1] = 0.0
    right, wrong = np.arange(count), np.minimum(np.arange(count), count - 2)
    sure = np.linspace(0.5, 1, count, dtype=np.float32)
    models = (
        ModelMaps("baseline", "run-0", 3, maps, right, sure),
        ModelMaps("ELA-k7-g8-ng16, stage3", "run-1", 4, blind, wrong, sure),
    )
    images = np.arange(count * 8 * 8 * 3).astype(np.uint8).reshape(count, 8, 8, 3)
    comparison = Comparison("ResNet-18", 0, layer, LAST, models)
    return GradCam(images, right, classes, (comparison,), ())


def drawn(found: GradCam) -> Figure:
    return figure_of(found, found.comparisons[0])


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_row_is_a_model_and_a_column_an_image() -> None:
    figure = drawn(made())
    cells = [axes for axes in figure.axes if axes.images]
    left = sorted({round(axes.get_position().x0, 3) for axes in cells})
    lower = sorted({round(axes.get_position().y0, 3) for axes in cells}, reverse=True)
    assert (len(cells), len(left), len(lower)) == (9, 3, 3)
    assert [axes.get_title() for axes in cells[:3]] == ["0", "1", "2"]
    maps = [axes.images[1].get_array() for axes in cells[3:6]]
    assert all(np.unravel_index(one.argmax(), one.shape) == (2, 3) for one in maps)


def test_right_and_wrong_are_told_by_a_sign_and_a_name() -> None:
    shown = texts(drawn(made(("cat", "dog", "owl"))))
    assert shown == [
        *("image and\nclass", "✓ 0.50", "baseline", "✓ 0.75", "✓ 1.00"),
        *("✓ 0.50", "ELA-k7-g8-\nng16, stage3", "✓ 0.75", "✗ 1.00\ndog"),
    ]


def test_nothing_is_cut_off_and_no_text_touches_another() -> None:
    for classes in (("0", "1", "2"), ("great white shark", "hammerhead", "electric ray")):
        figure = drawn(made(classes))
        figure.draw_without_rendering()
        bar = next(axes for axes in figure.axes if not axes.images)
        written = [*figure.texts, *bar.get_yticklabels(), bar.yaxis.label]
        written += [text for axes in figure.axes for text in (axes.title, *axes.texts)]
        boxes = [text.get_window_extent() for text in written if text.get_text()]
        page = figure.bbox
        for box in boxes:
            assert page.x0 <= box.x0 <= box.x1 <= page.x1
            assert page.y0 <= box.y0 <= box.y1 <= page.y1
        crossings = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.overlaps(b)]
        assert crossings == []


def test_long_names_get_more_room() -> None:
    wide = [made(("a very long name", "an even longer one, without an end", "c"))]
    wide += [made(tuple("0123456"))]
    assert drawn(made(("cat", "dog", "owl"))).get_figwidth() <= COLUMN
    assert all(COLUMN < drawn(found).get_figwidth() <= TEXT_WIDTH for found in wide)
    assert drawn(wide[0]).axes[1].get_title() == "an even longer o…"


def test_the_same_figure_is_the_same_file(tmp_path: Path) -> None:
    first, second = (save(drawn(made()), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (LAST, "the output of layer4.1, 4×4 places, the end of the last stage as in the ELA paper"),
        (Layer("layer2.1", 8, 8), "layer2.1, 8×8 places: at this image size layer4.1, the end of"),
    ],
)
def test_the_caption_names_layer_seed_weights_and_rule(layer: Layer, text: str) -> None:
    found = made(layer=layer)
    words = caption(found, found.comparisons[0])
    assert text in words
    for part in (
        "Grad-CAM of ResNet-18 for the true class",
        "Seed 0, the lowest",
        "(baseline 3, ELA-k7-g8-ng16, stage3 4)",
        "the first of each of the first 3 classes in the test split",
        "An image without colour: nothing in it speaks for its class.",
    ):
        assert part in words
