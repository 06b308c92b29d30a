"""What stands in for the images of the Compose file where there is no Docker.

The same programs in other packages: Debian's PostgreSQL 15 and nginx, the SeaweedFS of PyPI. For
our own image the environment that the tests run in, with the settings of its Dockerfile.
"""

from __future__ import annotations

import pwd
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster.compose import ROOT

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
POSTGRES = Path("/usr/lib/postgresql/15/bin")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OURS = "sweep"
"""Name of our image, and of the user in it."""


@dataclass(frozen=True)
class Image:
    """What a container gets from its image."""

    environment: Mapping[str, str]
    user: str = "root"
    entrypoint: tuple[str, ...] = ()
    folders: Mapping[str, str] = field(default_factory=dict)
    """Owners of the image's folders; a new named volume has that of the folder under it."""
    needs: tuple[Path, ...] = ()
    """Programs of the host that it stands on."""
    asks_dns: bool = False
    """Whether its program asks Docker's DNS itself."""


def image(tag: str) -> Image:
    """Return what stands in for an image.

    Raises:
        KeyError: nothing does.
    """
    name = tag.split(":")[0]
    return {
        "postgres": _postgres,
        "chrislusf/seaweedfs": _seaweedfs,
        "nginx": _nginx,
        OURS: _ours,
    }[name]()


def ids(user: str) -> tuple[int, int]:
    """Return the user and group id of a container's user, by name or as ``uid:gid``."""
    if user == OURS:
        return _our_uid(), _our_uid()
    if ":" in user:
        uid, gid = user.split(":")
        return int(uid), int(gid)
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _postgres() -> Image:
    data = "/var/lib/postgresql/data"
    return Image(
        environment={"PATH": f"{POSTGRES}:{SYSTEM_PATH}", "PGDATA": data},
        entrypoint=(str(Path(__file__).with_name("postgres-entrypoint.sh")),),
        folders={data: "postgres"},
        needs=(POSTGRES / "postgres",),
    )


def _seaweedfs() -> Image:
    programs = Path(sys.prefix) / "bin"
    return Image(
        environment={"PATH": f"{SYSTEM_PATH}:{programs}"},
        folders={"/data": "1000:1000"},
        needs=(programs / "weed",),
    )


def _nginx() -> Image:
    program = Path("/usr/sbin/nginx")
    return Image(environment={"PATH": SYSTEM_PATH}, needs=(program,), asks_dns=True)


def _ours() -> Image:
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")
    last_stage = dockerfile[dockerfile.rindex("\nFROM ") :]
    [variables] = re.findall(r"^ENV (.+)$", last_stage, re.MULTILINE)
    environment = dict(word.split("=", 1) for word in shlex.split(variables))
    [user] = re.findall(r"^USER (\S+)$", last_stage, re.MULTILINE)
    [folders] = re.findall(
        r"install --directory --owner=sweep --group=sweep (.+)$", last_stage, re.M
    )
    environment |= {
        "PATH": f"{sys.prefix}/bin:{SYSTEM_PATH}",
        "PYTHONPATH": str(ROOT),  # the package is installed in the image
        "HOME": f"/home/{user}",
    }
    return Image(environment, user, folders=dict.fromkeys(folders.split(), user))


def _our_uid() -> int:
    [uid] = re.findall(r"useradd --uid (\d+)", DOCKERFILE.read_text(encoding="utf-8"))
    return int(uid)
