"""Where a report's numbers are read: MLflow's store, or a CSV file that it exported."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ruamel.yaml import YAML

from sweep.tracking import names
from sweep.tracking.gradcam import GradCam, read_gradcam
from sweep.tracking.links import server_of
from sweep.tracking.reading import Curve, StudyRecord, read_curves, read_text


@dataclass(frozen=True)
class Source:
    """A study, and what its source has beside its rows."""

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

    @cached_property
    def space(self) -> str | None:
        """The search space as it was run, overrides included, as YAML."""
        if self.uri is None:
            return None
        text = read_text(self.uri, self.record.parent.run_id, names.RESOLVED)
        if text is None:
            return None
        out = io.StringIO()
        YAML().dump(json.loads(text), out)
        return out.getvalue()

    @cached_property
    def gradcam(self) -> GradCam | None:
        """The maps of `sweep gradcam`, if it has been run."""
        return None if self.uri is None else read_gradcam(self.uri, self.record.parent.run_id)
