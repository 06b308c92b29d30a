"""A study with its configurations, as most tests of reports need it."""

from __future__ import annotations

from dataclasses import dataclass

from reports.configs import ConfigRow
from reports.rows import StudyRows


@dataclass(frozen=True)
class Example:
    rows: StudyRows
    configs: tuple[ConfigRow, ...]
