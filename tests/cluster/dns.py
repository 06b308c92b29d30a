"""Stands in for Docker's DNS in one container's network: it knows the names of the file given.

The file is one like /etc/hosts, and is read for every question: addresses may change.
"""

from __future__ import annotations

import socket
import struct
import sys
from pathlib import Path

ADDRESS = "127.0.0.11"
A = 1
"""Type of a question for an IPv4 address."""
FOUND, UNKNOWN = 0x8180, 0x8183


def answer(question: bytes, hosts: Path) -> bytes:
    """Return the reply to one question."""
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1 : place + 1 + length].decode())
        place += 1 + length
    asked = question[12 : place + 5]
    lines = [line.split() for line in hosts.read_text().splitlines()]
    known = [address for address, *names in lines if ".".join(labels) in names]
    found = known if struct.unpack("!H", asked[-4:-2]) == (A,) else []
    header = struct.pack("!5H", FOUND if known else UNKNOWN, 1, len(found), 0, 0)
    record = struct.pack("!HHHIH", 0xC00C, A, 1, 0, 4)  # of the name that was asked for
    records = [record + socket.inet_aton(address) for address in found]
    return question[:2] + header + asked + b"".join(records)


if __name__ == "__main__":
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((ADDRESS, 53))
        while True:
            question, sender = server.recvfrom(512)
            server.sendto(answer(question, Path(sys.argv[1])), sender)
