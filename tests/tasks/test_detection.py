from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset as TorchDataset

from sweep.data.base import Augmentation, StreamSplit
from sweep.data.detection import ANY_CLASS
from sweep.data.voc_folder import VocFolder
from sweep.errors import UserError
from sweep.models.base import Backbone, Stem
from sweep.registry import BACKBONES, TASKS
from sweep.spec.recipes import Recipe
from sweep.spec.trial import BackboneChoice, Trial
from sweep.tasks.detection import Detection, letterbox, mirror
from sweep.training.loading import make_loader
from sweep.training.loop import EpochReport, train
from tests.data.box_formats import write_voc

CPU = torch.device("cpu")
GREY = (114, 114, 114)
Target = dict[str, Tensor]


def target(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int] | None = None,
    ignore: Sequence[int] | None = None,
    **others: Tensor,
) -> Target:
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": corners,
        "labels": torch.tensor([0] * len(corners) if labels is None else labels),
        "ignore": torch.tensor([0] * len(corners) if ignore is None else ignore).bool(),
        "area": (corners[:, 2:] - corners[:, :2]).prod(dim=1),
        **others,
    }


def seen(*boxes: Any, **fields: Any) -> Target:
    """A target in the network's input, which is as large as the photo."""
    return {**target(*boxes, **fields), "scale": torch.ones(2)}


class Found:
    """What a detector returns, as far as the task knows it."""

    def __init__(self, *images: tuple[Sequence[Sequence[float]], Sequence[float], Sequence[int]]):
        self.images = images
        self.asked: list[Sequence[Mapping[str, Tensor]]] = []

    def loss(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        self.asked.append(targets)
        return torch.tensor(3.0)

    def detections(self) -> list[dict[str, Tensor]]:
        return [
            {
                "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
                "scores": torch.tensor(scores),
                "labels": torch.tensor(labels, dtype=torch.int64),
            }
            for boxes, scores, labels in self.images
        ]


def measure(found: Found, targets: list[Target], num_classes: int = 1) -> dict[str, float]:
    meter = Detection(num_classes).meter(CPU)
    meter.update(found, targets)
    return meter.compute()


def test_it_is_registered() -> None:
    assert TASKS["detection"] is Detection
    assert [m.name for m in Detection.metrics[:3]] == ["map", "map50", "map75"]
    assert {(m.mode, m.scale) for m in Detection.metrics} == {("max", 100)}


def test_label_smoothing_is_refused() -> None:
    with pytest.raises(UserError, match=r"label_smoothing \(=0\.1\) is not for detection"):
        Detection(3, label_smoothing=0.1)


# Loss and batches -----------------------------------------------------------------------------


def test_what_is_to_be_ignored_is_never_trained_on() -> None:
    outputs = Found()
    boxes = [[0, 0, 1, 1], [2, 2, 4, 4], [5, 5, 6, 6]]
    targets = [seen(boxes, [1, ANY_CLASS, 2], [0, 1, 0]), seen([])]
    assert Detection(3).loss(outputs, targets) == 3
    ((first, second),) = outputs.asked
    assert first["boxes"].tolist() == [[0, 0, 1, 1], [5, 5, 6, 6]]
    assert first["labels"].tolist() == [1, 2]
    assert second["boxes"].shape == (0, 4)


@pytest.mark.parametrize(
    ("batch", "count", "expected"), [(7, 3, [3, 2, 2]), (4, 9, [2, 2]), (1, 2, [1]), (5, 1, [5])]
)
def test_pieces_keep_images_and_targets_together(
    batch: int, count: int, expected: list[int]
) -> None:
    images = torch.arange(batch).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    targets = [seen([[0, 0, n + 1, 1]]) for n in range(batch)]
    pieces = list(Detection(2).pieces(images, targets, count))
    assert [len(piece) for piece, _ in pieces] == expected
    for piece, own in pieces:
        assert piece[:, 0, 0, 0].tolist() == [int(t["boxes"][0, 2]) - 1 for t in own]
    assert [t for _, own in pieces for t in own] == targets


# Transforms -----------------------------------------------------------------------------------


def solid(width: int, height: int, colour: tuple[int, int, int] = (0, 0, 0)) -> PIL.Image.Image:
    return PIL.Image.new("RGB", (width, height), colour)


@pytest.mark.parametrize(
    ("width", "height", "area", "box"),
    [
        (200, 100, (0, 25, 100, 75), [10, 30, 30, 50]),  # wide: grey above and below
        (100, 200, (25, 0, 75, 100), [35, 5, 55, 25]),  # high: grey beside
        (50, 50, (0, 0, 100, 100), [40, 20, 120, 100]),  # small: enlarged
        (100, 100, (0, 0, 100, 100), [20, 10, 60, 50]),
    ],
)
def test_a_letterbox_by_hand(
    width: int, height: int, area: tuple[int, int, int, int], box: list[float]
) -> None:
    image, placed = letterbox(solid(width, height), target([[20, 10, 60, 50]], [4]), 100)
    assert image.size == (100, 100)
    expected = solid(100, 100, GREY)
    expected.paste((0, 0, 0), area)
    np.testing.assert_array_equal(image, expected)
    assert placed["boxes"].tolist() == [box]
    assert placed["area"].tolist() == [1600]  # of the photo
    assert placed["scale"].tolist() == [(area[2] - area[0]) / width] * 2


def test_a_side_that_is_rounded_has_its_own_scale() -> None:
    _, placed = letterbox(solid(100, 33), target([[0, 0, 100, 33]]), 50)  # 16.5 becomes 16
    torch.testing.assert_close(placed["scale"], torch.tensor([0.5, 16 / 33]))
    assert placed["boxes"].tolist() == [[0, 17, 50, 33]]


def test_a_mirror_by_hand() -> None:
    image = solid(10, 4)
    image.putpixel((1, 2), (255, 0, 0))
    flipped, mirrored = mirror(image, target([[1, 2, 2, 3], [0, 0, 10, 4]]))
    assert flipped.getpixel((8, 2)) == (255, 0, 0)
    assert mirrored["boxes"].tolist() == [[8, 2, 9, 3], [0, 0, 10, 4]]


def test_evaluation_changes_nothing_but_the_place() -> None:
    mean, std = (0.5, 0.25, 0.5), (0.5, 0.25, 0.125)
    transform = Detection(2).transform(8, mean, std, None)
    given = target([[0, 0, 8, 4], [0, 0, 2, 2]], [0, ANY_CLASS], [0, 1])
    image, out = transform(solid(8, 4, (255, 255, 0)), given)
    assert image.shape == (3, 8, 8)
    torch.testing.assert_close(image[:, 4, 4], torch.tensor([1.0, 3.0, -4.0]))
    grey = (114 / 255 - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(image[:, 1, 4], grey)
    assert out["boxes"].tolist() == [[0, 2, 8, 6], [0, 2, 2, 4]]
    assert out["ignore"].tolist() == [False, True]
    again, _ = transform(solid(8, 4, (255, 255, 0)), given)
    assert torch.equal(image, again)


def test_half_of_the_training_images_are_flipped_with_their_boxes() -> None:
    transform = Detection(1).transform(8, (0, 0, 0), (1, 1, 1), Augmentation(flip=True))
    photo = solid(8, 8)
    photo.paste((255, 0, 0), (1, 2, 3, 6))
    torch.manual_seed(0)
    flips = 0
    for _ in range(200):
        image, out = transform(photo, target([[1, 2, 3, 6]]))
        (x1, y1, x2, y2) = out["boxes"][0].int().tolist()
        assert (image[0] == 1).nonzero().tolist() == [
            [y, x] for y in range(y1, y2) for x in range(x1, x2)
        ]
        flips += x1 == 5
    assert 75 < flips < 125


def test_colours_change_within_their_range_and_boxes_do_not() -> None:
    transform = Detection(1).transform(8, (0, 0, 0), (1, 1, 1), Augmentation(colour=0.2))
    torch.manual_seed(0)
    drawn = [transform(solid(8, 8, (100, 100, 100)), target([[1, 2, 3, 6]])) for _ in range(100)]
    values = torch.stack([image.mean() for image, _ in drawn])
    assert 78 / 255 < values.min() < 90 / 255  # a plain grey: only its brightness changes
    assert 110 / 255 < values.max() < 122 / 255
    assert all(out["boxes"].tolist() == [[1, 2, 3, 6]] for _, out in drawn)


class Rectangles(TorchDataset[tuple[PIL.Image.Image, Target]]):
    """Black photos of several shapes; number n has two boxes, painted in colours of its own."""

    SHAPES = ((90, 60), (60, 90), (70, 70), (120, 40), (33, 57))
    BOXES = ([[4, 5, 30, 25], [20, 30, 32, 39]], [[0, 0, 10, 40], [25, 3, 33, 21]])

    def colour(self, number: int, box: int) -> tuple[int, int, int]:
        return (255, 40 + 40 * number, 60 + 120 * box)

    def __getitem__(self, number: int) -> tuple[PIL.Image.Image, Target]:
        photo = solid(*self.SHAPES[number])
        boxes = self.BOXES[number % 2]
        for index, box in enumerate(boxes):
            photo.paste(self.colour(number, index), tuple(box))
        return photo, target(boxes, [2 * number, 2 * number + 1])


def painted(image: PIL.Image.Image, colour: tuple[int, int, int]) -> Tensor:
    """Where the colour is, as far as resizing has not mixed it with the black around it."""
    away = (torch.from_numpy(np.array(image)).int() - torch.tensor(colour)).abs()
    return (away.amax(dim=2) < 20).nonzero()


def check_boxes(image: PIL.Image.Image, out: Target, scale: float) -> None:
    """Compare the boxes with the rectangles that are painted."""
    width, height = image.size
    boxes = out["boxes"]
    assert (boxes >= 0).all()
    assert (boxes <= torch.tensor([width, height] * 2)).all()
    for label, box in zip(out["labels"].tolist(), boxes, strict=True):
        where = painted(image, Rectangles().colour(label // 2, label % 2))
        y1, x1, y2, x2 = *where.amin(dim=0).tolist(), *(where.amax(dim=0) + 1).tolist()
        assert np.abs(np.array([x1, y1, x2, y2]) - box.numpy()).max() < 1 + scale


def test_one_photo_at_a_random_scale_and_place() -> None:
    split = StreamSplit(Rectangles(), 5)
    composed = Detection(10).compose(split, 64, Augmentation(scale=(0.5, 1.5)))
    assert len(composed) == 5
    torch.manual_seed(1)
    sides, lost = [], 0
    for _ in range(40):
        for number in range(5):
            image, out = composed.samples[number]
            assert image.size == (64, 64)
            check_boxes(image, out, 1.5 * 64 / 57)
            lost += 2 - len(out["labels"])
            if number == 2:  # square: the scale is what is not grey
                ink = (torch.from_numpy(np.array(image)) != 114).any(dim=2)
                sides.append(ink.any(dim=0).sum().item())
            assert set(out["labels"].tolist()) <= {2 * number, 2 * number + 1}
    assert 0 < lost < 60
    assert 32 <= min(sides) < 40
    assert max(sides) == 64


def test_no_more_of_a_box_is_lost_than_may_be() -> None:
    """Every share that is seen of a box of 20 x 20 pixels in a photo that is enlarged."""
    photo = solid(64, 64)
    photo.paste((255, 0, 0), (0, 0, 20, 20))

    class One(TorchDataset[Any]):
        def __getitem__(self, _: int) -> tuple[PIL.Image.Image, Target]:
            return photo, target([[0, 0, 20, 20]])

    composed = Detection(1).compose(StreamSplit(One(), 1), 64, Augmentation(scale=(1.5, 1.5)))
    torch.manual_seed(0)
    shares: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(300):
        image, out = composed.samples[0]
        red = (torch.from_numpy(np.array(image))[..., 0] > 127).sum().item()
        shares[len(out["boxes"])].append(red / 30**2)
    assert len(shares[0]) > 20
    assert max(shares[0]) < 0.12
    assert 0.08 < min(shares[1]) < 0.3


def test_a_mosaic_has_the_photo_itself_and_three_others() -> None:
    composed = Detection(10).compose(
        StreamSplit(Rectangles(), 5), 64, Augmentation(scale=(0.5, 1.5), mosaic=1.0)
    )
    torch.manual_seed(2)
    photos: list[int] = []
    for number in range(5):
        for _ in range(30):
            image, out = composed.samples[number]
            assert image.size == (64, 64)
            assert out["labels"].shape == out["area"].shape == out["ignore"].shape
            photos.append(len({label // 2 for label in out["labels"].tolist()}))
            for label, box in zip(out["labels"].tolist(), out["boxes"], strict=True):
                x1, y1, x2, y2 = (box + torch.tensor([2, 2, -2, -2])).round().int().tolist()
                inside = image.crop((x1, y1, max(x1, x2), max(y1, y2)))
                colour = Rectangles().colour(label // 2, label % 2)
                assert len(painted(inside, colour)) == inside.width * inside.height
    assert max(photos) == 4
    assert np.mean(photos) > 1.5


def test_a_mosaic_keeps_its_photos_apart() -> None:
    """Photos of one colour each: their corners meet in one point, and none covers another."""

    class Plain(TorchDataset[Any]):
        def __getitem__(self, number: int) -> tuple[PIL.Image.Image, Target]:
            return solid(50, 50, (60 * number, 0, 255)), target([[0, 0, 50, 50]], [number])

    composed = Detection(5).compose(StreamSplit(Plain(), 5), 40, Augmentation(mosaic=1.0))
    torch.manual_seed(3)
    for _ in range(30):
        image, out = composed.samples[4]
        pixels = torch.from_numpy(np.array(image))
        covered = torch.zeros(40, 40, dtype=torch.int)
        for label, box in zip(out["labels"].tolist(), out["boxes"].int().tolist(), strict=True):
            x1, y1, x2, y2 = box
            assert (pixels[y1:y2, x1:x2] == torch.tensor([60 * label, 0, 255])).all()
            covered[y1:y2, x1:x2] += 1
        assert covered.max() == 1
        assert (pixels[..., 2] == 255).all()  # at scale 1 no grey is left
        assert (covered == 0).sum() < 3 * 0.1 * 40**2  # up to three boxes too little is seen of


def test_the_share_of_mosaics() -> None:
    class Counting(Rectangles):
        read = 0

        def __getitem__(self, number: int) -> tuple[PIL.Image.Image, Target]:
            Counting.read += 1
            return super().__getitem__(number)

    composed = Detection(10).compose(StreamSplit(Counting(), 5), 64, Augmentation(mosaic=0.25))
    torch.manual_seed(0)
    for _ in range(400):
        composed.samples[0]
    assert 400 + 3 * 75 < Counting.read < 400 + 3 * 125


# Average precision ----------------------------------------------------------------------------


def test_a_precision_recall_curve_by_hand() -> None:
    """A hit, a miss and a hit on two objects: precision 1 up to recall 1/2, then 2/3."""
    found = Found(
        ([[0, 0, 50, 50], [200, 0, 250, 50], [100, 0, 150, 50]], [0.9, 0.8, 0.7], [0] * 3)
    )
    values = measure(found, [seen([[0, 0, 50, 50], [100, 0, 150, 50]])])
    expected = (51 * 1 + 50 * 2 / 3) / 101  # recall 0.00 to 0.50, and 0.51 to 1.00
    for name in ("map", "map50", "map75", "map_medium"):
        assert values[name] == pytest.approx(expected)
    assert math.isnan(values["map_small"])
    assert math.isnan(values["map_large"])


def test_thresholds_of_overlap_by_hand() -> None:
    """An overlap of 0.62 is enough for 0.5, 0.55 and 0.6."""
    values = measure(Found(([[0, 0, 100, 62]], [0.5], [0])), [seen([[0, 0, 100, 100]])])
    assert values["map"] == pytest.approx(0.3)
    assert (values["map50"], values["map75"]) == (1, 0)


def test_classes_count_alike_and_those_without_objects_do_not() -> None:
    boxes = [[0, 0, 50, 50], [60, 0, 90, 30], [0, 60, 30, 90]]
    found = Found((boxes, [0.9, 0.8, 0.7], [0, 1, 3]))
    values = measure(found, [seen(boxes, [0, 0, 1])], num_classes=5)
    first = 51 / 101  # one of two found; class 1: found elsewhere; class 3: no such object
    assert values["map"] == pytest.approx((first + 0) / 2)


def test_what_is_ignored_is_neither_right_nor_wrong() -> None:
    """The best detections lie in an ignored box: of the class, of any class, of another class."""
    detections = Found(
        ([[100, 0, 140, 40], [110, 5, 130, 25], [0, 0, 50, 50]], [0.9, 0.8, 0.7], [0, 0, 0])
    )
    boxes = [[0, 0, 50, 50], [90, 0, 150, 60]]
    for label, expected in [(0, 1), (ANY_CLASS, 1), (1, 1 / 3)]:
        values = measure(detections, [seen(boxes, [0, label], [0, 1])], num_classes=2)
        assert values["map"] == pytest.approx(expected), label
    nothing = measure(Found(([], [], [])), [seen([[0, 0, 9, 9]], [0], [1])])
    assert math.isnan(nothing["map"])  # no object: not to find it is no miss


def test_sizes_are_those_of_the_photo() -> None:
    """40 x 40 pixels of the photo are medium, though the network sees 20 x 20."""
    image, out = letterbox(solid(1280, 640), target([[100, 100, 140, 140]]), 640)
    assert out["boxes"].tolist() == [[50, 210, 70, 230]]
    values = measure(Found((out["boxes"].tolist(), [0.5], [0])), [out])
    assert values["map"] == values["map_medium"] == 1
    assert math.isnan(values["map_small"])
    assert image.size == (640, 640)


@pytest.mark.parametrize(("objects", "expected"), [(100, 1.0), (150, 67 / 101)])
def test_how_many_detections_count(objects: int, expected: float) -> None:
    """COCO's 100 of a class. Of 150 objects, two thirds are found: 67 of the levels of recall."""
    boxes = [[10.0 * n, 0, 10 * n + 8, 8] for n in range(objects)]
    scores = [1 - n / 1000 for n in range(objects)]
    values = measure(Found((boxes, scores, [0] * objects)), [seen(boxes)])
    assert values["map"] == pytest.approx(expected)


def test_detections_beyond_a_hundred_do_not_count() -> None:
    boxes = [[10.0 * n, 0, 10 * n + 8, 8] for n in range(101)]
    found = Found((boxes, [1 - n / 1000 for n in range(101)], [0] * 101))
    assert measure(found, [seen(boxes[-1:])])["map"] == 0
    assert measure(found, [seen(boxes[-2:-1])])["map"] == pytest.approx(0.01)


def test_no_detection_and_no_object() -> None:
    assert measure(Found(([], [], [])), [seen([[0, 0, 50, 50]])])["map"] == 0
    empty = measure(Found(([[0, 0, 5, 5]], [0.5], [0])), [seen([])])
    assert all(math.isnan(value) for value in empty.values())
    assert set(empty) == {metric.name for metric in Detection.metrics}


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(ValueError, match="no batch"):
        Detection(3).meter(CPU).compute()


def scenes(count: int, classes: int) -> tuple[list[Target], list[tuple[Any, Any, Any]]]:
    """Photos' objects, some of them crowds, and detections that are near some of them."""
    rng = np.random.default_rng(0)
    truths, detections = [], []
    for _ in range(count):
        objects = rng.integers(0, 12)
        corners = rng.uniform(0, 300, (objects, 2))
        sides = rng.choice([15.0, 60.0, 150.0], (objects, 1)) * rng.uniform(0.6, 1.4, (objects, 2))
        labels = rng.integers(0, classes, objects)
        truth = target(
            np.hstack([corners, corners + sides]).tolist(),
            labels.tolist(),
            (rng.random(objects) < 0.15).tolist(),
        )
        truth["area"] = truth["area"] * 0.7  # as of an outline
        truths.append(truth)
        of = rng.integers(0, objects, 25) if objects else np.zeros(0, int)
        boxes = truth["boxes"][of] + torch.from_numpy(rng.normal(0, 5, (len(of), 4))).float()
        boxes[:, 2:] = boxes[:, 2:].maximum(boxes[:, :2] + 1)
        guessed = np.where(rng.random(len(of)) < 0.8, labels[of], rng.integers(0, classes, len(of)))
        # Scores that differ: among equal ones each library takes another first.
        scores = rng.permutation(len(of)) / 25 + rng.uniform(0, 0.04, len(of))
        detections.append((boxes.tolist(), scores.tolist(), guessed.tolist()))
    return truths, detections


def pycocotools_stats(
    truths: list[Target], detections: list[tuple[Any, Any, Any]], classes: int
) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def xywh(x1: float, y1: float, x2: float, y2: float) -> list[float]:
        return [x1, y1, x2 - x1, y2 - y1]

    annotations: list[dict[str, Any]] = [
        {
            "id": 0,
            "image_id": image,
            "category_id": int(truth["labels"][n]) + 1,
            "bbox": xywh(*truth["boxes"][n].tolist()),
            "area": float(truth["area"][n]),
            "iscrowd": int(truth["ignore"][n]),
        }
        for image, truth in enumerate(truths)
        for n in range(len(truth["boxes"]))
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number + 1
    results = [
        {"image_id": image, "category_id": label + 1, "bbox": xywh(*box), "score": score}
        for image, found in enumerate(detections)
        for box, score, label in zip(*found, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [{"id": image} for image in range(len(truths))],
            "annotations": annotations,
            "categories": [{"id": n + 1} for n in range(classes)],
        }
        coco.createIndex()
        peer = COCOeval(coco, coco.loadRes(results), "bbox")
        peer.evaluate()
        peer.accumulate()
        peer.summarize()
    return [float(value) for value in peer.stats[:6]]


def test_it_is_what_pycocotools_measures() -> None:
    """On the photos' own pixels there; here on a network's input of another size, in batches."""
    truths, detections = scenes(30, classes=4)
    expected = pycocotools_stats(truths, detections, classes=4)
    assert 0.1 < expected[0] < 0.9
    scale, offset = torch.tensor([0.5, 0.25]), torch.tensor([16.0, 64.0])
    meter = Detection(4).meter(CPU)
    for start in range(0, 30, 8):
        batch = [
            {**truth, "boxes": truth["boxes"] * scale.repeat(2) + offset.repeat(2), "scale": scale}
            for truth in truths[start : start + 8]
        ]
        found = [
            ((torch.tensor(boxes).reshape(-1, 4) * scale.repeat(2) + offset.repeat(2)).tolist(), *r)
            for boxes, *r in detections[start : start + 8]
        ]
        meter.update(Found(*found), batch)
    values = meter.compute()
    assert [values[m.name] for m in Detection.metrics] == pytest.approx(expected, abs=1e-6)


# In a trial -----------------------------------------------------------------------------------


class Boxes(tuple[Tensor, ...]):
    """One map (B, 5) as a detector's outputs: a box of the whole batch's size, and a logit."""

    __slots__ = ()

    def loss(self, targets: Sequence[Mapping[str, Tensor]]) -> Tensor:
        wanted = torch.stack([t["boxes"].mean(dim=0).nan_to_num() for t in targets])
        return (self[0][:, :4] - wanted / 64).square().mean()

    def detections(self) -> list[dict[str, Tensor]]:
        return [
            {
                "boxes": 64 * row[None, :4],
                "scores": row[4:].sigmoid(),
                "labels": torch.zeros(1, dtype=torch.int64, device=row.device),
            }
            for row in self[0]
        ]


class OneBox(nn.Module):
    """Finds the same box in every image, which it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Parameter(torch.zeros(5))
        self.scale = nn.Conv2d(3, 1, 1)

    def forward(self, images: Tensor) -> Boxes:
        return Boxes([self.box + 0 * self.scale(images).mean(dim=(1, 2, 3)).unsqueeze(1)])


def _one_box(num_classes: int, stem: Stem) -> nn.Module:
    return OneBox()


@pytest.fixture
def one_box() -> Iterator[str]:
    BACKBONES.names()  # fills the table, before anything else is put into it
    BACKBONES.register("one_box")(
        Backbone(_one_box, lambda model: {}, "block_last_bn", task="detection")
    )
    yield "one_box"
    del BACKBONES._parts["one_box"], BACKBONES._origins["one_box"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lists = {"train": [f"a{n}" for n in range(12)], "val": ["b", "c"], "test": ["d", "e", "f"]}
    write_voc(tmp_path / "voc", lists)
    return tmp_path / "voc"


def test_a_trial_learns_and_measures(one_box: str, folder: Path, tmp_path: Path) -> None:
    settings = {"root": str(folder), "image_size": 64}
    trial = Trial(
        task="detection",
        dataset="voc_folder",
        dataset_settings=settings,
        dataset_content=settings,
        num_classes=1,
        backbone=BackboneChoice(name=one_box, stem="imagenet"),
        placement="none",
        sites=(),
        attention="none",
        preset=None,
        hyperparameters={},
        nondefault=(),
        plugins=(),
        on_indivisible="refuse",
        recipe=Recipe(
            epochs=60, batch_size=4, accumulate=2, lr=0.2, schedule="constant", weight_decay=0,
            augmentation="none", precision="fp32",
        ),
        patience=None,
        metric="map",
        seed=0,
    )  # fmt: skip
    reports: list[EpochReport] = []
    result = train(trial, report=reports.append, checkpoint_dir=tmp_path / "out", device=CPU)
    first, last = reports[0].metrics, reports[-1].metrics
    assert last["train_loss"] < 0.01 * first["train_loss"]
    assert [name for name in last if name.startswith("train_")] == ["train_loss"]
    assert first["val_map"] < last["val_map"]
    assert result.metrics["test_map50"] == 1
    assert result.metrics["test_map"] > 0.8
    assert result.metrics["best_val_map"] == max(r.metrics["val_map"] for r in reports)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_batches_follow_from_the_seed_alone(folder: Path) -> None:
    dataset = VocFolder(VocFolder.Config(root=str(folder), image_size=64))

    def epoch(number: int, *, augmentation: str = "standard", **changes: Any) -> list[Tensor]:
        settings = {"batch_size": 5, "train": True, "seed": 1, "device": CPU, "workers": 0}
        loader = make_loader(
            dataset, "train", Detection(1), augmentation=augmentation, **{**settings, **changes}
        )
        batches = list(loader.epoch(number))
        assert [len(images) for images, _ in batches] == [5, 5, 2]
        assert [len(targets) for _, targets in batches] == [5, 5, 2]
        return [
            *(images for images, _ in batches),
            *(t["boxes"] for _, targets in batches for t in targets),
        ]

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(map(torch.equal, one, other))

    reference = epoch(1)
    torch.rand(9)  # whatever the training loop draws
    assert same(reference, epoch(1))
    assert same(reference, epoch(1, workers=1))
    assert not same(reference, epoch(2))
    assert not same(reference, epoch(1, seed=2))
    assert all(len(boxes) == 1 for boxes in epoch(1, augmentation="none")[3:])
