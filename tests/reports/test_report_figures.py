"""What all figures share: a module's look, room on a page, files; labels that touch nothing."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from reports.figures.labelling import Panel, collisions, place
from reports.figures.labels import place_labels, spread_out
from reports.figures.style import (
    COLOURS,
    COLUMN,
    MARKERS,
    TEXT_WIDTH,
    Figure,
    looks,
    new_figure,
    pages,
    panels,
    save,
    save_pages,
    settle,
    styled,
)


def test_42_modules_differ_in_colour_or_marker() -> None:
    found = looks(f"module{i:02}" for i in range(42))
    assert len(set(found.values())) == 43
    assert (found["none"].marker, len(COLOURS) * len(MARKERS)) == ("o", 42)


def test_a_module_looks_the_same_in_every_report_without_a_clash() -> None:
    assert looks(["se", "none", "ela"]) == looks(["ela", "se", "se"])
    assert looks(["ela", "se"])["ela"] == looks(["ca", "ela", "ema"])["ela"]
    found = looks(["ca", "cbam", "eca", "ela", "sa", "se"])  # CA and SA would share a colour
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(found.values(), 2))


@pytest.mark.parametrize("names", list(itertools.combinations(("#000000", *COLOURS), 2)))
@pytest.mark.parametrize("kind", ["deuteranopia", "protanopia"])
def test_colours_stay_apart_for_colour_blind_readers(names: tuple[str, str], kind: str) -> None:
    """By Viénot, Brettel and Mollon's projection (1999) of linear RGB."""
    projections = {
        "protanopia": [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        "deuteranopia": [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    }
    seen = [np.array(projections[kind]) @ _linear(name) for name in names]
    first, second = (np.clip(colour, 0, 1) ** (1 / 2.2) for colour in seen)
    assert np.abs(first - second).max() > 0.1


def _linear(name: str) -> np.ndarray:
    return (np.array([int(name[i : i + 2], 16) for i in (1, 3, 5)]) / 255) ** 2.2


@pytest.mark.parametrize(("count", "most", "sizes"), [(0, 3, []), (3, 3, [3]), (7, 3, [2, 2, 3])])
def test_pages_are_few_and_about_equally_full(count: int, most: int, sizes: list[int]) -> None:
    found = list(pages(list(range(count)), most))
    assert [len(page) for page in found] == sizes
    assert [item for page in found for item in page] == list(range(count))


@pytest.mark.parametrize(
    ("count", "columns", "width", "across"),
    [(1, 2, COLUMN, 1), (2, 2, TEXT_WIDTH, 2), (5, 4, TEXT_WIDTH, 3), (2, 4, COLUMN, 2)],
)
def test_a_figure_is_one_or_two_columns_wide(
    count: int, columns: int, width: float, across: int
) -> None:
    with styled():
        figure, axes = panels(count, columns, 2.0)
    assert (len(axes), figure.get_figwidth()) == (count, width)
    assert axes[0].get_subplotspec().get_gridspec().ncols == across


def test_the_same_figure_gives_the_same_files(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        paths = save(_words(), tmp_path / name)
        contents.append({path.suffix: path.read_bytes() for path in paths})
    assert contents[0] == contents[1]
    assert set(contents[0]) == {".png", ".svg", ".pdf"}
    assert b"/FontFile2" in contents[0][".pdf"]  # fonts are embedded, as outlines
    assert b"/Type3" not in contents[0][".pdf"]


def test_several_pages_are_numbered(tmp_path: Path) -> None:
    assert {path.stem for path in save_pages([_words()], tmp_path / "seeds")} == {"seeds"}
    paths = save_pages([_words(), _words()], tmp_path / "seeds")
    assert {path.stem for path in paths} == {"seeds_1", "seeds_2"}


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


def test_a_label_without_a_leader_is_beside_its_own_point() -> None:
    """Between two points each label would be about as near to the other; both go outside."""
    frame = np.array([0.0, 0.0, 200.0, 20.0])
    points = np.array([[80.0, 10.0], [107.0, 10.0]])
    placed = place_labels([(20.0, 8.0)] * 2, points, np.empty((0, 4)), frame, 1.0)
    assert placed is not None
    assert placed[0].box[2] < 80
    assert placed[1].box[0] > 107


@pytest.mark.parametrize("seed", range(30))
def test_labels_of_random_points_touch_nothing(seed: int) -> None:
    draw = np.random.default_rng(seed)
    with styled():
        figure, (axes,) = panels(1, 1, 4.0)
        panel = Panel(axes)
        for i in range(int(draw.integers(1, 16))):
            x, y, half = draw.normal(), draw.normal(), draw.uniform(0, 0.4)
            axes.errorbar(x, y, half)
            panel.bar(x, y, half)
            panel.label(x, y, f"Module-k{i}-{'g' * int(draw.integers(1, 12))}")
        panel.freeze()
        level = float(draw.normal())
        panel.lines.append((axes.get_xlim()[0], level, axes.get_xlim()[1], level))
        settle(figure)
        assert place(panel)
    assert collisions(panel) == []
    frame = axes.get_window_extent().extents
    boxes = np.array([label.get_window_extent().extents for label in panel.labels])
    assert (boxes[:, :2] >= frame[:2]).all()
    assert (boxes[:, 2:] <= frame[2:]).all()


def test_labels_stay_between_the_sides_of_their_panel() -> None:
    with styled():
        figure, (axes,) = panels(1, 1, 2.0)
        axes.set_xlim(0, 3)
        axes.set_ylim(0, 1)
        panel = Panel(axes, sides=(1.0, 2.0))
        panel.points.append((1.95, 0.5, 1.0))
        panel.label(1.95, 0.5, "ELA-S")
        settle(figure)
        assert place(panel)
    (label,) = panel.labels
    box = axes.transData.inverted().transform(label.get_window_extent().get_points())
    assert box[:, 0].min() > 1.0
    assert box[:, 0].max() < 2.0


@pytest.mark.parametrize("seed", range(20))
def test_spread_out_is_the_least_squares_solution(seed: int) -> None:
    """Against a general solver with the constraints written out."""
    draw = np.random.default_rng(seed)
    wanted, gap = draw.uniform(0, 10, 6), 1.5
    found = spread_out(wanted, gap, 0.0, 10.0)
    order = np.argsort(wanted)
    constraints = [
        {"type": "ineq", "fun": lambda y, a=a, b=b: y[b] - y[a] - gap}
        for a, b in itertools.pairwise(order)
    ]
    start = np.empty(6)
    start[order] = np.arange(6) * gap
    reference = minimize(
        lambda y: ((y - wanted) ** 2).sum(),
        start,
        bounds=[(0, 10)] * 6,
        constraints=constraints,
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert reference.success
    assert found == pytest.approx(reference.x, abs=1e-3)


def test_without_room_labels_keep_their_gap() -> None:
    found = spread_out(np.array([1.0, 1.0, 1.0]), 4.0, 0.0, 5.0)
    assert found.tolist() == [0.0, 4.0, 8.0]


def _words() -> Figure:
    with styled():
        figure = new_figure(COLUMN, 1.0)
        figure.text(0.5, 0.5, "words")
    return figure
