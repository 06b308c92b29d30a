"""Small detection sets, written in exactly the formats in which the real ones are published."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .formats import images, jpeg

VocThing = tuple[str, tuple[float, float, float, float], bool]
"""Name, xmin ymin xmax ymax as the file has them, difficult."""

COCO_IDS = [n for n in range(1, 91) if n not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
"""The ids of the 80 categories."""


def write_photo(path: Path, width: int, height: int, *, grey: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels,) = images(1, height, width) if grey else images(1, height, width, 3)
    path.write_bytes(jpeg(pixels))


def voc_xml(name: str, width: int, height: int, things: Iterable[VocThing]) -> str:
    """As in VOC 2012; a person has parts, each with a name and a box of its own."""
    objects = "".join(
        f"\t<object>\n\t\t<name>{thing}</name>\n\t\t<pose>Unspecified</pose>\n"
        f"\t\t<truncated>0</truncated>\n\t\t<difficult>{int(difficult)}</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{x1}</xmin>\n\t\t\t<ymin>{y1}</ymin>\n"
        f"\t\t\t<xmax>{x2}</xmax>\n\t\t\t<ymax>{y2}</ymax>\n\t\t</bndbox>\n"
        "\t\t<part>\n\t\t\t<name>head</name>\n\t\t\t<bndbox><xmin>1</xmin><ymin>1</ymin>"
        "<xmax>2</xmax><ymax>2</ymax></bndbox>\n\t\t</part>\n\t</object>\n"
        for thing, (x1, y1, x2, y2), difficult in things
    )
    return (
        f"<annotation>\n\t<folder>VOC2012</folder>\n\t<filename>{name}.jpg</filename>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n"
        f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def write_voc(
    folder: Path,
    lists: Mapping[str, Sequence[str]],
    things: Mapping[str, Sequence[VocThing]] | None = None,
) -> None:
    """Photos of 60 x 40 pixels; those that are not in ``things`` have one car in the middle."""
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations").mkdir(exist_ok=True)
    for image_set, names in lists.items():
        text = "".join(f"{name}\n" for name in names)
        (folder / "ImageSets" / "Main" / f"{image_set}.txt").write_text(text)
        for name in names:
            write_photo(folder / "JPEGImages" / f"{name}.jpg", 60, 40)
            own = (things or {}).get(name, [("car", (21, 11, 40, 30), False)])
            (folder / "Annotations" / f"{name}.xml").write_text(voc_xml(name, 60, 40, own))


def write_voc2007(root: Path) -> None:
    """6 trainval and 3 test images of 2007, 4 trainval images of 2012."""
    old = {"trainval": [f"{n:06d}" for n in range(6)], "test": [f"{n:06d}" for n in range(6, 9)]}
    write_voc(root / "VOCdevkit" / "VOC2007", old)
    write_voc(root / "VOCdevkit" / "VOC2012", {"trainval": [f"2008_{n:06d}" for n in range(4)]})


def coco_json(
    photos: Sequence[tuple[int, int, int]], annotations: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Photos are (id, width, height); annotations lack what all have alike."""
    return {
        "info": {"description": "COCO 2017 Dataset", "year": 2017},
        "licenses": [{"url": "", "id": 1, "name": "Attribution License"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{number:012d}.jpg",
                "coco_url": "",
                "height": height,
                "width": width,
                "id": number,
            }
            for number, width, height in photos
        ],
        "annotations": [
            {"segmentation": [[1.5, 2.5, 3.5, 2.5, 3.5, 4.5]], "iscrowd": 0, "id": 900 + n, **one}
            for n, one in enumerate(annotations)
        ],
        "categories": [
            {"supercategory": "thing", "id": number, "name": f"name {number}"}
            for number in reversed(COCO_IDS)
        ],
    }


def write_coco(root: Path, split: str, content: dict[str, Any]) -> None:
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    for photo in content["images"]:
        write_photo(root / split / photo["file_name"], photo["width"], photo["height"])


def write_small_coco(root: Path) -> None:
    """8 training images with one object each, 2 without, and 2 test images."""
    for split, first, count in [("train2017", 0, 10), ("val2017", 100, 2)]:
        photos = [(number, 50, 30) for number in range(first, first + count)]
        objects = [
            {"image_id": n, "category_id": COCO_IDS[n % 80], "bbox": [5.5, 4, 20, 10], "area": 90.5}
            for n, _, _ in photos[: 8 if split == "train2017" else 1]
        ]
        write_coco(root, split, coco_json(photos, objects))


def write_visdrone(root: Path, split: str, lines: Mapping[str, Sequence[str]]) -> None:
    """Photos of 96 x 54 pixels."""
    folder = root / f"VisDrone2019-DET-{split}"
    (folder / "annotations").mkdir(parents=True)
    for name, boxes in lines.items():
        write_photo(folder / "images" / f"{name}.jpg", 96, 54)
        (folder / "annotations" / f"{name}.txt").write_text("".join(f"{b}\n" for b in boxes))


def write_small_visdrone(root: Path) -> None:
    line = "10,12,8,6,1,4,0,0"
    write_visdrone(root, "train", {f"00000{n}_a_d": [line] for n in range(5)})
    write_visdrone(root, "val", {f"00010{n}_a_d": [line] for n in range(2)})
