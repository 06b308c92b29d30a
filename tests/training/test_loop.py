"""What training a trial does: against a plain loop, sklearn's metrics, and itself."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score
from torch import Tensor
from torch.nn import functional as F

from sweep import build_model
from sweep.data.digits import Digits, DigitsConfig
from sweep.registry import ATTENTION
from sweep.spec.recipes import Recipe
from sweep.spec.trial import Trial
from sweep.tasks.classification import Classification
from sweep.training import loop
from sweep.training.loading import make_loader
from sweep.training.loop import NonFiniteLossError
from sweep.training.seeding import derive_seed, seed_everything

from .parts import (
    CPU,
    Capricious,
    Scripted,
    Tiny,
    assert_same_end,
    measured,
    outcome,
    run,
    trial,
    weights,
)


def batches(given: Trial, split: Any, epoch: int = 0) -> list[tuple[Tensor, Tensor]]:
    """The batches of an epoch, whose order and augmentation other tests hold to their own."""
    loader = make_loader(
        Digits(DigitsConfig(**given.dataset_settings)),
        split,
        Classification(10),
        batch_size=given.recipe.batch_size,
        train=split == "train",
        augmentation=given.recipe.augmentation if split == "train" else "none",
        seed=given.seed,
        device=CPU,
        workers=0,
    )
    return list(loader.epoch(epoch))


def model_of(given: Trial) -> Any:
    return build_model(
        given.backbone.name,
        {"name": given.attention, **given.hyperparameters},
        given.sites,
        num_classes=10,
        stem=given.backbone.stem,
    )


def by_sklearn(model: Any, data: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
    with torch.no_grad():
        logits = torch.cat([model.eval()(images) for images, _ in data])
    targets = torch.cat([labels for _, labels in data])
    scores, classes = logits.double().softmax(dim=1).numpy(), np.arange(10)
    return {
        "top1": float(accuracy_score(targets, scores.argmax(axis=1))),
        "top5": float(top_k_accuracy_score(targets, scores, k=5, labels=classes)),
        "loss": float(log_loss(targets, scores, labels=classes)),
    }


def prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in metrics.items()}


def picked(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name.startswith(prefix)}


# Against a plain loop ---------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", ["standard", "flip", "none"])
def test_an_epoch_is_plain_sgd_over_the_batches_of_the_loader(
    tmp_path: Path, augmentation: str
) -> None:
    recipe = {"epochs": 2, "weight_decay": 0.01, "schedule": "cosine", "label_smoothing": 0.1}
    given = trial({**recipe, "augmentation": augmentation}, backbone="exact")
    result, reports = run(given, tmp_path)

    seed_everything(given.seed, "model")
    model = model_of(given)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    step, steps = 0, 2 * 3  # 64 images are batches of 24, 24 and 16
    for epoch in (1, 2):
        losses, hits, rate = 0.0, 0, 0.025 * (1 + math.cos(math.pi * step / steps))
        for images, targets in batches(given, "train", epoch):
            optimizer.param_groups[0]["lr"] = 0.025 * (1 + math.cos(math.pi * step / steps))
            outputs = model(images)
            losses += F.cross_entropy(outputs, targets, reduction="sum").item()
            hits += int((outputs.argmax(dim=1) == targets).sum())
            optimizer.zero_grad()
            F.cross_entropy(outputs, targets, label_smoothing=0.1).backward()
            optimizer.step()
            step += 1
        reported = reports[epoch - 1].metrics
        assert reported["train_loss"] == pytest.approx(losses / 64, rel=1e-6)
        assert reported["train_top1"] == pytest.approx(hits / 64)
        assert reported["lr"] == pytest.approx(rate)
        assert picked(reported, "val") == pytest.approx(
            prefixed("val", by_sklearn(model, batches(given, "val"))), rel=1e-6
        )
    assert step == steps
    assert result.epochs == 2
    for name, value in weights(tmp_path).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-10, atol=1e-12)


def test_flip_is_left_and_right_alone() -> None:
    """Of a batch in memory, drawn by hand: a number for each image, mirrored below a half."""
    given, epoch = trial({"augmentation": "flip", "batch_size": 64}), 3
    [(images, targets)] = batches(given, "train", epoch)
    plain = given.model_copy(update={"recipe": Recipe(augmentation="none", batch_size=64)})
    [(originals, labels)] = batches(plain, "train", epoch)
    assert torch.equal(targets, labels)
    generator = torch.Generator().manual_seed(derive_seed(given.seed, "augmentation", epoch))
    drawn = torch.rand(64, generator=generator).tolist()
    assert {number < 0.5 for number in drawn} == {True, False}
    for image, original, number in zip(images, originals, drawn, strict=True):
        columns = range(7, -1, -1) if number < 0.5 else range(8)
        assert torch.equal(image, torch.stack([original[:, :, x] for x in columns], dim=2))
    [(again, _)] = batches(given, "train", epoch)
    [(later, _)] = batches(given, "train", epoch + 1)
    assert torch.equal(again, images)
    assert not torch.equal(later, images)
    # What the data set does by itself is another thing, and evaluation sees none of it.
    standard = given.model_copy(update={"recipe": Recipe(batch_size=64)})
    assert not torch.equal(batches(standard, "train", epoch)[0][0], images)
    (seen,), (unseen,) = batches(given, "val"), batches(plain, "val")
    assert torch.equal(seen[0], unseen[0])


def test_a_trained_loss_without_a_meter_is_the_mean_over_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Classification, "training_meter", lambda self, device: None)
    # Batches of 24, 24 and 16, and a learning rate with which the model stays what it is.
    given = trial({"epochs": 1, "lr": 1e-30}, backbone="exact", seed=5)
    _, (report,) = run(given, tmp_path)
    seed_everything(given.seed, "model")
    model = model_of(given)
    with torch.no_grad():
        losses = [F.cross_entropy(model(x), y).item() for x, y in batches(given, "train", 1)]
    first, second, third = losses
    expected = (24 * first + 24 * second + 16 * third) / 64
    assert report.metrics["train_loss"] == pytest.approx(expected, rel=1e-6)
    assert abs(expected - sum(losses) / 3) > 1e-5  # the mean over batches is another number
    assert set(picked(report.metrics, "train")) == {"train_loss"}


@pytest.mark.parametrize("accumulate", [2, 5, 24])
def test_accumulated_gradients_are_those_of_the_whole_batch(
    tmp_path: Path, accumulate: int
) -> None:
    recipe = {"label_smoothing": 0.1, "epochs": 2}
    _, whole = run(trial(recipe, backbone="exact"), tmp_path / "whole")
    _, pieces = run(trial({**recipe, "accumulate": accumulate}, backbone="exact"), tmp_path / "p")
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "p")
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-10, atol=1e-12)
    for expected, report in zip(measured(whole), measured(pieces), strict=True):
        assert report[1] == pytest.approx(expected[1], rel=1e-6)


def test_pieces_are_as_many_as_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    forward = Tiny.forward

    def recording(self: Tiny, x: Tensor) -> Tensor:
        if self.training:
            sizes.append(len(x))
        return forward(self, x)

    monkeypatch.setattr(Tiny, "forward", recording)
    run(trial({"accumulate": 3, "epochs": 1}), tmp_path)
    batches_of_pieces = [sizes[:3], sizes[3:6], sizes[6:]]
    assert [sum(pieces) for pieces in batches_of_pieces] == [24, 24, 16]
    assert [len(pieces) for pieces in batches_of_pieces] == [3, 3, 3]
    assert max(sizes) == 8


def test_no_piece_is_too_small_for_batch_norm(tmp_path: Path) -> None:
    given = trial(  # batches of 8 and 3; the last feature map is 1x1
        {"epochs": 1, "batch_size": 8, "accumulate": 2}, backbone="resnet18", subset=11
    )
    run(given, tmp_path)


def test_label_smoothing_is_in_the_trained_loss_only(tmp_path: Path) -> None:
    # With so small a learning rate both models stay what they were.
    recipe = {"epochs": 1, "lr": 1e-30}
    _, (plain,) = run(trial(recipe, backbone="exact"), tmp_path / "plain")
    given = trial({**recipe, "label_smoothing": 0.5}, backbone="exact")
    _, (smoothed,) = run(given, tmp_path / "smoothed")
    assert measured([smoothed]) == measured([plain])
    # And that it is in the trained loss: see the plain loop above, which has it.
    _, (other,) = run(
        trial({"epochs": 1, "label_smoothing": 0.5}, backbone="exact"), tmp_path / "a"
    )
    _, (same,) = run(trial({"epochs": 1}, backbone="exact"), tmp_path / "b")
    assert other.metrics["val_loss"] != same.metrics["val_loss"]


# Reproducible -----------------------------------------------------------------------------------

ELA = {"attention": "ela", "hyperparameters": {"num_groups": 4}, "sites": ("bn",)}


def test_the_same_trial_gives_the_same_numbers(tmp_path: Path) -> None:
    first, reports = run(trial(**ELA), tmp_path / "first")
    random.seed(99)
    np.random.seed(99)
    torch.manual_seed(99)
    torch.rand(17)
    again, reports_again = run(trial(**ELA), tmp_path / "again")
    assert measured(reports_again) == measured(reports)
    assert outcome(again) == outcome(first)
    assert_same_end(tmp_path / "first", tmp_path / "again")


def test_another_seed_gives_other_numbers(tmp_path: Path) -> None:
    _, reports = run(trial(**ELA), tmp_path / "first")
    _, others = run(trial(**ELA, seed=1), tmp_path / "other")
    assert measured(others)[0] != measured(reports)[0]


def test_a_trial_is_the_same_after_one_with_other_attention(tmp_path: Path) -> None:
    alone, _ = run(trial(**ELA), tmp_path / "alone")
    run(trial(attention="ca", sites=("bn",)), tmp_path / "between")
    after, _ = run(trial(**ELA), tmp_path / "after")
    assert outcome(after) == outcome(alone)


# Which weights are tested -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("metric", "script", "best"),
    [
        ("top1", [0.3, 0.5, 0.4], 2),
        ("top1", [0.5, 0.5, 0.4], 1),  # of equals, the first
        ("loss", [1.5, 1.2, 1.3], 2),
        ("loss", [math.nan, 1.2, 1.3], 2),
    ],
)
def test_the_best_epoch_is_tested(
    tmp_path: Path, metric: str, script: list[float], best: int
) -> None:
    Scripted.script = list(script)
    given = trial(task="scripted", metric=metric, **ELA)
    result, reports = run(given, tmp_path)
    assert [report.metrics[f"val_{metric}"] for report in reports] == pytest.approx(
        script, nan_ok=True
    )
    assert (result.best_epoch, result.epochs) == (best, 3)
    for name in ("top1", "top5", "loss"):
        expected_best = reports[best - 1].metrics[f"val_{name}"]
        assert result.metrics[f"best_val_{name}"] == expected_best
    kept = {f"best-000{best}.pt", "epoch-0002.pt", "epoch-0003.pt", "manifest.json"}
    assert {path.name for path in tmp_path.iterdir()} == kept

    model = model_of(given)
    model.load_state_dict(torch.load(tmp_path / f"best-000{best}.pt", weights_only=True))
    expected = prefixed("test", by_sklearn(model, batches(given, "test")))
    assert picked(result.metrics, "test") == pytest.approx(expected, rel=1e-6)


def test_or_the_last_one_where_the_recipe_says_so(tmp_path: Path) -> None:
    Scripted.script = [0.5, 0.3, 0.4]
    given = trial({"evaluate": "last"}, task="scripted", **ELA)
    result, _ = run(given, tmp_path)
    assert result.best_epoch == 1
    assert result.metrics["best_val_top1"] == 0.5
    model = model_of(given)
    model.load_state_dict(weights(tmp_path))
    expected = prefixed("test", by_sklearn(model, batches(given, "test")))
    assert picked(result.metrics, "test") == pytest.approx(expected, rel=1e-6)
    model.load_state_dict(torch.load(tmp_path / "best-0001.pt", weights_only=True))
    assert by_sklearn(model, batches(given, "test"))["loss"] != expected["test_loss"]


@pytest.mark.parametrize(
    ("metric", "patience", "script", "epochs", "best"),
    [
        ("top1", 2, [0.1, 0.5, 0.4, 0.5], 4, 2),  # an equal one is no progress
        ("top1", 3, [0.1, 0.5, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5], 8, 5),
        ("top1", 1, [0.5, 0.4], 2, 1),
        ("loss", 2, [3.0, 2.0, 2.5, 1.0, 1.5, 1.5], 6, 4),
        ("top1", 4, [0.1, 0.2, 0.3, 0.2, 0.2, 0.2, 0.2], 7, 3),
        ("top1", None, [0.9] + [0.1] * 9, 10, 1),
        ("top1", 8, [0.9] + [0.1] * 8, 9, 1),
    ],
)
def test_patience_ends_a_trial(
    tmp_path: Path, metric: str, patience: int | None, script: list[float], epochs: int, best: int
) -> None:
    Scripted.script = [*script, *[math.nan] * 10]
    given = trial({"epochs": 10}, task="scripted", metric=metric, patience=patience, subset=24)
    result, reports = run(given, tmp_path)
    assert [report.epoch for report in reports] == list(range(1, epochs + 1))
    assert (result.epochs, result.best_epoch) == (epochs, best)


# Diverged ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epoch", "step", "value"),
    [(1, 1, math.inf), (1, 51, math.nan), (1, 50, math.inf), (2, 7, math.nan), (2, 53, -math.inf)],
)
def test_a_loss_that_is_no_number_ends_the_trial_and_tells_where(
    tmp_path: Path, epoch: int, step: int, value: float
) -> None:
    steps = 53  # 106 images by two: more than between two looks at the losses
    assert steps > loop.LOSS_CHECK_EVERY
    Capricious.calls, Capricious.at, Capricious.value = 0, (epoch - 1) * steps + step, value
    given = trial({"batch_size": 2}, task="capricious", subset=106)
    # The loss that was poisoned, and not the ones after it, which are no numbers either.
    with pytest.raises(NonFiniteLossError, match=rf"in epoch {epoch}, step {step}$") as error:
        run(given, tmp_path)
    assert (error.value.epoch, error.value.step) == (epoch, step)
    assert ("nan" in str(error.value)) == math.isnan(value)
    # The epoch is not saved, so that a resumption does not start from its weights.
    done = [path.name for path in tmp_path.glob("epoch-*.pt")]
    assert done == ([] if epoch == 1 else ["epoch-0001.pt"])
    if done:
        assert all(value.isfinite().all() for value in weights(tmp_path).values())


def test_in_a_batch_of_pieces_it_is_the_step_that_is_told(tmp_path: Path) -> None:
    Capricious.calls, Capricious.at, Capricious.value = 0, 5, math.inf  # 2 pieces: in the third
    with pytest.raises(NonFiniteLossError, match="loss is inf in epoch 1, step 3"):
        run(trial({"accumulate": 2}, task="capricious"), tmp_path)


def test_a_learning_rate_far_too_high(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"^loss is (nan|inf) in epoch \d, step \d$"):
        run(trial({"lr": 1e30}), tmp_path)


# Precision and memory layout --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_autocast_on_this_cpu(
    tmp_path: Path, precision: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtypes: set[torch.dtype] = set()
    forward = Tiny.forward

    def recording(self: Tiny, x: Tensor) -> Tensor:
        out = forward(self, x)
        dtypes.add(out.dtype)
        return out

    monkeypatch.setattr(Tiny, "forward", recording)
    result, reports = run(trial({"precision": precision}, **ELA), tmp_path / "half")
    assert dtypes == {dtype}
    assert {value.dtype for value in weights(tmp_path / "half").values()} == {
        torch.float32,
        torch.int64,  # batches seen by the batch norm
    }
    dtypes.clear()
    full, full_reports = run(trial(**ELA), tmp_path / "full")
    assert dtypes == {torch.float32}
    for report, expected in zip(reports, full_reports, strict=True):
        assert report.metrics["val_loss"] != expected.metrics["val_loss"]
        assert report.metrics["val_loss"] == pytest.approx(expected.metrics["val_loss"], rel=0.05)
    assert result.metrics["test_loss"] == pytest.approx(full.metrics["test_loss"], rel=0.05)


def test_channels_last_changes_the_layout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, plain = run(trial(**ELA), tmp_path / "plain")
    layouts: set[tuple[bool, bool]] = set()
    forward = Tiny.forward

    def recording(self: Tiny, x: Tensor) -> Tensor:
        layouts.add(
            tuple(t.is_contiguous(memory_format=torch.channels_last) for t in (x, self.body.weight))
        )
        return forward(self, x)

    monkeypatch.setattr(Tiny, "forward", recording)
    _, reports = run(trial({"channels_last": True}, **ELA), tmp_path / "last")
    assert layouts == {(True, True)}
    for report, expected in zip(measured(reports), measured(plain), strict=True):
        assert report[1]["train_loss"] == pytest.approx(expected[1]["train_loss"], rel=1e-4)


# The real thing ---------------------------------------------------------------------------------


def test_resnet18_with_ela_learns_a_few_digits(tmp_path: Path) -> None:
    given = trial(
        {"epochs": 4, "batch_size": 16, "augmentation": "none", "lr": 0.02},
        backbone="resnet18",
        attention="ela",
        hyperparameters=dict(ATTENTION["ela"].Config.presets["L"]),
        sites=("layer1", "layer1.0.bn2", "layer2", "layer3", "layer4.1.bn2"),
    )
    result, reports = run(given, tmp_path)
    losses = [report.metrics["train_loss"] for report in reports]
    assert losses[-1] < 0.5 * losses[0]
    assert reports[-1].metrics["train_top1"] > 0.8
    assert result.metrics["test_top1"] > 0.2  # a tenth is chance
    assert set(reports[0].metrics) == {
        *("train_top1", "train_top5", "train_loss", "val_top1", "val_top5", "val_loss"),
        *("lr", "epoch_seconds", "images_per_second"),
    }
    assert set(result.metrics) == {
        *("test_top1", "test_top5", "test_loss", "train_seconds"),
        *("best_val_top1", "best_val_top5", "best_val_loss"),
    }
    seconds = [report.metrics["epoch_seconds"] for report in reports]
    assert result.metrics["train_seconds"] == pytest.approx(sum(seconds))
    assert reports[0].metrics["images_per_second"] == pytest.approx(64 / seconds[0])
    names = set(weights(tmp_path))
    assert {"attention.layer1_0_bn2.encoders.0.0.weight", "backbone.fc.bias"} <= names


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu(tmp_path: Path, precision: str) -> None:
    given = trial({"precision": precision, "lr": 0.01}, **ELA)
    reports: list[Any] = []
    result = loop.train(
        given, report=reports.append, checkpoint_dir=tmp_path, device=torch.device("cuda", 0)
    )
    _, expected = run(given, tmp_path / "cpu")
    assert len(reports) == 3
    assert reports[0].metrics["val_loss"] == pytest.approx(expected[0].metrics["val_loss"], rel=0.1)
    assert 0 < result.metrics["peak_memory_gib"] < 2
