"""A GPU that is too small: more of it, then smaller pieces of a batch, both written down.

A double of the GPU refuses pieces of more images than fit, as torch does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sweep.ledger import Ledger, Share
from sweep.tasks.base import Task
from sweep.tracking import names
from sweep.training.loop import train
from tests.orchestration.conftest import Run
from tests.orchestration.test_inline import runs_of

Runner = Callable[..., Run]

BASELINE = "attention=[none]"


def small_gpu(monkeypatch: pytest.MonkeyPatch, images: int) -> list[list[int]]:
    """Let no more images fit; return the pieces of every optimizer step, as they are taken."""
    steps: list[list[int]] = []
    whole = Task.pieces

    def pieces(self: Task, batch: Tensor, targets: Any, count: int) -> Iterator[tuple[Tensor, Any]]:
        steps.append([])
        for part, part_targets in whole(self, batch, targets, count):
            if len(part) > images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            steps[-1].append(len(part))
            yield part, part_targets

    monkeypatch.setattr(Task, "pieces", pieces)
    return steps


def test_a_batch_that_does_not_fit_is_cut_and_the_step_stays_whole(
    run: Runner, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        steps = small_gpu(patch, images=4)
        done = run(BASELINE)
    (trial_id,) = (p.trial.trial_id for p in done.plan.trials)
    assert done.summary.done == 1
    assert [trial for trial, _ in done.recorder.retries] == [trial_id, trial_id]
    assert all("OutOfMemoryError: CUDA out of memory" in why for _, why in done.recorder.retries)
    assert steps == [[], [], *[[4] * 4] * 6]  # all 16 and 8 were refused; then 2 epochs of 3 steps

    ledger, share = Ledger(folder), Share(1, 0.0, accumulate=4)
    entry = ledger.entry(trial_id)
    assert (entry.state, entry.attempts, entry.share) == ("done", 3, share)
    result = ledger.result(trial_id)
    assert result is not None
    assert result["share"] == {"cpus": 1, "gpus": 0.0, "accumulate": 4}
    (child,) = runs_of(folder, "trial")
    shared = {k: v for k, v in child.data.tags.items() if k.startswith(names.SHARE)}
    assert shared == {f"{names.SHARE}{k}": str(v) for k, v in result["share"].items()}
    assert child.data.tags[names.ATTEMPTS] == "3"

    # The reference: the same pieces because the recipe asks for them.
    trial = done.plan.trials[0].trial
    recipe = trial.recipe.model_copy(update={"accumulate": 4})
    asked = train(
        trial.model_copy(update={"recipe": recipe}),
        report=lambda report: None,
        checkpoint_dir=tmp_path / "asked",
        device=torch.device("cpu"),
    )
    for name in ("test_loss", "test_top1", "best_val_loss"):
        assert result["metrics"][name] == asked.metrics[name]


def test_one_that_never_fits_fails_for_good(
    run: Runner, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = small_gpu(monkeypatch, images=1)
    done = run(BASELINE)
    (failure,) = done.summary.failures
    assert failure.reason.endswith("(on a whole GPU, in the smallest pieces)")
    assert len(steps) == 4  # 16, 8, 4 and 2 images
    entry = Ledger(folder).entry(failure.trial_id)
    assert entry.settled
    assert entry.share == Share(1, 0.0, accumulate=8)
    assert "Traceback" in failure.log.read_text()
