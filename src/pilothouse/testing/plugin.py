"""The pytest plugin: `pilothouse` is a running cluster for the whole test session.

def test_my_operator(pilothouse):
    config.load_kube_config(str(pilothouse.kubeconfig))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pilothouse.testing.background import BackgroundCluster


@pytest.fixture(scope="session")
def pilothouse() -> Iterator[BackgroundCluster]:
    """A cluster in memory with three simulated nodes, on a free port."""
    from pilothouse.cluster import ClusterOptions
    from pilothouse.testing.background import BackgroundCluster

    running = BackgroundCluster(ClusterOptions(secure_port=0))
    yield running
    running.stop()
