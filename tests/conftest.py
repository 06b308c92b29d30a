from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    # The tensors of tests are tiny: more threads only wait for each other, above all under
    # pytest-xdist. A test that does not use torch need not wait for its import.
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
