"""Tables for machines: one line per row, plain numbers, empty where there is none."""

from __future__ import annotations

import csv
import io

from reports.tables.base import Table


def comma_separated(table: Table) -> str:
    """Return the records of a table."""
    out = io.StringIO()
    fields = dict.fromkeys(field for record in table.records for field in record)
    writer = csv.DictWriter(out, list(fields), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table.records)
    return out.getvalue()
