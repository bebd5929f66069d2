"""Forms of answers."""

from __future__ import annotations

import pytest

from pilothouse.apiserver.endpoints.negotiation import form_of
from pilothouse.apiserver.request import Request
from tests.unit.apiserver.conftest import Api


@pytest.mark.parametrize(
    ("agent", "query", "pretty"),
    [
        ("kubectl/v1.36", {}, False),
        ("curl/8.5", {}, True),
        ("Mozilla/5.0 (X11)", {}, True),
        ("curl/8.5", {"pretty": ["false"]}, False),
        ("kubectl/v1.36", {"pretty": ["1"]}, True),
        ("kubectl/v1.36", {"pretty": ["yes"]}, False),
    ],
)
def test_people_get_indented_answers(agent: str, query: dict[str, list[str]], pretty: bool) -> None:
    request = Request("GET", "/api/v1/pods", query, {"user-agent": agent})
    assert form_of(request).pretty is pretty


def test_a_timeout_that_is_no_duration(api: Api) -> None:
    answer = api("GET", "/api/v1/pods?timeout=soon")
    assert (answer.code, answer.message) == (
        400,
        'invalid timeout specified in the request URL - time: invalid duration "soon"',
    )
    assert api("GET", "/api/v1/pods?timeout=10s").code == 200
