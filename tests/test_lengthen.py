"""Which shorter trial a longer one can go on from, and why not; from ledgers made by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from spec.spaces import space_of

from sweep.ledger import Ledger, Share
from sweep.lengthen import Beginning, beginnings
from sweep.plan import PlannedTrial, make_plan

CONSTANT = "schedule: constant"
STEP = "schedule: step, milestones: [1, 5]"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "sweeps")


def planned(tmp_path: Path, epochs: int, schedule: str = CONSTANT, **fields: str) -> PlannedTrial:
    recipe = f"{{epochs: {epochs}, {schedule}}}"
    (only,) = make_plan(space_of(tmp_path, recipe=recipe, **fields)).trials
    return only


def trained(one: PlannedTrial, ledger: Ledger, epochs: int, *, kept: bool = True) -> str:
    """Let a trial have some epochs, and a last state if it is kept; return its id."""
    trial_id = one.trial.trial_id
    ledger.begin(one.trial, Share(1, 0))
    for epoch in range(1, epochs + 1):
        ledger.record(trial_id, epoch, {"val_top1": 0.5})
    if kept:
        ledger.checkpoint_folder(trial_id).mkdir()
        (ledger.checkpoint_folder(trial_id) / "manifest.json").write_text("{}")
    return trial_id


@pytest.mark.parametrize("schedule", [CONSTANT, STEP])
def test_the_longest_that_was_kept_is_the_beginning(
    tmp_path: Path, ledger: Ledger, schedule: str
) -> None:
    longer = planned(tmp_path, 10, schedule)
    assert beginnings([longer], ledger) == {}
    trained(planned(tmp_path, 2, schedule), ledger, 2)
    kept = trained(planned(tmp_path, 4, schedule), ledger, 3)  # it has not ended
    lost = trained(planned(tmp_path, 6, schedule), ledger, 6, kept=False)
    found = {longer.trial.trial_id: Beginning(kept, 3, "")}
    assert beginnings([longer], ledger) == found
    (ledger.checkpoint_folder(lost)).mkdir()  # only its best weights
    assert beginnings([longer], ledger) == found


@pytest.mark.parametrize(
    ("schedule", "kept", "obstacle"),
    [
        ("schedule: cosine", True, "with schedule 'cosine' every epoch depends on their number"),
        ("schedule: poly", True, "with schedule 'poly' every epoch depends on their number"),
        (CONSTANT, False, "its last state was not kept (keep_checkpoints: last keeps it)"),
    ],
)
def test_why_it_cannot_be_gone_on_from(
    tmp_path: Path, ledger: Ledger, schedule: str, kept: bool, obstacle: str
) -> None:
    shorter = trained(planned(tmp_path, 2, schedule), ledger, 2, kept=kept)
    longer = planned(tmp_path, 4, schedule)
    expected = {longer.trial.trial_id: Beginning(shorter, 2, obstacle)}
    assert beginnings([longer], ledger) == expected


def test_what_differs_in_more_or_has_epochs_of_its_own_has_no_beginning(
    tmp_path: Path, ledger: Ledger
) -> None:
    trained(planned(tmp_path, 2), ledger, 2)
    others = [
        planned(tmp_path, 4, seeds="[1]"),
        planned(tmp_path, 4, attention="[se]"),
        planned(tmp_path, 4, f"{CONSTANT}, lr: 0.2"),
        planned(tmp_path, 4, STEP),
        planned(tmp_path, 1),
    ]
    assert beginnings(others, ledger) == {}
    longer = planned(tmp_path, 4)
    trained(longer, ledger, 1)
    assert beginnings([longer], ledger) == {}


def test_a_trial_without_an_epoch_is_no_beginning(tmp_path: Path, ledger: Ledger) -> None:
    trained(planned(tmp_path, 2), ledger, 0, kept=False)
    assert beginnings([planned(tmp_path, 4)], ledger) == {}
