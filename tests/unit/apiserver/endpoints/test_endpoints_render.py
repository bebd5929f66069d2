"""Answers in the form that was asked for."""

from __future__ import annotations

import json

from pilothouse.api import errors
from pilothouse.apiserver.endpoints import render
from pilothouse.apiserver.request import Request, Response


def refuse(error: errors.ApiError) -> Response:
    return render.error(error, Request("GET", "/"))


def test_a_client_that_is_to_wait_is_told_for_how_long_in_a_header() -> None:
    response = refuse(errors.too_many_requests("later", 10))
    assert response.headers["Retry-After"] == "10"
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["details"] == {"retryAfterSeconds": 10}


def test_one_that_is_not_to_wait_gets_no_header() -> None:
    # client-go tries again at once, ten times, when it is told to wait for 0 seconds.
    assert "Retry-After" not in refuse(errors.too_many_requests("no", 0)).headers
