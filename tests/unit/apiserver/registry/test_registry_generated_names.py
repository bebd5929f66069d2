"""Names that the server makes."""

from __future__ import annotations

import pytest

from pilothouse.kit.world import World
from tests.unit.apiserver.conftest import Api

PATH = "/api/v1/namespaces/default/configmaps"
BODY = {"metadata": {"generateName": "dice-"}}


def test_a_generated_name_that_is_taken_is_made_anew(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    suffixes = iter(["one", "one", "one", "two"])
    monkeypatch.setattr(World, "suffix", lambda self, length=5: next(suffixes))
    assert api("POST", PATH, BODY).body["metadata"]["name"] == "dice-one"
    assert api("POST", PATH, BODY).body["metadata"]["name"] == "dice-two"


def test_the_server_gives_up_in_the_end(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "suffix", lambda self, length=5: "same")
    api("POST", PATH, BODY)
    answer = api("POST", PATH, BODY)
    assert (answer.code, answer.message) == (
        409,
        'configmaps "dice-same" already exists, the server was not able to generate a unique name for the object',
    )
    assert answer.body["details"]["retryAfterSeconds"] == 1
