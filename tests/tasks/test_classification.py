from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import PIL.Image
import pytest
import torch
from PIL import ImageOps
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import Tensor
from torch.nn import functional as F

from sweep.data.base import Augmentation
from sweep.registry import TASKS
from sweep.tasks.classification import Classification

CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(count: int, height: int = 6, width: int = 5) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), generator=generator()).to(torch.uint8)


def photo(image: Tensor) -> PIL.Image.Image:
    return PIL.Image.fromarray(image.permute(1, 2, 0).numpy())


def crops(image: Tensor, padding: int) -> list[bytes]:
    """Every crop of the original size out of the padded image, by Pillow."""
    padded = ImageOps.expand(photo(image), padding, fill=0)
    _, height, width = image.shape
    return [
        padded.crop((left, top, left + width, top + height)).tobytes()
        for top in range(2 * padding + 1)
        for left in range(2 * padding + 1)
    ]


def test_it_is_registered() -> None:
    assert TASKS["classification"] is Classification
    assert [metric.name for metric in Classification.metrics] == ["top1", "top5", "loss"]
    assert Classification.metrics[0].scale == 100


@pytest.mark.parametrize("padding", [1, 2, 4])
def test_every_crop_is_one_of_pillows_and_all_occur(padding: int) -> None:
    images = random_images(40 * (2 * padding + 1) ** 2 // 10 + 300)
    out, _ = Classification(10).augment(images, None, Augmentation(padding), generator())
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    places = [
        crops(before, padding).index(photo(after).tobytes())
        for before, after in zip(images, out, strict=True)
    ]
    counts = np.bincount(places, minlength=(2 * padding + 1) ** 2)
    assert counts.min() > 0 or padding == 4
    rows, columns = np.divmod(places, 2 * padding + 1)
    for offsets in (rows, columns):
        assert set(offsets) == set(range(2 * padding + 1))
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.2


def test_each_image_is_flipped_on_its_own() -> None:
    images = random_images(400)
    out, targets = Classification(10).augment(
        images, torch.arange(400), Augmentation(flip=True), generator()
    )
    flipped = [
        photo(after).tobytes() == ImageOps.mirror(photo(before)).tobytes()
        for before, after in zip(images, out, strict=True)
    ]
    kept = [torch.equal(before, after) for before, after in zip(images, out, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    assert 150 < sum(flipped) < 250
    assert targets.tolist() == list(range(400))


def test_augmentation_leaves_its_input_alone_and_follows_the_generator() -> None:
    task, augmentation, images = Classification(10), Augmentation(2, flip=True), random_images(30)
    copy = images.clone()
    one, other, third = (
        task.augment(images, None, augmentation, generator(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(images, copy)
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    nothing, _ = task.augment(images, None, Augmentation(), generator())
    assert torch.equal(nothing, images)


def test_resized_crop_is_refused_for_resident_images() -> None:
    with pytest.raises(ValueError, match="resized_crop"):
        Classification(10).augment(
            random_images(2), None, Augmentation(resized_crop=True), generator()
        )


MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


def transformed(
    image: PIL.Image.Image, size: int, augmentation: Augmentation | None, eval_crop: float = 1.0
) -> Tensor:
    result: Tensor = Classification(10).transform(size, MEAN, STD, augmentation, eval_crop)(image)
    return result


def normalised(image: PIL.Image.Image) -> np.ndarray:
    return ((np.asarray(image) / 255 - MEAN) / STD).transpose(2, 0, 1)


def test_evaluation_resizes_the_shorter_side_and_cuts_the_centre() -> None:
    image = photo(random_images(1, 60, 90)[0])
    bilinear = PIL.Image.Resampling.BILINEAR
    out = transformed(image, 28, None, 28 / 32)
    expected = image.resize((48, 32), bilinear).crop((10, 2, 38, 30))
    np.testing.assert_allclose(out, normalised(expected), atol=1e-5)
    assert out.dtype == torch.float32
    out = transformed(image, 30, None)
    expected = image.resize((45, 30), bilinear)
    left = round((45 - 30) / 2)
    np.testing.assert_allclose(out, normalised(expected.crop((left, 0, left + 30, 30))), atol=1e-5)


def test_training_crops_and_flips_like_the_batched_augmentation() -> None:
    image = random_images(1, 8, 8)[0]
    possible = {
        normalised(PIL.Image.frombytes("RGB", (8, 8), crop)).round(4).tobytes()
        for side in (image, image.flip(2))
        for crop in crops(side, 1)
    }
    torch.manual_seed(0)
    seen = {
        transformed(photo(image), 8, Augmentation(1, flip=True)).double().numpy().round(4).tobytes()
        for _ in range(200)
    }
    assert len(possible) == 18
    assert seen == possible


def test_resized_crop_sees_parts_of_the_photo() -> None:
    torch.manual_seed(0)
    image = PIL.Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[:, None, None], (1, 90, 3)))
    heights = []
    for _ in range(100):
        out = transformed(image, 24, Augmentation(resized_crop=True))
        assert out.shape == (3, 24, 24)
        rows = (out[0] * STD[0] + MEAN[0]) * 255
        heights.append(float(rows.max() - rows.min()))
    assert min(heights) < 60
    assert max(heights) > 100


def test_collate() -> None:
    images = [torch.full((3, 2, 2), float(value)) for value in range(4)]
    batch, targets = Classification(10).collate(list(zip(images, [3, 1, 0, 2], strict=True)))
    assert batch.shape == (4, 3, 2, 2)
    assert targets.dtype == torch.int64
    assert targets.tolist() == [3, 1, 0, 2]


def measure(classes: int, batches: Sequence[tuple[Tensor, Tensor]], **settings: float) -> dict:
    meter = Classification(classes, **settings).meter(CPU)
    for outputs, targets in batches:
        meter.update(outputs, targets)
    return meter.compute()


@pytest.mark.parametrize("classes", [2, 3, 5, 7, 100])
def test_metrics_against_scikit_learn(classes: int) -> None:
    logits = 3 * torch.randn(500, classes, generator=generator())
    targets = torch.randint(classes, (500,), generator=generator(1))
    sizes = [128, 128, 128, 116]  # the last batch is smaller
    measured = measure(classes, list(zip(logits.split(sizes), targets.split(sizes), strict=True)))
    labels = list(range(classes))
    probabilities = F.softmax(logits.double(), 1).numpy()
    assert measured["loss"] == pytest.approx(log_loss(targets, probabilities, labels=labels))
    top1 = (logits.argmax(1) == targets).double().mean().item()
    assert measured["top1"] == pytest.approx(top1)
    if classes > 5:  # scikit-learn warns where k is the number of classes
        top5 = top_k_accuracy_score(targets, logits, k=5, labels=labels)
        assert measured["top5"] == pytest.approx(top5)
        assert measured["top5"] > measured["top1"]
    else:
        assert measured["top5"] == 1


def test_the_measured_loss_has_no_smoothing_and_the_trained_one_has() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0]])
    target = torch.tensor([0])
    log_p = [2 - math.log(math.e**2 + 2), -math.log(math.e**2 + 2), -math.log(math.e**2 + 2)]
    measured = measure(3, [(logits, target)], label_smoothing=0.3)
    assert measured["loss"] == pytest.approx(-log_p[0])
    trained = Classification(3, label_smoothing=0.3).loss(logits, target)
    assert trained.item() == pytest.approx(-(0.8 * log_p[0] + 0.1 * log_p[1] + 0.1 * log_p[2]))


def test_the_loss_is_a_mean_with_gradient() -> None:
    logits = torch.randn(6, 4, generator=generator(), dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 1, 2, 3, 0, 1])
    Classification(4).loss(logits, targets).backward()
    expected = (F.softmax(logits, 1) - F.one_hot(targets, 4)) / 6
    torch.testing.assert_close(logits.grad, expected.detach())


def test_half_precision_outputs_are_summed_in_full() -> None:
    logits = torch.randn(3000, 10, generator=generator()).bfloat16()
    targets = torch.randint(10, (3000,), generator=generator(1))
    measured = measure(10, [(logits, targets)])
    expected = F.cross_entropy(logits.double(), targets).item()
    assert measured["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_meter_without_a_batch() -> None:
    with pytest.raises(ValueError, match="no batch"):
        Classification(3).meter(CPU).compute()
