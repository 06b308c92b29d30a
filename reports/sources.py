"""Where a report's numbers are read: MLflow's store, or a CSV file that it exported."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

from ruamel.yaml import YAML

from sweep.errors import UserError, first_line
from sweep.tracking import names
from sweep.tracking.gradcam import GradCam, ModelMaps, read_gradcam
from sweep.tracking.links import server_of
from sweep.tracking.reading import Curve, StudyRecord, read_curves, read_text

Read = TypeVar("Read")
PRIVATE = "tracking"
"""Section of a search space that is not shown: the address of a store may hold a password."""


@dataclass(frozen=True)
class Source:
    """A study, and what its source has beside its rows.

    Artifacts are extras: one that cannot be read is None here, and ``notes`` say why.
    """

    record: StudyRecord
    uri: str | None
    """Of the store; None for an export, which has no curves, no images and no pages to link to."""

    @property
    def server(self) -> str | None:
        """Address of MLflow's pages."""
        return None if self.uri is None else server_of(self.uri)

    def curves(self, run_ids: Iterable[str], key: str) -> Mapping[str, Curve]:
        """Read what a metric was after every epoch, by the ids of runs."""
        return {} if self.uri is None else read_curves(self.uri, run_ids, key)

    @property
    def space(self) -> str | None:
        """The search space as it was run, overrides included, as YAML; without its ``PRIVATE``."""
        return None if isinstance(self._space, UserError) else self._space

    @property
    def gradcam(self) -> GradCam | None:
        """The maps of `sweep gradcam`, if it has been run; of models that the study has now."""
        found = self._gradcam
        if found is None or isinstance(found, UserError):
            return None
        members = [
            replace(comparison, models=tuple(filter(self._is_member, comparison.models)))
            for comparison in found.comparisons
        ]
        return replace(found, comparisons=tuple(one for one in members if one.models))

    @property
    def notes(self) -> tuple[str, ...]:
        """What could not be read or is out of date, and why, in sentences."""
        read = {"the search space": self._space, "Grad-CAM": self._gradcam}
        unread = (
            f"{what} cannot be shown: {error}"
            for what, error in read.items()
            if isinstance(error, UserError)
        )
        return (*unread, *self._on_former())

    def _on_former(self) -> Iterator[str]:
        """Yield what is to be said of maps whose models the study no longer has."""
        if self._gradcam is None or isinstance(self._gradcam, UserError):
            return
        former = [
            f"{comparison.group}, {model.name}"
            for comparison in self._gradcam.comparisons
            for model in comparison.models
            if not self._is_member(model)
        ]
        if former:
            yield (
                f"Grad-CAM was made of runs that the study does not have now ({'; '.join(former)}),"
                f" which are left out; `sweep gradcam {self.record.study}` makes it anew"
            )

    def _is_member(self, model: ModelMaps) -> bool:
        return model.run_id in self._members

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(run.run_id for run in self.record.trials)

    @cached_property
    def _space(self) -> str | UserError | None:
        return self._attempt(_space_of)

    @cached_property
    def _gradcam(self) -> GradCam | UserError | None:
        return self._attempt(read_gradcam)

    def _attempt(self, read: Callable[[str, str], Read | None]) -> Read | UserError | None:
        """Return what a reader finds at the parent run, or what keeps it from that."""
        if self.uri is None:
            return None
        try:
            return read(self.uri, self.record.parent.run_id)
        except UserError as error:
            return error


def _space_of(uri: str, parent_id: str) -> str | None:
    """Return the search space of a parent run.

    Raises:
        UserError: it cannot be fetched, or is damaged.
    """
    text = read_text(uri, parent_id, names.RESOLVED)
    if text is None:
        return None
    try:
        shown = {key: value for key, value in json.loads(text).items() if key != PRIVATE}
    except (ValueError, AttributeError) as error:
        raise UserError(f"{names.RESOLVED} is damaged: {first_line(error)}") from None
    out = io.StringIO()
    YAML().dump(shown, out)
    return out.getvalue()
