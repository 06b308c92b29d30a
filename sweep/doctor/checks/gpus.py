"""GPUs and drivers: what ``nvidia-smi`` lists, and whether this torch can compute on it.

What torch says is asked in a process of its own, with a time limit: a driver can hang, and a
process that has touched a GPU holds some hundred MiB of it until it ends.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.doctor import kernel
from sweep.doctor.finding import Finding, ok, problem, warning
from sweep.doctor.site import Site, check

SMI_SECONDS = 15.0
KERNEL_SECONDS = 90.0
"""Most of it is the import of torch from a cold disk."""
FIELDS = "index,name,driver_version,memory.total,memory.used,uuid"
TAKEN = 0.1
"""Share of a GPU's memory in use, before anything of ours runs, that is worth saying."""
DRIVER_REMEDY = (
    "look at `nvidia-smi` and `dmesg`; after an update of the driver the machine must be restarted"
)


@dataclass(frozen=True)
class Gpu:
    """A GPU as the driver lists it; memory is in MiB."""

    index: int
    name: str
    driver: str
    total: float
    used: float
    users: tuple[str, ...] = ()
    """Processes that compute on it: "name (process id)"."""


@dataclass(frozen=True)
class Gpus:
    """What a machine says of its GPUs."""

    listed: tuple[Gpu, ...]
    trouble: str
    """Why the driver does not list them; empty if it does, or there is none."""
    torch: dict[str, Any] | None
    """Of ``sweep.doctor.kernel``; None where there is no GPU."""
    hidden: bool
    """Whether CUDA_VISIBLE_DEVICES hides all of them."""


def gpus(in_ray: bool) -> Gpus:
    """Return what this machine says.

    Args:
        in_ray: whether this is a process of Ray's, which hides the GPUs that it did not ask for.
    """
    listed, trouble = list_gpus()
    environment = dict(os.environ)
    if in_ray and environment.get("CUDA_VISIBLE_DEVICES", "x") in ("", "-1", "NoDevFiles"):
        del environment["CUDA_VISIBLE_DEVICES"]
    hidden = environment.get("CUDA_VISIBLE_DEVICES", "x").strip() in ("", "-1")
    devices = listed or any(Path("/dev").glob("nvidia[0-9]*"))
    return Gpus(listed, trouble, _torch(environment) if devices else None, hidden)


def list_gpus() -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that ``nvidia-smi`` lists, and what is wrong if it does not work."""
    try:
        rows = _smi(f"--query-gpu={FIELDS}")
        users = _smi("--query-compute-apps=gpu_uuid,pid,process_name")
    except FileNotFoundError:
        return (), ""
    except subprocess.TimeoutExpired:
        return (), f"nvidia-smi does not answer within {SMI_SECONDS:g} s"
    except (OSError, ValueError) as error:
        return (), f"nvidia-smi: {error}"
    return parse(rows, users), ""


def parse(rows: str, users: str) -> tuple[Gpu, ...]:
    """Return the GPUs of what ``nvidia-smi`` prints as CSV without heading and units."""
    by_gpu: dict[str, list[str]] = {}
    for uuid, pid, name in _cells(users, 3):
        by_gpu.setdefault(uuid, []).append(f"{Path(name).name} ({pid})")
    return tuple(
        Gpu(int(index), name, driver, _number(total), _number(used), tuple(by_gpu.get(uuid, ())))
        for index, name, driver, total, used, uuid in _cells(rows, 6)
    )


@check("GPUs", seconds=4.0)
def look(site: Site) -> Iterator[Finding]:
    """Look whether every GPU can be computed on, and has its memory free."""
    told = site.ask(gpus, site.cluster is not None)
    offered = {str(node): node.gpus for node in site.nodes}
    models: dict[str, list[str]] = {}
    for one in told:
        yield from judge(one.value, one.node, offered.get(one.node))
        for gpu in one.value.listed:
            models.setdefault(gpu.name, []).append(one.node)
    if len(models) > 1:
        counts = ", ".join(f"{len(where)} × {name}" for name, where in models.items())
        yield warning(
            f"GPUs are of different models: {counts}",
            "compare latency and training time only within one of them",
        )
    if not models and not any(one.value.torch or one.value.trouble for one in told):
        yield ok("there is none: trials train on CPU cores")


def judge(found: Gpus, node: str, offered: float | None) -> Iterator[Finding]:
    """Yield what is to be said of one machine's GPUs.

    Args:
        found: what it says.
        node: its name, for the findings.
        offered: GPUs that Ray offers there; None without a cluster.
    """
    if found.trouble:
        yield problem(found.trouble, DRIVER_REMEDY, node)
    if found.torch is None:
        return
    if found.hidden:
        listed = f"{len(found.listed)} GPU{'s' * (len(found.listed) != 1)}"
        yield warning(
            f"CUDA_VISIBLE_DEVICES hides all of {listed}",
            "unset CUDA_VISIBLE_DEVICES, unless trials are to train on the CPU",
            node,
        )
        return
    broken = list(_torch_findings(found.torch, found.listed, node))
    yield from broken
    if offered is not None and offered < len(found.listed):
        yield warning(
            f"Ray offers {offered:g} of its {len(found.listed)} GPUs",
            f"start the node by `ray start --num-gpus {len(found.listed)}`",
            node,
        )
    for gpu in found.listed:
        if gpu.used > TAKEN * gpu.total:
            users = f", used by {', '.join(gpu.users)}" if gpu.users else ""
            free = f"{(gpu.total - gpu.used) / 1024:.1f} of {gpu.total / 1024:.1f} GiB are free"
            yield warning(
                f"GPU {gpu.index}: {free}{users}",
                "wait for what uses it, or choose other GPUs by CUDA_VISIBLE_DEVICES",
                node,
            )
    if not broken:
        yield ok(_described(found), node)


def _torch_findings(said: dict[str, Any], listed: Sequence[Gpu], node: str) -> Iterator[Finding]:
    if "failed" in said:
        yield problem(f"torch cannot be asked: {said['failed']}", DRIVER_REMEDY, node)
    elif said["cuda"] is None:
        yield problem(
            f"torch {said['torch']} is a build for CPUs: it cannot use the GPU",
            "install requirements.lock, or the build of torch for this driver's CUDA "
            "(pytorch.org/get-started)",
            node,
        )
    elif said["trouble"]:
        driver = f" (driver {listed[0].driver})" if listed else ""
        yield problem(
            f"torch {said['torch']} for CUDA {said['cuda']} cannot use the GPU{driver}: "
            f"{said['trouble']}",
            "update the driver, or install a torch built for an older CUDA: "
            "`nvidia-smi` says up to which one the driver knows",
            node,
        )
    else:
        for device in said["devices"]:
            yield from _device_findings(device, said, node)


def _device_findings(device: dict[str, Any], said: dict[str, Any], node: str) -> Iterator[Finding]:
    if not has_kernels(tuple(device["capability"]), said["architectures"]):
        capability = ".".join(map(str, device["capability"]))
        yield problem(
            f"torch {said['torch']} has no kernels for {device['name']} (compute capability "
            f"{capability}); it has {', '.join(said['architectures'])}",
            "install a torch that is built for this GPU",
            node,
        )
    elif device["trouble"]:
        yield problem(
            f"{device['name']} does not compute: {device['trouble']}", DRIVER_REMEDY, node
        )


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Tell whether a torch that was built for these architectures runs on a GPU.

    Machine code ("sm_86") runs on its own major version from its minor version on, and where it is
    for one architecture alone ("sm_90a") nowhere else; "compute_80" is compiled on the spot for
    everything newer.
    """
    for name in architectures:
        match = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name)
        if match is None:
            continue
        kind, major, minor, only = match[1], int(match[2]), int(match[3]), match[4]
        built = (major, minor)
        if only == "a":
            fits = built == capability
        elif kind == "sm" or only == "f":
            fits = major == capability[0] and minor <= capability[1]
        else:
            fits = built <= capability
        if fits:
            return True
    return False


def _described(found: Gpus) -> str:
    assert found.torch is not None
    names = [gpu.name for gpu in found.listed] or [one["name"] for one in found.torch["devices"]]
    counts = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    driver = f", driver {found.listed[0].driver}" if found.listed else ""
    seen = len(found.torch["devices"])
    part = f"; {seen} visible here" if seen != len(names) else ""
    return f"{counts}{driver}, CUDA {found.torch['cuda']}: computes{part}"


def _torch(environment: dict[str, str]) -> dict[str, Any]:
    """Return what torch says, in a process of its own; "failed" if it says nothing."""
    command = [sys.executable, "-P", str(Path(kernel.__file__))]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=KERNEL_SECONDS, env=environment
        )
        said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"failed": f"no answer within {KERNEL_SECONDS:g} s"}
    except (OSError, ValueError, IndexError):
        last = ended.stderr.strip().splitlines()[-1:] or [f"it ended with {ended.returncode}"]
        return {"failed": last[0]}
    return said


def _smi(query: str) -> str:
    """Return what ``nvidia-smi`` prints.

    Raises:
        ValueError: it reports an error.
    """
    ended = subprocess.run(
        ["nvidia-smi", query, "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        timeout=SMI_SECONDS,
    )
    if ended.returncode:
        said = (ended.stdout + ended.stderr).strip().splitlines() or ["it fails"]
        raise ValueError(said[0])
    return ended.stdout


def _cells(text: str, count: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(", ")]
        if len(cells) == count:
            yield cells


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return 0.0  # "[N/A]" of GPUs that share the machine's memory
