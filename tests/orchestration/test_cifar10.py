"""CIFAR-10 as JPEGs in folders, where the shared data are at hand: ResNet-18 with ELA-B trains."""

from __future__ import annotations

import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.ledger import Ledger
from tests.orchestration.conftest import Run

SHARED = Path(os.environ.get("SWEEP_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
ARCHIVE = SHARED / "cifar10_jpeg.tar.xz"
PER_CLASS = {"train": 20, "test": 5}

SPACE = """
study: {study}
question: Does it learn from a folder of JPEGs?
dataset: {{name: imagefolder, root: %s, image_size: 32, val_size: 50}}
backbones: [resnet18]
attention: [{{name: ela, preset: B}}]
recipe: {{epochs: 2, batch_size: 32, lr: 0.02, schedule: constant, augmentation: none}}
resources: {{cpus: 1, gpus: 0}}
"""


@pytest.mark.skipif(not ARCHIVE.is_file(), reason="cifar10_jpeg.tar.xz is not in ../shared/data")
def test_resnet18_with_ela_b_trains_on_a_subset(
    run: Callable[..., Run], folder: Path, tmp_path: Path
) -> None:
    _extract(tmp_path / "cifar10")
    done = run(text=SPACE % (tmp_path / "cifar10"))
    assert not done.summary.failures
    (planned,) = done.plan.trials
    assert planned.trial.num_classes == 10
    journal = Ledger(folder).journal(planned.trial.trial_id)
    assert journal[1].metrics["train_loss"] < journal[0].metrics["train_loss"]


def _extract(target: Path) -> None:
    """Extract the first images of every class."""
    taken: Counter[tuple[str, str]] = Counter()
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if not member.isfile() or len(parts) < 3:
                continue
            key = (parts[-3], parts[-2])
            if taken[key] < PER_CLASS[key[0]]:
                taken[key] += 1
                archive.extract(member, target, filter="data")
            if taken.total() == 10 * sum(PER_CLASS.values()):
                return
