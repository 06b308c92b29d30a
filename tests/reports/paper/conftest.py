from __future__ import annotations

import pytest

from reports.paper.audit import AuditedCell, audit


@pytest.fixture(scope="session")
def audited() -> list[AuditedCell]:
    """The audit of all tables; what it builds is kept, so that another one takes no time."""
    return audit()
