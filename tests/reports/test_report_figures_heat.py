"""Heat maps: a cell says its mean and its number of trials, in text that can be read."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from reports.figures.heat import MAP, caption, heat_maps, text_colour
from reports.rows import StudyRows

Study = Callable[..., StudyRows]


def _grid(mean: list[list[float]], **changes: Any) -> Any:
    fields = {
        "group": "ResNet-18",
        "module": "ELA",
        "factors": ("kernel_size", "groups"),
        "levels": (("5", "7"), ("in_channels", "in_channels/8")),
        "mean": np.array(mean),
        "n": np.where(np.isfinite(mean), 3, 0),
    }
    return SimpleNamespace(**{**fields, **changes})


def test_cells_say_mean_and_number_of_trials(study: Study) -> None:
    rows = study([])
    (figure,) = heat_maps(rows, [_grid([[0.5, 0.75], [0.25, np.nan]])])
    (axes,) = figure.axes
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {(0, 0): "50.00\n(3)", (1, 0): "75.00\n(3)", (0, 1): "25.00\n(3)"}
    assert [label.get_text() for label in axes.get_xticklabels()] == ["C", "C/8"]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("kernel_size", "groups")
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is on top
    assert caption(rows, []).endswith("an empty cell has no result.")


def test_grids_of_a_backbone_share_their_colours(study: Study) -> None:
    grids = [_grid([[0.5, 0.6], [0.7, 0.8]]), _grid([[0.1, 0.9], [0.2, 0.3]])]
    other = _grid([[0.3, 0.4], [0.4, 0.4]], group="MobileNetV2")
    (figure,) = heat_maps(study([]), [*grids, other])
    meshes = [collection for axes in figure.axes for collection in axes.collections]
    limits = [(mesh.norm.vmin, mesh.norm.vmax) for mesh in meshes]
    assert limits == [(0.1, 0.9), (0.1, 0.9), (0.3, 0.4)]


def test_without_a_score_there_is_none(study: Study) -> None:
    assert heat_maps(study([]), []) == ()
    assert heat_maps(study([]), [_grid([[np.nan] * 2] * 2)]) == ()


def test_values_that_change_together_have_no_map(study: Study) -> None:
    """As those of two presets do: nothing is to be seen that the tables of the presets lack."""
    together = _grid([[0.5, np.nan], [np.nan, 0.7]])
    rows, crossed = study([]), _grid([[0.5, 0.6], [np.nan, 0.7]], module="CA")
    (figure,) = heat_maps(rows, [together, crossed])
    assert [axes.get_title("left") for axes in figure.axes] == ["ResNet-18, CA"]
    assert caption(rows, [together, crossed]).endswith(
        "two values of the other: kernel_size with groups (ResNet-18, ELA)."
    )


def test_one_value_everywhere_is_drawn(study: Study) -> None:
    (figure,) = heat_maps(study([]), [_grid([[0.5, 0.5], [0.5, 0.5]])])
    figure.draw_without_rendering()


@pytest.mark.parametrize("share", np.linspace(0, 1, 21).tolist())
def test_text_has_the_contrast_that_wcag_asks_for(share: float) -> None:
    """At least 4.5 to 1, by the formula of WCAG 2, written out."""

    def luminance(colour: tuple[float, float, float]) -> float:
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    cell = MAP(share)[:3]
    low, high = sorted((luminance(cell), luminance(to_rgb(text_colour(*cell)))))
    assert (high + 0.05) / (low + 0.05) >= 4.5
