"""Records and logs: whole or not there, whatever a crash or the disk did to them."""

from __future__ import annotations

import errno
import json
import os
import zlib
from pathlib import Path

import pytest

from sweep.durable import append_line, read_lines, read_record, write_record, write_text
from sweep.errors import UserError


def test_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    record = {"loss": 0.1, "inf": float("inf"), "names": ["ä", "b"], "none": None}
    write_record(tmp_path / "a" / "record.json", record)
    assert read_record(tmp_path / "a" / "record.json") == record
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["record.json"]


def test_checksum_is_crc_32_of_the_sorted_json(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", {"b": 1, "a": 2})
    written = json.loads((tmp_path / "r.json").read_text())
    checksum = zlib.crc32(b'{"a": 2, "b": 1}')
    assert written == {"version": 1, "crc32": f"{checksum:08x}", "b": 1, "a": 2}


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: text.replace("3", "4"),
        lambda text: text.replace('"version": 1', '"version": 0'),
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
    ],
)
def test_damaged_record_counts_as_not_written(tmp_path: Path, damage) -> None:
    path = tmp_path / "r.json"
    write_record(path, {"epoch": 3})
    path.write_text(damage(path.read_text()))
    assert read_record(path) is None


def test_what_a_newer_version_wrote_is_no_damage(tmp_path: Path) -> None:
    write_record(tmp_path / "r.json", {"epoch": 3})
    append_line(tmp_path / "log.jsonl", {"epoch": 3})
    for name, read in (("r.json", read_record), ("log.jsonl", read_lines)):
        path = tmp_path / name
        path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
        with pytest.raises(UserError, match=f"{name} was written by a newer version"):
            read(path)


def test_every_cut_of_a_log_leaves_its_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    lines = [{"epoch": n, "loss": 1 / n} for n in (1, 2, 3)]
    for line in lines:
        append_line(path, line)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        left = sum(end <= length for end in ends)
        assert read_lines(path) == lines[:left]
        append_line(path, {"epoch": 9})
        assert read_lines(path) == [*lines[:left], {"epoch": 9}]


def test_line_that_was_changed_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for epoch in (1, 2, 3):
        append_line(path, {"epoch": epoch})
    path.write_text(path.read_text().replace('"epoch": 2', '"epoch": 7'))
    assert read_lines(path) == [{"epoch": 1}, {"epoch": 3}]


def test_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt", "before")
    append_line(tmp_path / "log.jsonl", {"epoch": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            write_text(tmp_path / "a.txt", "after")
        with pytest.raises(OSError, match="No space left"):
            append_line(tmp_path / "log.jsonl", {"epoch": 2})
    assert (tmp_path / "a.txt").read_text() == "before"
    assert read_lines(tmp_path / "log.jsonl") == [{"epoch": 1}]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "log.jsonl"]
