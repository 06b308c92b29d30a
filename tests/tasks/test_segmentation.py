from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from sklearn.metrics import accuracy_score, jaccard_score, log_loss
from torch import Tensor
from torch.nn import functional as F

from sweep.data.base import Augmentation
from sweep.registry import TASKS
from sweep.tasks.segmentation import Segmentation

CPU = torch.device("cpu")
MEAN, STD = (0.4, 0.6, 0.2), (0.2, 0.3, 0.4)
FILL = (102, 153, 51)  # 255 times the mean


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(shape, generator=generator(seed))


def masks(classes: int, *shape: int, ignored: float = 0.2, seed: int = 1) -> Tensor:
    drawn = torch.randint(classes, shape, generator=generator(seed))
    return torch.where(torch.rand(shape, generator=generator(seed)) < ignored, 255, drawn)


def test_it_is_registered() -> None:
    assert TASKS["segmentation"] is Segmentation
    assert [metric.name for metric in Segmentation.metrics] == ["miou", "pixel_accuracy", "loss"]
    assert [metric.mode for metric in Segmentation.metrics] == ["max", "max", "min"]
    assert Segmentation.metrics[0].scale == 100


# Loss -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_mean_over_counted_pixels(smoothing: float) -> None:
    scores = np.array([[2.0, 0.0, 0.0], [1.0, 3.0, 0.0], [5.0, 5.0, 5.0], [0.0, 0.0, 1.0]])
    truth = [0, 0, 255, 2]  # the third pixel is ignored
    log_p = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    wanted = np.full((4, 3), smoothing / 3)
    for pixel in (0, 1, 3):
        wanted[pixel, truth[pixel]] += 1 - smoothing
    expected = -sum(float(wanted[pixel] @ log_p[pixel]) for pixel in (0, 1, 3)) / 3

    outputs = torch.tensor(scores.T.reshape(1, 3, 2, 2)).requires_grad_()
    targets = torch.tensor(truth).view(1, 2, 2)
    loss = Segmentation(3, label_smoothing=smoothing).loss(outputs, targets)
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    gradient = (np.exp(log_p) - wanted) / 3
    gradient[2] = 0
    assert outputs.grad is not None
    np.testing.assert_allclose(outputs.grad[0].flatten(1).T, gradient, atol=1e-6)


def test_a_batch_of_ignored_pixels_has_no_loss_and_no_gradient() -> None:
    outputs = logits(2, 4, 3, 3).requires_grad_()
    loss = Segmentation(4, label_smoothing=0.1).loss(outputs, torch.full((2, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0
    assert outputs.grad is not None
    assert not outputs.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_full(dtype: torch.dtype) -> None:
    outputs, targets = (20 * logits(3, 5, 150, 150)).to(dtype), masks(5, 3, 150, 150)
    expected = F.cross_entropy(outputs.double(), targets, ignore_index=255).item()
    assert expected * 3 * 150 * 150 > torch.finfo(torch.float16).max
    assert Segmentation(5).loss(outputs, targets).item() == pytest.approx(expected, rel=1e-5)
    assert measure(5, [(outputs, targets)])["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_pieces_add_up_to_the_batch(count: int) -> None:
    task, outputs = Segmentation(4), logits(7, 4, 5, 6)
    targets = masks(4, 7, 5, 6, ignored=0)
    targets[:, 2] = 255  # as many in every image
    pieces = list(task.pieces(outputs, targets, count))
    assert len(pieces) == min(count, 3)
    assert min(len(part) for part, _ in pieces) >= 2
    total = sum(task.loss(part, truth) * (len(part) / 7) for part, truth in pieces)
    assert float(total) == pytest.approx(float(task.loss(outputs, targets)))


# Metrics ----------------------------------------------------------------------------------------


def measure(classes: int, batches: Sequence[tuple[Tensor, Tensor]]) -> dict[str, float]:
    meter = Segmentation(classes, label_smoothing=0.2).meter(CPU)
    for outputs, targets in batches:
        meter.update(outputs, targets)
    return meter.compute()


def one_hot(predicted: list[list[int]], classes: int) -> Tensor:
    return F.one_hot(torch.tensor([predicted]), classes).permute(0, 3, 1, 2).float()


def test_two_classes_by_hand() -> None:
    measured = measure(3, [(one_hot([[0, 1], [1, 1]], 3), torch.tensor([[[0, 0], [1, 255]]]))])
    # Class 0: one pixel right of two; class 1: one right of two; class 2 is nowhere.
    assert measured["miou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert measured["pixel_accuracy"] == pytest.approx(2 / 3)
    nats = math.log(math.e + 2)
    assert measured["loss"] == pytest.approx((nats - 1 + nats + nats - 1) / 3)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    measured = measure(4, [(one_hot([[0, 0, 3, 0]], 4), torch.tensor([[[0, 0, 0, 255]]]))])
    assert measured["miou"] == pytest.approx((2 / 3 + 0) / 2)


@pytest.mark.parametrize("classes", [2, 3, 21])
def test_metrics_against_scikit_learn(classes: int) -> None:
    outputs, targets = logits(7, classes, 9, 8), masks(max(2, classes - 1), 7, 9, 8)
    outputs[:, 0] += 2  # not all classes alike
    sizes = [3, 3, 1]  # the last batch is smaller
    measured = measure(classes, list(zip(outputs.split(sizes), targets.split(sizes), strict=True)))
    counted = targets != 255
    truth = targets[counted].numpy()
    scores = outputs.permute(0, 2, 3, 1)[counted].double().softmax(dim=1).numpy()
    predicted = scores.argmax(axis=1)
    present = sorted({*truth.tolist(), *predicted.tolist()})
    expected = {
        "miou": jaccard_score(truth, predicted, labels=present, average="macro"),
        "pixel_accuracy": accuracy_score(truth, predicted),
        "loss": log_loss(truth, scores, labels=list(range(classes))),
    }
    assert measured == pytest.approx(expected, rel=1e-6)


def test_counts_are_exact_beyond_what_float32_can_count() -> None:
    meter = Segmentation(2).meter(CPU)
    outputs, targets = one_hot([[1] * 4096] * 2050, 2), torch.ones(1, 2050, 4096, dtype=torch.int64)
    targets[0, 0, 0] = 0
    for _ in range(2):
        meter.update(outputs, targets)
    measured = meter.compute()
    right = 2 * (2050 * 4096 - 1)
    assert right > 2**24
    assert measured["pixel_accuracy"] == right / (right + 2)
    assert measured["miou"] == pytest.approx(right / (right + 2) / 2, rel=1e-12)


@pytest.mark.parametrize("batches", [0, 1])
def test_a_meter_without_a_pixel(batches: int) -> None:
    ignored = (logits(1, 3, 2, 2), torch.full((1, 2, 2), 255))
    with pytest.raises(ValueError, match="no pixel"):
        measure(3, [ignored] * batches)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_no_update_waits_for_it() -> None:
    cuda = torch.device("cuda", 0)
    outputs, targets = logits(4, 21, 33, 33), masks(21, 4, 33, 33)
    meter, there = Segmentation(21).meter(cuda), (outputs.to(cuda), targets.to(cuda))
    torch.cuda.set_sync_debug_mode("error")
    try:
        meter.update(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert meter.compute() == pytest.approx(measure(21, [(outputs, targets)]), rel=1e-5)


# Transforms -------------------------------------------------------------------------------------


def sample(height: int, width: int, seed: int = 0) -> tuple[PIL.Image.Image, PIL.Image.Image]:
    """A photo and a mask of noise."""
    rng = np.random.default_rng(seed)
    photo = PIL.Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    mask = PIL.Image.fromarray(rng.integers(0, 21, (height, width), np.uint8))
    mask.putpalette(rng.integers(0, 256, 768, np.uint8).tobytes())
    return photo, mask


def transformed(
    photo: PIL.Image.Image, mask: PIL.Image.Image, size: int, augmentation: Augmentation | None
) -> tuple[np.ndarray, np.ndarray]:
    """The image in 0..255, (H, W, 3), and the mask (H, W)."""
    image, target = Segmentation(21).transform(size, MEAN, STD, augmentation)(photo, mask)
    assert type(image) is type(target) is Tensor
    assert (image.shape, image.dtype) == ((3, size, size), torch.float32)
    assert (target.shape, target.dtype) == ((1, size, size), torch.uint8)
    colours: Any = 255 * (image.permute(1, 2, 0).numpy() * STD + MEAN)
    return colours, target[0].numpy()


@pytest.mark.parametrize(("height", "width"), [(30, 50), (50, 30), (49, 50), (7, 9)])
def test_evaluation_pads_the_whole_image(height: int, width: int) -> None:
    photo, mask = sample(height, width)
    image, target = transformed(photo, mask, 50, None)
    np.testing.assert_allclose(image[:height, :width], photo, atol=1e-3)
    np.testing.assert_array_equal(target[:height, :width], mask)
    outside = np.ones((50, 50), bool)
    outside[:height, :width] = False
    assert (target[outside] == 255).all()
    np.testing.assert_allclose(image[outside], np.tile(FILL, (outside.sum(), 1)), atol=1e-3)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_evaluation_shrinks_what_is_larger(mode: str) -> None:
    photo, mask = sample(60, 90)
    if mode == "L":  # which Pillow would blend, unlike numbers of a palette
        mask = PIL.Image.fromarray(np.asarray(mask).copy())
    assert mask.mode == mode
    image, target = transformed(photo, mask, 30, None)
    np.testing.assert_allclose(
        image[:20], photo.resize((30, 20), PIL.Image.Resampling.BILINEAR), atol=1e-3
    )
    # torch's "nearest-exact" takes the pixel at the centre; its "nearest" does not.
    given = torch.from_numpy(np.asarray(mask).copy())[None, None]
    expected = F.interpolate(given, (20, 30), mode="nearest-exact")[0, 0]
    np.testing.assert_array_equal(target[:20], expected)
    assert (target[20:] == 255).all()


def test_training_scales_crops_and_flips_both_alike() -> None:
    """Red rises with the column and the mask follows it: both tell scale, place and direction."""
    columns, rows = np.meshgrid(np.arange(200), np.arange(180))
    photo = PIL.Image.fromarray(np.stack([columns, rows, rows], axis=2).astype(np.uint8))
    mask = PIL.Image.fromarray((columns // 10).astype(np.uint8))
    augmentation = Augmentation(scale=(0.5, 2.0), flip=True)
    slopes, tops = [], []
    torch.manual_seed(0)
    for _ in range(300):
        image, target = transformed(photo, mask, 150, augmentation)
        counted = target != 255
        red = image[..., 0]
        assert np.abs(red - (10.0 * target + 4.5))[counted].max() < 6.5
        np.testing.assert_allclose(image[~counted], np.tile(FILL, (np.sum(~counted), 1)), atol=1e-3)
        inside = np.ix_(counted.any(axis=1), counted.any(axis=0))
        assert counted[inside].all()  # a rectangle
        slopes.append(np.diff(red[inside], axis=1).mean())
        along = np.diff(image[..., 1][inside], axis=0).mean()
        assert along == pytest.approx(abs(slopes[-1]), abs=0.03)  # one scale for both sides
        tops.append(image[..., 1][inside][0, 0])
    scales = 1 / np.abs(slopes)
    assert 0.48 < scales.min() < 0.55
    assert 1.9 < scales.max() < 2.05
    assert abs(scales.mean() - 1.25) < 0.1  # uniform
    assert 110 < sum(slope < 0 for slope in slopes) < 190
    assert len(set(np.round(tops))) > 20  # places differ


def test_without_scale_and_flip_it_is_a_crop() -> None:
    photo, mask = sample(6, 7)
    possible = {
        np.asarray(photo.crop((left, top, left + 5, top + 5))).tobytes()
        for top in range(2)
        for left in range(3)
    }
    torch.manual_seed(0)
    seen = set()
    for _ in range(60):
        image, _ = transformed(photo, mask, 5, Augmentation())
        seen.add(image.round().astype(np.uint8).tobytes())
    assert seen == possible


def test_what_is_drawn_follows_from_torchs_generator_alone() -> None:
    photo, mask = sample(60, 50)
    transform = Segmentation(21).transform(40, MEAN, STD, Augmentation(scale=(0.5, 2), flip=True))
    transform = pickle.loads(pickle.dumps(transform))  # as a worker process gets it
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        np.random.seed(len(drawn))
        drawn.append(transform(photo, mask))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[2][0])


def test_collate() -> None:
    samples = [
        (torch.full((3, 2, 4), float(n)), torch.full((1, 2, 4), 250 + n, dtype=torch.uint8))
        for n in range(5)
    ]
    images, targets = Segmentation(21).collate(samples)
    assert images.shape == (5, 3, 2, 4)
    assert (targets.shape, targets.dtype) == ((5, 2, 4), torch.int64)
    assert targets[:, 0, 0].tolist() == [250, 251, 252, 253, 254]


def test_there_are_no_resident_splits() -> None:
    with pytest.raises(NotImplementedError, match="Segmentation has no resident splits"):
        Segmentation(3).augment(logits(2, 3, 4, 4), None, Augmentation(), generator())
