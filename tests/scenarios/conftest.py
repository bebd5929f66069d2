"""One cluster for all scenarios of a test worker that need no cluster of their own, and namespaces in it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.conftest import Running, start, stop
from tests.scenarios.door import Door
from tests.scenarios.processes import eventually


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = start(tmp_path_factory.mktemp("shared"), "--ephemeral")
    yield running
    assert stop(running) == 0


@pytest.fixture
def door(shared: Running) -> Door:
    """The API server, spoken to without any client."""
    return Door(shared.url)


@pytest.fixture
def namespace(door: Door) -> Iterator[str]:
    """A fresh namespace in which pods can be made."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    door.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    eventually(lambda: door.ask("GET", account, refused=True)["kind"] == "ServiceAccount")
    yield name
    door.ask("DELETE", f"/api/v1/namespaces/{name}")
