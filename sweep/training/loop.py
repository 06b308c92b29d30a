"""The training loop, top to bottom: build, resume, train an epoch, validate, checkpoint, test.

It knows a task only through ``sweep.tasks.base.Task`` and reports through what it yields. On two
CPU cores, ResNet-18 on the 8x8 digits takes about 4.5 s an epoch of 1,293 images on one core, of
which saving the checkpoint takes 0.2 s.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sweep.models.build import model_of
from sweep.models.placement import AttentiveModel
from sweep.registry import BACKBONES, DATASETS, TASKS
from sweep.spec.trial import Trial
from sweep.tasks.base import Meter, Task
from sweep.training.checkpoint import Checkpoints
from sweep.training.loading import make_loader
from sweep.training.optim import current_lr, make_optimizer, make_scheduler, restore
from sweep.training.precision import Precision
from sweep.training.seeding import seed_everything

logger = logging.getLogger(__name__)

LOSS_CHECK_EVERY = 50
"""Steps between two looks at the losses, each of which waits for the device."""


class NonFiniteLossError(ArithmeticError):
    """Training diverged: a loss was infinite or no number."""

    def __init__(self, loss: float, epoch: int, step: int) -> None:
        self.epoch, self.step = epoch, step
        super().__init__(f"loss is {loss} in epoch {epoch}, step {step}")


class LostParentError(RuntimeError):
    """The state that a segment of a population goes on from is not there."""

    def __init__(self, parent: str) -> None:
        super().__init__(
            f"the last state of trial {parent}, from which it goes on, is gone or damaged"
        )


@dataclass(frozen=True)
class EpochReport:
    """What one epoch measured; ``epoch`` counts from 1."""

    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class TrialResult:
    """What a trial that was trained to its end measured, once, on the test split.

    Of a partial one, which others go on from, it is without the test split.
    """

    metrics: dict[str, float]
    epochs: int
    best_epoch: int


Report = Callable[[EpochReport], None]


def train(
    trial: Trial, *, report: Report, checkpoint_dir: Path, device: torch.device, workers: int = 0
) -> TrialResult:
    """Train a trial to its end, from its last checkpoint if it has one.

    Args:
        trial: what to train.
        report: called with every epoch; after a resumption first with those of the checkpoint.
        checkpoint_dir: folder of this trial's checkpoints.
        device: where to train.
        workers: processes that read a streamed data set; do not change the result.

    Raises:
        NonFiniteLossError: training diverged.
        MissingDatasetError: the data set is not on this machine.
        LostParentError: there is no whole state to go on from, and it must not start anew.
    """
    epochs = train_epochs(trial, checkpoint_dir=checkpoint_dir, device=device, workers=workers)
    while True:
        try:
            report(next(epochs))
        except StopIteration as end:
            result: TrialResult = end.value
            return result


def train_epochs(
    trial: Trial,
    *,
    checkpoint_dir: Path,
    device: torch.device,
    workers: int = 0,
    pieces: int = 1,
    notice: Callable[[str], object] = logger.warning,
) -> Generator[EpochReport, None, TrialResult]:
    """Train like ``train``, one epoch for every ``next``; the result is the generator's value.

    Args:
        trial: what to train.
        checkpoint_dir: folder of this trial's checkpoints.
        device: where to train.
        workers: processes that read a streamed data set.
        pieces: that every piece of a batch is cut into, to fit the memory of a GPU. The optimizer
            sees whole batches; a norm over a batch sees its pieces.
        notice: is told of checkpoints that were damaged, one line each.
    """
    checkpoints = Checkpoints(checkpoint_dir)
    run = Training(trial, checkpoints, device, workers, pieces)
    done = run.resume()
    for problem in checkpoints.damaged:
        notice(f"{problem}; the trial goes on after epoch {len(done)}")
    yield from done
    while not run.finished:
        yield run.epoch()
    return run.result()


class Training:
    """A trial in training: model, optimizer, data, and where it has come to."""

    def __init__(
        self,
        trial: Trial,
        checkpoints: Checkpoints,
        device: torch.device,
        workers: int,
        pieces: int,
    ) -> None:
        self.trial, self.recipe = trial, trial.recipe
        self.checkpoints, self.device = checkpoints, device
        self.pieces = pieces * self.recipe.accumulate
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seed_everything(trial.seed, "model")
        self.model = _build(trial).to(device)
        if self.recipe.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.task = TASKS[trial.task](
            trial.num_classes, label_smoothing=self.recipe.label_smoothing
        )
        self.data = _Data(trial, self.task, device, workers)
        self.precision = Precision(self.recipe.precision, device)
        self.optimizer = make_optimizer(self.model, self.recipe)
        self.scheduler = make_scheduler(self.optimizer, self.recipe, len(self.data.train))
        self.chosen = self.task.metric(trial.metric)
        self.history: list[EpochReport] = []
        self.best_epoch = 0

    @property
    def finished(self) -> bool:
        done = len(self.history)
        patience = self.trial.patience
        return done >= self.trial.until or (
            patience is not None and done - self.best_epoch >= patience
        )

    def resume(self) -> list[EpochReport]:
        """Go back to the last checkpoint, if there is one; return the epochs before it."""
        state = self.checkpoints.load_last(self.device)
        if state is None and self.trial.segment and self.trial.segment.parent:
            raise LostParentError(self.trial.segment.parent)
        if state is not None:
            self.model.load_state_dict(state["model"])
            restore(self.optimizer, self.scheduler, state["optimizer"], state["scheduler"])
            self.precision.load_state_dict(state["scaler"])
            self.history = [EpochReport(**epoch) for epoch in state["history"]]
            self.best_epoch = state["best_epoch"]
        return list(self.history)

    def epoch(self) -> EpochReport:
        """Train and validate one epoch, and save it before it is reported."""
        number = len(self.history) + 1
        started = time.perf_counter()
        learning_rate = current_lr(self.optimizer)
        trained = self._train(number)
        seconds = time.perf_counter() - started
        validated = evaluate(self.model, self.task, self.data.val, self.precision)
        metrics = {
            **{f"train_{name}": value for name, value in trained.items()},
            **{f"val_{name}": value for name, value in validated.items()},
            "lr": learning_rate,
            "epoch_seconds": seconds,
            "images_per_second": self.data.train.num_samples / seconds,
        }
        self.history.append(EpochReport(number, metrics))
        if self._is_best(number):
            self.best_epoch = number
            self.checkpoints.save_best(number, self.model.state_dict())
        self.checkpoints.save_last(number, self._state())
        return self.history[-1]

    def result(self) -> TrialResult:
        """Return what was measured; the test split is evaluated now, once, unless others go on."""
        tested = {} if self.trial.partial else self._test()
        metrics = {
            **{f"test_{name}": value for name, value in tested.items()},
            **{
                f"best_{name}": value
                for name, value in self.history[self.best_epoch - 1].metrics.items()
                if name.startswith("val_")
            },
            "train_seconds": math.fsum(e.metrics["epoch_seconds"] for e in self.history),
        }
        if self.device.type == "cuda":
            metrics["peak_memory_gib"] = torch.cuda.max_memory_allocated(self.device) / 2**30
        return TrialResult(metrics, epochs=len(self.history), best_epoch=self.best_epoch)

    def _test(self) -> dict[str, float]:
        """Evaluate the test split with the weights that the recipe says."""
        if self.recipe.evaluate == "best":
            self.model.load_state_dict(self.checkpoints.load_best(self.best_epoch, self.device))
        return evaluate(self.model, self.task, self.data.test, self.precision)

    def _train(self, number: int) -> dict[str, float]:
        seed_everything(self.trial.seed, "epoch", number)
        self.model.train()
        meter = self.task.training_meter(self.device)
        losses: list[Tensor] = []
        sizes: list[int] = []
        for images, targets in self.data.train.epoch(number):
            losses.append(self.step(images, targets, meter))
            sizes.append(len(images))
            if len(losses) % LOSS_CHECK_EVERY == 0:
                _check_finite(losses[-LOSS_CHECK_EVERY:], number, len(losses))
        _check_finite(losses, number, len(losses))
        if meter is None:
            return {
                "loss": float(
                    (torch.stack(losses) * torch.tensor(sizes, device=self.device)).sum()
                    / sum(sizes)
                )
            }
        return meter.compute()

    def step(self, images: Tensor, targets: Any, meter: Meter | None) -> Tensor:
        """Take one optimizer step; return the mean loss of the batch, still on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for part, part_targets in self.task.pieces(images, targets, self.pieces):
            with self.precision.autocast():
                outputs = self.model(part)
                loss = self.task.loss(outputs, part_targets) * (len(part) / len(images))
            self.precision.backward(loss)
            if meter is not None:
                meter.update(outputs.detach(), part_targets)
            total += loss.detach()
        self.precision.step(self.optimizer)
        self.scheduler.step()
        return total

    def _is_best(self, number: int) -> bool:
        if self.best_epoch == 0:
            return True
        now, best = self._validated(number), self._validated(self.best_epoch)
        if math.isnan(best):
            return not math.isnan(now)
        return now > best if self.chosen.mode == "max" else now < best

    def _validated(self, number: int) -> float:
        return self.history[number - 1].metrics[f"val_{self.chosen.name}"]

    def _state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.precision.state_dict(),
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best_epoch,
        }


class _Data:
    """The three splits of a trial's data set, as loaders."""

    def __init__(self, trial: Trial, task: Task, device: torch.device, workers: int) -> None:
        dataset = DATASETS[trial.dataset].of(trial.dataset_settings)

        def loader(split: Any, *, training: bool) -> Any:
            return make_loader(
                dataset,
                split,
                task,
                batch_size=trial.recipe.batch_size,
                train=training,
                augmentation=trial.recipe.augmentation if training else "none",
                seed=trial.seed,
                device=device,
                workers=workers,
                channels_last=trial.recipe.channels_last,
            )

        self.train = loader("train", training=True)
        self.val = loader("val", training=False)
        self.test = loader("test", training=False)


@torch.no_grad()
def evaluate(
    model: AttentiveModel, task: Task, loader: Any, precision: Precision
) -> dict[str, float]:
    """Return the task's metrics over one pass of a split."""
    model.eval()
    meter = task.meter(precision.device)
    for images, targets in loader.epoch(0):
        with precision.autocast():
            outputs = model(images)
        meter.update(outputs, targets)
    return meter.compute()


def _build(trial: Trial) -> AttentiveModel:
    model = model_of(trial)
    if trial.backbone.weights is not None:
        from torchvision.models import get_model_weights

        name, part = BACKBONES[trial.backbone.name].pretrained or (trial.backbone.name, "")
        weights = get_model_weights(name)[trial.backbone.weights]
        model.load_backbone(weights.get_state_dict(progress=False, check_hash=True), part)
    return model


def _check_finite(losses: list[Tensor], epoch: int, last_step: int) -> None:
    finite = torch.stack(losses).isfinite()
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise NonFiniteLossError(float(losses[index]), epoch, last_step - len(losses) + index + 1)
