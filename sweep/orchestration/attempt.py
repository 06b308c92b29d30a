"""One attempt at a trial: train it, and write everything to its ledger folder on the way.

Every runner runs this, so that a trial leaves the same traces whether Ray or this process trained
it. A failure of training is an outcome, not an exception: the process goes on with the next trial.
"""

from __future__ import annotations

import gc
import platform
import traceback
from collections.abc import Generator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sweep.data.base import MissingDatasetError
from sweep.errors import first_line
from sweep.ledger import FailureKind, JournalLine, Ledger, Share, node_of
from sweep.models.build import model_of
from sweep.orchestration.failures import ending_of, failure_kind
from sweep.profiling.cost import count_macs_fvcore
from sweep.profiling.environment import device_text, environment
from sweep.profiling.latency import measure_latency
from sweep.spec.trial import Trial
from sweep.training.checkpoint import Checkpoints, Keep
from sweep.training.loop import EpochReport, train_epochs
from sweep.training.precision import DTYPES

ORPHAN_SECONDS = 60.0
"""How long an attempt waits for the process of an earlier one to end, whose command was killed."""
LOOK_SECONDS = 5.0
"""How long it waits for who looks whether the trial that it goes on from is in training."""


@dataclass(frozen=True)
class Job:
    """A trial to run and what it may take."""

    trial: Trial
    folder: str
    """The working folder."""
    share: Share
    workers: int
    keep: Keep
    """What stays of the checkpoints once it is finished."""
    continues: str | None = None
    """Another trial, whose epochs are the first ones of this one."""
    latency: bool = False
    """Measure how long a batch of one image takes."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended; ``reason`` is empty if it ended well, ``kind`` if it did not fail."""

    metrics: dict[str, float]
    reason: str = ""
    kind: FailureKind | None = None
    node: str = field(default="", compare=False)
    """That says so; empty if it is this process's."""


class OvertakenError(RuntimeError):
    """Another attempt at the trial was begun while this one ran, which leaves it to that one."""

    def __init__(self) -> None:
        super().__init__("another attempt at the trial was begun while this one ran")


def attempt(job: Job, address: str = "") -> Generator[EpochReport, None, Outcome]:
    """Run a trial to its end or its failure; yield every epoch once it is in the ledger.

    Args:
        job: the trial, and what it gets.
        address: of this node, where a cluster gives it one.

    Raises:
        RuntimeError: an error that leaves this process unable to use its GPU again.
    """
    ledger, trial_id = Ledger(Path(job.folder)), job.trial.trial_id
    lock = ledger.training(trial_id)
    if not lock.wait(ORPHAN_SECONDS):
        reason = f"it is trained by another process already ({lock.holder()})"
        return Outcome({}, reason, "transient")
    try:
        outcome = yield from _attempt(job, ledger, address)
        return replace(outcome, node=node_of({"host": platform.node(), "address": address}))
    finally:
        lock.release()


def _attempt(job: Job, ledger: Ledger, address: str) -> Generator[EpochReport, None, Outcome]:
    trial_id = job.trial.trial_id
    if known := ledger.result(trial_id):
        if not ledger.is_done(trial_id):  # its worker died between storing the result and this
            _finish(job, ledger)
        return Outcome(known["metrics"])
    isolate(job.share.cpus)
    own = ""
    try:
        own = ledger.begin(job.trial, job.share, _given(job.share.gpus), address)
        return (yield from _trained(job, ledger, own))
    except Exception as error:
        if end := ending_of(error):
            raise end from None
        kind, reason = failure_kind(error, ledger.folder), _reason(error)
        if kind == "disk":  # nothing more can be written; the attempt counts as interrupted
            return Outcome({}, "the disk is full", kind)
        if own and not ledger.is_last(trial_id, own):
            kind, reason = "transient", str(OvertakenError())
        else:
            ledger.fail(trial_id, kind, reason, traceback.format_exc(), own)
        if _poisons_process(error):
            raise
        return Outcome({}, reason, kind)


def isolate(cpus: int) -> None:
    """Reset the state that one trial could leave to the next in the same process."""
    gc.collect()  # loaders and their worker processes go in cycles
    torch.set_num_threads(cpus)
    torch.set_default_dtype(torch.float32)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = False
    torch.set_grad_enabled(True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pick_device(gpus: float) -> torch.device:
    """Return the GPU that this process was given, or the CPU if the trial asked for none.

    Raises:
        RuntimeError: a GPU was given that torch cannot use.
    """
    if gpus > 0 and not torch.cuda.is_available():
        raise RuntimeError("torch cannot use the GPU (driver, or a build without CUDA?)")
    return torch.device("cuda" if gpus > 0 else "cpu")


def _given(gpus: float) -> str:
    """Return what ``pick_device`` gives, in a text; empty where it gives nothing."""
    if gpus > 0 and not torch.cuda.is_available():
        return ""
    return device_text(pick_device(gpus))


def _trained(job: Job, ledger: Ledger, own: str) -> Generator[EpochReport, None, Outcome]:
    """Train a trial.

    Args:
        job: the trial, and what it gets.
        ledger: of its folder.
        own: the id of this attempt.

    Raises:
        OvertakenError: another attempt was begun meanwhile; nothing more was written.
    """
    trial_id = job.trial.trial_id
    Checkpoints(ledger.checkpoint_folder(trial_id)).clear_strays()
    device = pick_device(job.share.gpus)
    if job.continues is not None:
        _continue(job.continues, trial_id, ledger)
    before = {line.epoch: line for line in ledger.journal(job.continues)} if job.continues else {}
    epochs = train_epochs(
        job.trial,
        checkpoint_dir=ledger.checkpoint_folder(trial_id),
        device=device,
        workers=job.workers,
        pieces=job.share.accumulate,
        notice=partial(ledger.note, trial_id),
    )
    while True:
        try:
            report = next(epochs)
        except StopIteration as end:
            result = end.value
            break
        _check_last(ledger, trial_id, own)
        ledger.record(trial_id, report.epoch, report.metrics, _trainer(report, before, device))
        yield report
    if job.trial.partial:
        _check_last(ledger, trial_id, own)
        reason = f"segment of a population, until epoch {job.trial.until}"
        Checkpoints(ledger.checkpoint_folder(trial_id)).reduce("last")  # for those that go on
        ledger.stop(trial_id, reason, own)
        return Outcome(result.metrics, reason)
    if job.latency:
        result.metrics["latency_ms"] = _latency(job.trial, device)
    measured = {
        **asdict(result),
        "fvcore": _fvcore(job.trial),
        "environment": environment(device),
        "share": asdict(job.share),
    }
    _check_last(ledger, trial_id, own)
    ledger.store_result(trial_id, measured)
    _finish(job, ledger, own)
    return Outcome(result.metrics)


def _check_last(ledger: Ledger, trial_id: str, own: str) -> None:
    """Look whether this attempt is still the one that may write.

    Raises:
        OvertakenError: it is not.
    """
    if not ledger.is_last(trial_id, own):
        raise OvertakenError


def _trainer(report: EpochReport, before: Mapping[int, JournalLine], device: torch.device) -> str:
    """Return what trained an epoch: this device, or that of the trial that this one goes on from.

    Args:
        report: the epoch; one of the other trial comes with the very numbers it had there.
        before: the epochs of the other trial.
        device: of this process.
    """
    line = before.get(report.epoch)
    return line.device if line and line.metrics == report.metrics else device_text(device)


def _finish(job: Job, ledger: Ledger, own: str = "") -> None:
    """Close a trial whose result is stored; what it leaves on the disk first."""
    Checkpoints(ledger.checkpoint_folder(job.trial.trial_id)).reduce(job.keep)
    ledger.finish(job.trial.trial_id, own)


def _latency(trial: Trial, device: torch.device) -> float:
    """Return the median milliseconds of a batch of one image, in the trial's precision."""
    measured = measure_latency(
        model_of(trial).to(device),
        int(trial.dataset_settings["image_size"]),
        dtype=DTYPES[trial.recipe.precision],
        channels_last=trial.recipe.channels_last,
    )
    return measured.milliseconds


def _continue(donor: str, trial_id: str, ledger: Ledger) -> None:
    """Give a trial that has no whole checkpoint those of a shorter one, if it has."""
    own, other = (Checkpoints(ledger.checkpoint_folder(one)) for one in (trial_id, donor))
    if own.intact():
        return
    lock = ledger.training(donor)  # nobody writes there meanwhile
    try:
        if not lock.wait(LOOK_SECONDS) or not other.intact():
            ledger.note(trial_id, f"starts anew: trial {donor} has no checkpoint to go on from")
            return
        own.copy(other.folder)
        ledger.note(trial_id, f"goes on from the checkpoint of trial {donor}, of fewer epochs")
    finally:
        lock.release()


def _fvcore(trial: Trial) -> dict[str, Any]:
    """Return fvcore's count, or why there is none: it cannot trace every module."""
    try:
        return asdict(count_macs_fvcore(model_of(trial), int(trial.dataset_settings["image_size"])))
    except Exception as error:  # a side figure; whatever it is, the training stands
        return {"macs": None, "unsupported": [_reason(error)]}


def _reason(error: Exception) -> str:
    where = f" (on node {platform.node()})" if isinstance(error, MissingDatasetError) else ""
    return f"{type(error).__name__}: {first_line(error)}{where}"


def _poisons_process(error: Exception) -> bool:
    """Tell whether a CUDA context is broken for good; running out of memory does not break it."""
    return "CUDA error" in str(error) and not isinstance(error, torch.OutOfMemoryError)
