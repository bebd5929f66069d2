"""`simulate`, for the tests of the simulated nodes."""

from __future__ import annotations

import pytest

from tests.unit.nodes.nodes_simulation import Simulate, simulation


@pytest.fixture
def simulate() -> Simulate:
    return simulation
