"""The versions that matter, and whether every node has the same ones and the same code."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement

from sweep.doctor.finding import Finding, ok, problem
from sweep.doctor.site import Site, check
from sweep.orchestration.packed import code_digest

COMPARED = ("torch", "torchvision", "ray", "mlflow")
DIGITS = 12
"""Of the digest of the code that are shown."""


@dataclass(frozen=True)
class Versions:
    """What a machine runs."""

    installed: tuple[tuple[str, str], ...]
    """Names and versions of what decides results, Python first."""
    code: str
    """Digest of this package's files."""
    unmet: tuple[str, ...]
    """Requirements of this package that what is installed does not meet, in words."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {version}" for name, version in self.installed)


def versions() -> Versions:
    """Return what this machine runs."""
    named = [(name, _installed(name) or "missing") for name in COMPARED]
    return Versions(
        (("Python", platform.python_version()), *named), code_digest(), tuple(unmet_requirements())
    )


def unmet_requirements() -> Iterator[str]:
    """Yield in words which of this package's requirements are not met by what is installed."""
    try:
        required = metadata.requires("sweep") or []
    except metadata.PackageNotFoundError:
        return  # the code was packed and sent: its node has what the image has
    for requirement in map(Requirement, required):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _installed(requirement.name)
        if version is None:
            yield f"{requirement.name} is not installed"
        elif not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} is {version}, and needs to be {requirement.specifier}"


@check("versions", seconds=0.1)
def look(site: Site) -> Iterator[Finding]:
    """Compare what every node runs with what this process runs."""
    here = versions()
    told = site.ask(versions)
    for one in told:
        found = one.value
        for text in found.unmet:
            yield problem(text, "install requirements.lock with pip's --require-hashes", one.node)
        pairs = zip(found.installed, here.installed, strict=True)
        others = [
            f"{name} {version}, here {ours}"
            for (name, version), (_, ours) in pairs
            if version != ours
        ]
        if others:
            yield problem(
                f"it has {'; '.join(others)}", "start every node from the same image", one.node
            )
        if found.code != here.code:
            yield problem(
                "its code of sweep is not the code that runs here",
                "start every node from the same image, or use `sweep submit`, which sends the code",
                one.node,
            )
    yield ok(f"{here}; code {here.code[:DIGITS]}")


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
