"""What a folder lies on, as Linux tells it in /proc/mounts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TABLE = Path("/proc/mounts")

LOSSY = frozenset({"9p", "virtiofs", "cifs", "smb3", "smbfs", "vboxsf", "drvfs", "davfs"})
"""File systems on which locks between machines, or renames over a file, are not to be relied on;
so are all that a program serves (``fuse.*``) but those below."""
SOUND_FUSE = frozenset({"fuse.ceph", "fuse.ceph-fuse", "fuse.beegfs", "fuse.juicefs"})
LOCAL_LOCKS = ("nolock", "local_lock=all", "local_lock=flock", "localflock")
"""Options of NFS and Lustre that keep locks on the machine that takes them."""


@dataclass(frozen=True)
class Mount:
    """A file system at its place."""

    place: Path
    kind: str
    """As the kernel calls it: "ext4", "nfs4", "fuse.sshfs"."""
    options: tuple[str, ...] = ()

    @property
    def is_lossy(self) -> bool:
        """Whether locks and renames on it are not to be relied on."""
        fuse = self.kind.startswith("fuse.") or self.kind == "fuse"
        return self.kind in LOSSY or (fuse and self.kind not in SOUND_FUSE)

    @property
    def is_gone_soon(self) -> bool:
        """Whether it lives no longer than the machine or the container is on."""
        return self.kind in ("tmpfs", "ramfs", "overlay")

    @property
    def locks_locally(self) -> str:
        """The option that keeps locks on each machine; empty if there is none."""
        return next((option for option in LOCAL_LOCKS if option in self.options), "")


def mount_of(folder: Path, table: Path = TABLE) -> Mount | None:
    """Return what a folder lies on; None where that cannot be told.

    Args:
        folder: that need not exist yet.
        table: of mounts, in the form of /proc/mounts.
    """
    try:
        lines = table.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    real = folder.resolve()
    found: Mount | None = None
    for line in lines:
        _, place, kind, options, *_ = line.split(" ")
        mount = Mount(Path(_unescaped(place)), kind, tuple(options.split(",")))
        over = real == mount.place or mount.place in real.parents
        # Of two at one place the later one covers the other.
        if over and (found is None or len(mount.place.parts) >= len(found.place.parts)):
            found = mount
    return found


def _unescaped(place: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), place)
