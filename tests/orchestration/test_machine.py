"""What tells processes and machines apart, and what listens at an address."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from sweep.orchestration.connect import answers
from sweep.orchestration.machine import Process, this_process


def test_a_process_lives_until_it_ends() -> None:
    look = "from sweep.orchestration.machine import this_process as t; p = t()\n"
    look += "print(p.machine, p.pid, p.started, sep=chr(10), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", look], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    machine, pid, started = (child.stdout.readline().strip() for _ in range(3))
    told = Process(machine, int(pid), started)
    assert told.pid == child.pid
    assert told.may_live
    child.communicate("\n")
    assert not told.may_live


def test_a_process_of_the_same_number_is_another_one() -> None:
    assert not replace(this_process(), started="1").may_live


def test_a_process_of_another_machine_of_the_same_name_is_not_looked_for_here() -> None:
    here = this_process()
    name, _, ours = here.machine.partition(" ")
    assert name == os.uname().nodename
    assert ours
    for other in (f"{name} 0000 {ours.split()[1]}", f"{name} {ours.split()[0]} pid:[1]"):
        assert replace(here, machine=other, started="1").may_live


def test_only_what_tells_of_the_other_side_says_that_nothing_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not answers("127.0.0.1", 1)

    def refuse(number: int) -> None:
        def create(*args: object, **kwargs: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(socket, "create_connection", create)

    for number in (errno.EHOSTUNREACH, errno.ETIMEDOUT, errno.ECONNREFUSED):
        refuse(number)
        assert not answers("10.0.0.1", 1)
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS):
        refuse(number)
        assert answers("10.0.0.1", 1)
