"""Tables of named parts: attention modules, backbones, data sets, tasks.

A table fills itself on the first look-up: it imports every module of its package, and then every
entry point of the group of the same name, so that a part from a user's own installed package is
registered like one of ours. Importing this file imports none of them.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from sweep.errors import UserError

if TYPE_CHECKING:
    from sweep.attention.base import AttentionModule
    from sweep.data.base import Dataset
    from sweep.models.base import Backbone
    from sweep.tasks.base import Task

Part = TypeVar("Part")


class UnknownNameError(UserError, ValueError):
    """A look-up of a name that no part is registered under; its text lists the known names."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.nearest = nearest(name, known)
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else "."
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}")


class PluginError(UserError):
    """A part of another distribution cannot be imported."""


def nearest(name: str, known: list[str]) -> str | None:
    """Return the entry of ``known`` that ``name`` most likely stands for, or None."""
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return lowered[matches[0]] if matches else None


class Registry(Generic[Part]):
    """Named parts of one kind.

    Args:
        kind: what the parts are, for error messages ("attention module").
        package: the package whose modules register the parts; also the entry-point group in which
            other distributions offer theirs.
    """

    _origin: ClassVar[str] = "sweep"
    """Of what is being imported; for all tables, since one plug-in may register in several."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._parts: dict[str, Part] = {}
        self._origins: dict[str, str] = {}
        self._loaded = self._loading = False

    def register(self, name: str) -> Callable[[Part], Part]:
        """Return a decorator that enters a part under ``name``.

        Raises:
            ValueError: the name is taken.
        """

        def enter(part: Part) -> Part:
            if name in self._parts:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._parts[name] = part
            self._origins[name] = Registry._origin
            return part

        return enter

    def __getitem__(self, name: str) -> Part:
        """Return the part named ``name``.

        Raises:
            UnknownNameError: no such part; the message lists the known names.
        """
        self._load()
        if name not in self._parts:
            raise UnknownNameError(self.kind, name, self.names())
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._parts

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        self._load()
        return sorted(self._parts)

    def origin(self, name: str) -> str:
        """Return what the part came from: "sweep", or "distribution==version" of a plug-in."""
        self._load()
        return self._origins[name]

    def _load(self) -> None:
        if self._loaded or self._loading:
            return
        self._loading = True
        try:
            self._import_all()
            self._loaded = True
        finally:
            self._loading = False

    def _import_all(self) -> None:
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for entry_point in metadata.entry_points(group=self.package):
            if entry_point.dist is not None:
                Registry._origin = f"{entry_point.dist.name}=={entry_point.dist.version}"
            try:
                entry_point.load()
            except Exception as error:
                raise PluginError(
                    f"the plug-in {Registry._origin} cannot be imported "
                    f"(entry point {entry_point.name!r} of {self.package}): "
                    f"{type(error).__name__}: {' '.join(str(error).split())}"
                ) from error
            finally:
                Registry._origin = "sweep"


ATTENTION: Registry[type[AttentionModule]] = Registry("attention module", "sweep.attention")
BACKBONES: Registry[Backbone] = Registry("backbone", "sweep.models")
DATASETS: Registry[type[Dataset]] = Registry("data set", "sweep.data")
TASKS: Registry[type[Task]] = Registry("task", "sweep.tasks")
