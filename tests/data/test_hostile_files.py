"""Files that attack who reads them: refused by one error that names the file, in a moment."""

from __future__ import annotations

import os
import pickle
import signal
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from sweep.data.base import DatasetError
from sweep.data.cifar import _unpickle
from sweep.data.detection import image_size
from sweep.data.imagenet import _read_meta
from sweep.data.labelled import FileSource
from sweep.data.visdrone import _boxes
from sweep.data.voc_detection import _objects
from sweep.data.voc_segmentation import read_mask
from sweep.errors import UserError
from sweep.registry import DATASETS
from sweep.spec.fingerprint import (
    UnreadableError,
    annotations_digest,
    folder_digest,
)

OBJECT = (
    "<object><name>{}</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    "</bndbox></object>"
)


def annotation(path: Path, definitions: str, name: str) -> Path:
    text = f"<!DOCTYPE a [{definitions}]><annotation>{OBJECT.format(name)}</annotation>"
    path.write_text(text, encoding="utf-8")
    return path


def test_entities_of_entities_are_refused(tmp_path: Path) -> None:
    """As the billion laughs are: expat limits what a file may become, since 2.4.1."""
    laughs = '<!ENTITY l0 "ha ha ha ha ha ha ha ha ha ha">' + "".join(
        f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10)
    )
    path = annotation(tmp_path / "a.xml", laughs, "&l9;")
    begun = time.process_time()
    with pytest.raises(DatasetError, match=rf"^cannot read {path}: .*amplification"):
        _objects(path)
    assert time.process_time() - begun < 4


@pytest.mark.parametrize("place", ["file:///etc/passwd", "http://evil.example/x"])
def test_an_entity_of_elsewhere_is_not_fetched(tmp_path: Path, place: str) -> None:
    path = annotation(tmp_path / "a.xml", f'<!ENTITY x SYSTEM "{place}">', "&x;")
    with pytest.raises(DatasetError, match=rf"^cannot read {path}: undefined entity"):
        _objects(path)


def huge_png(path: Path, side: int) -> Path:
    """Write a file of some bytes that says it has ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))))
    return path


READ: dict[str, Callable[[Path], object]] = {
    "photo": lambda path: FileSource(path.parent, np.array([b"a.png"]))[0],
    "mask": lambda path: read_mask(path, 21),
    "size": image_size,
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("side", [10_000, 20_000, 2**31 - 1])
def test_an_image_of_too_many_pixels_is_not_decoded(tmp_path: Path, read: str, side: int) -> None:
    """Pillow only warns of the smallest, and refuses the others."""
    path = huge_png(tmp_path / "a.png", side)
    with pytest.raises(DatasetError, match=rf"^cannot read the (image|mask) {path}: .*pixels"):
        READ[read](path)


class Payload:
    """What runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_calls_is_not_obeyed(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    batch, meta = tmp_path / "data_batch_1", tmp_path / "meta.bin"
    batch.write_bytes(pickle.dumps({b"data": Payload(marker)}))
    torch.save(({"n01": Payload(marker)}, []), meta)
    with pytest.raises(
        DatasetError, match=f"^cannot read {batch}: .*system is not part of a CIFAR"
    ):
        _unpickle(batch)
    with pytest.raises(DatasetError, match=f"^cannot read {meta}: it is not torchvision's list"):
        _read_meta(meta)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"\x80", b"(lp0\n.", b"cnumpy\nndarray\n(tR.", b"h\x05."])
def test_any_damage_of_a_pickle_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=f"^cannot read {path}: "):
        _unpickle(path)


@pytest.mark.parametrize("name", ["../a.png", "deeper/../../a.png", "/etc/passwd"])
def test_an_annotation_names_no_image_of_elsewhere(tmp_path: Path, name: str) -> None:
    """As ``file_name`` of COCO's annotations, or a line of a list, may try."""
    folder = tmp_path / "set"
    (folder / "deeper").mkdir(parents=True)
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match=f"^cannot read the image '{name}': it is not in"):
        FileSource(folder, np.array([name.encode()]))[0]


# What is no file, or cannot be looked at -------------------------------------------------------

HANGS = "cannot read {}: it is no regular file"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return a data set of a user's own: two classes of ten images."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            PIL.Image.new("RGB", (4, 4)).save(tmp_path / f"photos/{name}/{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def _in_time() -> Iterator[None]:
    """Fail a test that waits for what nobody writes, as opening a pipe does."""

    def late(*_: object) -> None:
        raise AssertionError("it waits for a pipe")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("_in_time")
@pytest.mark.parametrize("kind", ["pipe", "device", "nowhere"])
def test_what_has_the_name_of_an_image_and_is_no_file_is_refused(photos: Path, kind: str) -> None:
    """A link that leads nowhere too: without it, the set would be a smaller one."""
    odd = photos / "a" / "x.jpg"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to({"device": "/dev/zero", "nowhere": "/nowhere"}[kind])
    dataset = DATASETS["imagefolder"].of({"root": str(photos)})
    for read in (lambda: folder_digest(photos), lambda: dataset.split("train")):
        with pytest.raises(UserError) as raised:
            read()
        assert str(raised.value) == HANGS.format(odd)


PIPES: dict[str, Callable[[Path], object]] = {
    "a.png": lambda path: FileSource(path.parent, np.array([b"a.png"]))[0],
    "mask.png": lambda path: read_mask(path, 21),
    "Annotations/a.xml": _objects,
    "a.txt": _boxes,
    "digest/Annotations/a.xml": lambda path: annotations_digest(path.parents[1]),
    "digest/ImageSets/Main/train.txt": lambda path: annotations_digest(path.parents[2]),
}
"""By what a list names, or a folder holds: how it is read."""


@pytest.mark.usefixtures("_in_time")
@pytest.mark.parametrize("name", PIPES)
@pytest.mark.parametrize("device", [False, True])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str, device: bool) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if device:
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    with pytest.raises(UserError, match=rf"^cannot read .*{path}: it is no regular file$"):
        PIPES[name](path)


def test_a_link_to_its_own_folder_is_refused(photos: Path) -> None:
    (photos / "a" / "x").symlink_to(".")
    dataset = DATASETS["imagefolder"].of({"root": str(photos)})
    for read in (lambda: folder_digest(photos), lambda: dataset.split("train"), dataset.content):
        with pytest.raises(UnreadableError, match=rf"^cannot read {photos}/a/x/.*: Too many level"):
            read()


@pytest.mark.parametrize("confined", [False, True])
@pytest.mark.parametrize("name", ["imagefolder", "voc_folder", "cifar10", "imagenet", "coco"])
@pytest.mark.parametrize("root", ["long", "circle"])
def test_a_root_that_the_system_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, confined: bool, root: str
) -> None:
    """A long one of allowed names, and a link to itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    monkeypatch.setenv("SWEEP_CONFINED", str(int(confined)))
    (tmp_path / "circle").symlink_to("circle")
    chosen = {"long": "/".join(["a" * 100] * 40), "circle": "circle"}[root]
    with pytest.raises(UserError, match=f"{chosen[:100]}"):
        DATASETS[name].of({"root": chosen}).find()
