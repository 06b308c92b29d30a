"""How often the store is asked: what bounds the trials that one delivery keeps up with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracking.conftest import TRIALS, Folder, runs
from tests.tracking.test_unreliable_store import through


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, uri: str) -> list[str]:
    """What the store is asked from here on."""
    requests: list[str] = []

    def note(request: str) -> str:
        requests.append(request.partition(" ")[0])
        return ""

    through(monkeypatch, uri, note)
    return requests


def test_news_of_a_trial_take_few_requests(tmp_path: Path, uri: str, asked: list[str]) -> None:
    folder = Folder(tmp_path / "one", uri)
    folder.deliver()
    folder.train()  # begun
    asked.clear()
    folder.deliver()
    search = ["search_experiments", "search_runs"]
    assert asked == [*search, "create_run", *search, "log_batch", "log_inputs"]

    folder.ledger.record(TRIALS[0].trial_id, 1, {"val_top1": 0.1, "val_loss": 2.0})
    asked.clear()
    folder.deliver()
    assert asked == ["log_batch"]

    folder.train(2)
    asked.clear()
    folder.deliver()
    assert asked == ["log_batch", "log_batch", "log_artifact", "set_terminated"]


def test_epochs_that_piled_up_are_one_request(tmp_path: Path, uri: str, asked: list[str]) -> None:
    folder = Folder(tmp_path / "one", uri)
    folder.train()
    folder.deliver()
    for epoch in range(1, 11):
        folder.ledger.record(TRIALS[0].trial_id, epoch, {"val_top1": 0.1, "val_loss": 2.0})
    asked.clear()
    folder.deliver()
    assert asked == ["log_batch"]


def test_run_is_a_member_of_its_sweep_from_the_start(tmp_path: Path, uri: str) -> None:
    folder = Folder(tmp_path / "one", uri)
    folder.train()
    folder.deliver()
    tags = runs(uri)[0].data.tags
    assert tags["sweep.member.small"] == "yes"
    assert tags["sweep.order.small"] == "0"
