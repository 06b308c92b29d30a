"""Small data sets, written in exactly the formats in which the real ones are published."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray


def python2_pickle(value: Any) -> bytes:
    """Protocol 2 as the cPickle of 2009 wrote it: byte strings, old module names, integer flags."""

    def emit(value: Any) -> bytes:
        match value:
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                return b"J" + struct.pack("<i", value)
            case str():
                return emit(value.encode())
            case bytes():
                return b"T" + struct.pack("<i", len(value)) + value
            case tuple():
                return b"(" + b"".join(map(emit, value)) + b"t"
            case list():
                return b"](" + b"".join(map(emit, value)) + b"e"
            case dict():
                return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
            case np.ndarray():
                made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
                made += emit((0,)) + emit("b") + b"tR"
                dtype = b"cnumpy\ndtype\n" + emit(("u1", 0, 1)) + b"R"
                dtype += emit((3, "|", None, None, None, -1, -1, 0)) + b"b"
                state = emit(1) + emit(value.shape) + dtype + emit(False) + emit(value.tobytes())
                return made + b"(" + state + b"tb"
        raise TypeError(type(value))

    return b"\x80\x02" + emit(value) + b"."


def images(count: int, *shape: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def write_cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    for seed, name in enumerate(names):
        batch = {
            "batch_label": "training batch 1 of 5",
            "labels": [index % 10 for index in range(20)],
            "data": images(20, 3072, seed=seed),
            "filenames": [f"photo_{index}.png" for index in range(20)],
        }
        (folder / name).write_bytes(python2_pickle(batch))
    meta = {"num_cases_per_batch": 20, "label_names": ["airplane"] * 10, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(python2_pickle(meta))


def write_cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for seed, (name, count) in enumerate([("train", 400), ("test", 200)]):
        batch = {
            "filenames": [f"photo_{index}.png" for index in range(count)],
            "batch_label": f"{name}ing batch 1 of 1",
            "fine_labels": [index % 100 for index in range(count)],
            "coarse_labels": [index % 20 for index in range(count)],
            "data": images(count, 3072, seed=seed),
        }
        (folder / name).write_bytes(python2_pickle(batch))
    meta = {"fine_label_names": ["apple"] * 100, "coarse_label_names": ["fruit"] * 20}
    (folder / "meta").write_bytes(python2_pickle(meta))


def write_fashion_mnist(folder: Path, *, zipped: bool) -> None:
    folder.mkdir(parents=True)
    for seed, (prefix, count) in enumerate([("train", 100), ("t10k", 40)]):
        pixels = images(count, 28, 28, seed=seed)
        labels = np.arange(count, dtype=np.uint8) % 10
        for name, array in [("images-idx3", pixels), ("labels-idx1", labels)]:
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            data = header + array.tobytes()
            path = folder / f"{prefix}-{name}-ubyte"
            if zipped:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(data))
            else:
                path.write_bytes(data)


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def write_class_folders(folder: Path, counts: dict[str, int], *, seed: int = 0) -> None:
    """JPEGs of 40x48 pixels; the second of each class is grey."""
    for number, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for index, pixels in enumerate(images(count, 40, 48, 3, seed=seed + number)):
            data = jpeg(pixels[:, :, 0] if index == 1 else pixels)
            (folder / name / f"{index:04d}.jpg").write_bytes(data)


def write_imagenet(root: Path) -> list[str]:
    """1,000 classes, 2 training images and 1 validation image of each; all the same photo."""
    wnids = [f"n{number:08d}" for number in range(1000)]
    photo = jpeg(images(1, 40, 48, 3)[0])
    for wnid in wnids:
        for split, names in [
            ("train", [f"{wnid}_10026.JPEG", f"{wnid}_10027.JPEG"]),
            ("val", [f"ILSVRC2012_val_{wnid}.JPEG"]),
        ]:
            folder = root / split / wnid
            folder.mkdir(parents=True)
            for name in names:
                (folder / name).write_bytes(photo)
    torch.save(({wnid: (f"name of {wnid}",) for wnid in wnids}, wnids), root / "meta.bin")
    return wnids


def voc_palette() -> list[int]:
    """The colour map of VOC's development kit: the bits of a class number, spread over R, G, B."""
    colours = []
    for number in range(256):
        for channel in range(3):
            bits = [number >> (3 * place + channel) & 1 for place in range(8)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours


def voc_mask(pixels: NDArray[np.uint8], path: Path) -> None:
    """A PNG with a palette, as VOC has them."""
    mask = PIL.Image.fromarray(pixels)  # mode L
    mask.putpalette(voc_palette())  # mode P, the same numbers
    mask.save(path)


def write_voc2012(root: Path, lists: Mapping[str, list[str]], height: int = 30) -> None:
    """VOC 2012 with the masks of SBD: photos of ``height`` x 40 pixels, with rectangles.

    Image number i, counted over all lists, has class 1 + i % 20 in its upper left quarter, with a
    line of ignored pixels below it; the masks of SBD are grey files without that line.
    """
    folder = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "SegmentationClassAug"):
        (folder / name).mkdir(parents=True)
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, members in lists.items():
        text = "".join(f"{member}\n" for member in members)
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text(text)
    every = dict.fromkeys(name for members in lists.values() for name in members)
    for number, name in enumerate(every):
        mask = np.zeros((height, 40), np.uint8)
        mask[: height // 2, :20] = 1 + number % 20
        photo = np.stack([mask * 12, 255 - mask * 12, np.full_like(mask, 128)], axis=2)
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg(photo))
        PIL.Image.fromarray(mask).save(folder / "SegmentationClassAug" / f"{name}.png")
        mask[height // 2, :20] = 255
        voc_mask(mask, folder / "SegmentationClass" / f"{name}.png")
