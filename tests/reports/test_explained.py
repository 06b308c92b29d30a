"""Which models stand side by side: by their place in the grid, never by their score."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from reports.configs import config_rows
from reports.explained import Runs, explained
from reports.rows import StudyRows, TrialRow
from sweep.errors import UserError

Make = Callable[..., TrialRow]


@pytest.fixture
def rows(trial: Make, study: Callable[..., StudyRows]) -> StudyRows:
    """Two backbones; the later ELA is the better one, CA has failed with one of its seeds."""
    names = {"ELA-k5": 0.5, "ELA-k7": 0.9, "baseline": 0.6}
    trials = [trial(name, seed, top1) for name, top1 in names.items() for seed in (1, 0)]
    trials += [trial("CA-r16", 0, status="failed", metrics={}), trial("CA-r16", 1)]
    small = {"backbone": "mobilenet_v2"}
    trials += [trial("baseline", 0, run_id="small-baseline", **small), trial("SE", 0, **small)]
    return study(trials)


def shown(rows: StudyRows, *arguments: object) -> dict[str, dict[str, Runs]]:
    return explained(rows, config_rows(rows), *arguments)  # type: ignore[arg-type]


def test_the_baseline_and_the_first_of_every_module(rows: StudyRows) -> None:
    found = shown(rows)
    assert {group: list(models) for group, models in found.items()} == {
        "ResNet-18": ["baseline", "ELA-k5", "CA-r16"],
        "MobileNetV2": ["baseline", "SE"],
    }
    assert found["ResNet-18"]["ELA-k5"] == {0: "run-ELA-k5-0", 1: "run-ELA-k5-1"}
    assert found["ResNet-18"]["CA-r16"] == {1: "run-CA-r16-1"}


def test_what_is_asked_for_stands_beside_the_baseline(rows: StudyRows) -> None:
    found = shown(rows, "resnet18", ("ELA-k7",))
    assert {group: list(models) for group, models in found.items()} == {
        "ResNet-18": ["baseline", "ELA-k7"]
    }
    assert list(shown(rows, "mobilenet_v2")) == ["MobileNetV2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "--backbone 'resnet81' is not in a_study; did you mean 'resnet18'?"),
        ((None, ("ELA-k9",)), "--module 'ELA-k9' is not in a_study; did you mean 'ELA-k"),
        (("mobilenet_v2", ("CA-r16",)), "--module 'CA-r16' is not in a_study. It has: SE"),
    ],
)
def test_what_a_study_does_not_have_is_told(
    rows: StudyRows, arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(UserError) as told:
        shown(rows, *arguments)
    assert message in str(told.value)


def test_only_classification_is_explained(trial: Make, study: Callable[..., StudyRows]) -> None:
    boxes = study([trial("baseline", 0, settings={"task": "detection", "dataset": "coco"})])
    with pytest.raises(UserError, match="a_study is a study of detection; Grad-CAM explains"):
        shown(boxes)
    with pytest.raises(UserError, match="a_study has no trial yet"):
        shown(study([]))
