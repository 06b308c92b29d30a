"""What a device is called, and which epochs of a trial which devices trained."""

from __future__ import annotations

import json

import pytest

from sweep.devices import (
    UNKNOWN,
    Stretch,
    device_type,
    devices_of,
    from_json,
    stretches,
    to_json,
    told,
)

MOVED = (Stretch("A100", 1, 5), Stretch("V100", 6, 6), Stretch("A100", 7, 10))


@pytest.mark.parametrize(
    ("device", "kind"),
    [
        ("AMD EPYC 7B13, 2 threads", "AMD EPYC 7B13"),
        ("AMD EPYC 7B13, 1 thread", "AMD EPYC 7B13"),
        ("CPU x86_64, 16 threads", "CPU x86_64"),
        ("NVIDIA GeForce RTX 3060, 12 GiB", "NVIDIA GeForce RTX 3060, 12 GiB"),
        ("", ""),
    ],
)
def test_only_threads_are_not_of_the_type(device: str, kind: str) -> None:
    assert device_type(device) == kind


def test_gpus_of_one_name_differ_by_their_memory() -> None:
    assert device_type("RTX 3060, 12 GiB") != device_type("RTX 3060, 8 GiB")


def test_epochs_in_a_row_on_one_type_are_one_stretch() -> None:
    devices = ["A100"] * 5 + ["V100"] + ["A100"] * 4
    assert stretches(enumerate(devices, start=1)) == MOVED
    assert stretches([(1, "EPYC, 1 thread"), (2, "EPYC, 2 threads")]) == (Stretch("EPYC", 1, 2),)
    assert stretches([]) == ()


def test_stretches_are_told() -> None:
    assert told(MOVED) == "A100: epochs 1 to 5; V100: epoch 6; A100: epochs 7 to 10"
    assert told((Stretch("", 1, 2),)) == "an unknown device: epochs 1 to 2"
    assert devices_of(MOVED) == ("A100", "V100")


def test_stretches_come_back_from_json() -> None:
    text = to_json(MOVED, 5000)
    assert json.loads(text) == [["A100", 1, 5], ["V100", 6, 6], ["A100", 7, 10]]
    assert from_json(text) == MOVED


def test_stretches_that_do_not_fit_leave_a_trial_mixed() -> None:
    assert from_json(to_json(MOVED, 40)) == (Stretch("A100", 1, 5), Stretch("", 6, 10))
    many = [Stretch(f"GPU {n % 2}", n, n) for n in range(1, 1001)]
    text = to_json(many, 5000)
    kept = from_json(text)
    assert 4900 < len(text) <= 5000
    assert kept[:-1] == tuple(many[: len(kept) - 1])
    assert kept[-1] == Stretch("", len(kept), 1000)
    assert devices_of(from_json(to_json(MOVED, 20))) == (UNKNOWN,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        ("3", "not iterable"),
        ('["A"]', "not enough values"),
        ('[["A100", "x", 2]]', "invalid literal"),
        ("[[1, 2]]", "not enough values"),
    ],
)
def test_what_is_no_list_of_stretches_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_json(text)
